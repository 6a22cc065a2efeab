# ruff: noqa: E501  (a row of the table is a line)
"""Calibrations of COLMAP, nerfstudio and OpenCV that cannot be read: a line each."""

import json
import struct

import numpy as np
import pytest
from convert.calibration_writers import opencv_text, write_colmap, write_transforms
from convert.scene import make_scene

from na_ray.config.values import MISTAKES
from na_ray.convert.cameras_alone import read_calibration
from na_ray.formats.opencv_yml import matrix_of, read_yml


@pytest.fixture(scope="module")
def eyes():
    return make_scene(frames=2).eyes[:2]


def edit(name, old, new):
    """Replace a part of a text file of COLMAP's."""

    def breaks(folder, eyes):
        write_colmap(folder, eyes, False)
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        return folder

    return breaks


def binary(name, change):
    def breaks(folder, eyes):
        write_colmap(folder, eyes, True)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        return folder

    return breaks


def nerfstudio(change):
    def breaks(folder, eyes):
        path = write_transforms(folder / "transforms.json", eyes)
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
        return path

    return breaks


def opencv(old, new):
    def breaks(folder, eyes):
        text = opencv_text(eyes[0])
        assert old in text
        (folder / "a.yml").write_text(text.replace(old, new, 1))
        return folder / "a.yml"

    return breaks


def first(key, value):
    return lambda values: values["frames"][0].__setitem__(key, value)


TABLE = {
    "nothing there": (lambda folder, eyes: folder / "none", "no such file"),
    "nothing known": (lambda folder, eyes: [(folder / "a.txt").write_text("1"), folder][1], "no calibration that is known"),
    "images alone": (lambda folder, eyes: [write_colmap(folder, eyes, False), (folder / "images.txt").unlink(), folder][2], "images.txt: no such file"),
    "a fish eye": (edit("cameras.txt", "OPENCV", "OPENCV_FISHEYE"), "a camera of the model OPENCV_FISHEYE"),
    "a parameter less": (edit("cameras.txt", "OPENCV 96 72 ", "OPENCV 96 "), "expected CAMERA_ID MODEL WIDTH HEIGHT"),
    "a parameter more": (edit("cameras.txt", "OPENCV 96 72 ", "OPENCV 96 72 1.0 "), "9 parameters; OPENCV has 8"),
    "a picture of nothing": (edit("cameras.txt", "OPENCV 96 72 ", "OPENCV 0 72 "), "expected a picture's size"),
    "an image's line": (edit("images.txt", "41 ", "41 x "), "expected IMAGE_ID QW QX QY QZ"),
    "a rotation of zeros": (binary("images.bin", lambda d: d[:12] + bytes(32) + d[44:]), "the rotation [0.0, 0.0, 0.0, 0.0] is none"),
    "an unknown camera": (binary("images.bin", lambda d: d[:68] + struct.pack("<i", 9) + d[72:]), "camera 9 is not in the model"),
    "a name of two lines": (binary("images.bin", lambda d: d.replace(b"/0001.jpg", b"\n\xff.jpg", 1).replace(struct.pack("<i", 1), struct.pack("<i", 8), 1)), "is not in the model"),
    "cut off": (binary("images.bin", lambda d: d[:100]), "cut off"),
    "points without end": (binary("images.bin", lambda d: d.replace(b".jpg\0\1", b".jpg\0\1" + b"\xff" * 6, 1)[: len(d)]), "is cut off"),
    "a model of tomorrow": (binary("cameras.bin", lambda d: d[:12] + struct.pack("<i", 77) + d[16:]), "the model number 77"),
    "the same image twice": (edit("images.txt", "cam_10/0001.jpg", "cam_2/0001.jpg"), "2 images of"),
    "no frames": (nerfstudio(lambda v: v.pop("frames")), "frames is no list of cameras"),
    "no matrix": (nerfstudio(lambda v: v["frames"][0].pop("transform_matrix")), "'transform_matrix' is missing"),
    "a matrix of texts": (nerfstudio(first("transform_matrix", [["a"]])), "transform_matrix, w or h is no number"),
    "a matrix of 3x3": (nerfstudio(first("transform_matrix", np.eye(3).tolist())), "transform_matrix is 3x3"),
    "a matrix that scales": (nerfstudio(first("transform_matrix", (2 * np.eye(4)).tolist())), "is no rotation"),
    "no focal length": (nerfstudio(lambda v: v["frames"][0].pop("fl_x")), "neither fl_x nor camera_angle_x"),
    "a focal length of text": (nerfstudio(first("fl_x", "wide")), "fl_x is no number"),
    "no size": (nerfstudio(first("w", 0)), "w and h are 0"),
    "a fish eye, too": (nerfstudio(lambda v: v.update(camera_model="OPENCV_FISHEYE")), "camera_model is 'OPENCV_FISHEYE'"),
    "a fish eye by another word": (nerfstudio(lambda v: v.update(is_fisheye=True, camera_model="")), "is_fisheye is set"),
    "a fourth radial coefficient": (nerfstudio(first("k4", 0.01)), "k4 is 0.01 without k5 and k6"),
    "a fish eye of OpenCV's sample": (opencv("calibration_time", "fisheye_model: 1\ncalibration_time"), "fisheye_model is set"),
    "a fish eye of ROS": (opencv("calibration_time", "distortion_model: equidistant\ncalibration_time"), "distortion_model is 'equidistant'"),
    "a fish eye of others": (opencv("calibration_time", "model_type: KANNALA_BRANDT\ncalibration_time"), "model_type is 'KANNALA_BRANDT'"),
    "the folder above": (lambda folder, eyes: [write_colmap(folder / "sparse" / "0", eyes, True), folder][1], "sparse/0 is a COLMAP model: name that folder"),
    "the folder between": (lambda folder, eyes: [write_colmap(folder / "0", eyes, False), folder][1], "/0 is a COLMAP model: name that folder"),
    "an angle of a circle": (nerfstudio(lambda v: v["frames"][0].update(camera_angle_x=7.0) or v["frames"][0].pop("fl_x")), "expected radians below pi"),
    "no K": (opencv("camera_matrix", "kamera_matrix"), "expected camera_matrix or k or intrinsics"),
    "no translation": (opencv("T: ", "Q: "), "expected t or tvec"),
    "a size of text": (opencv("image_width: 96", "image_width: wide"), "image_width is no whole number"),
    "deep": (opencv("calibration_time: ", "calibration_time: " + "[" * 40 + "]" * 40 + "\nx: "), "lists in lists"),
    "an alias of nothing": (opencv("R: ", "R: *nothing\nS: "), "an alias, which OpenCV does not write"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_one_line(name, eyes, tmp_path):
    breaks, expected = TABLE[name]
    with pytest.raises(MISTAKES) as error:
        read_calibration(str(breaks(tmp_path, eyes)))
    line = str(error.value)
    assert expected in line and "\n" not in line and line.isprintable()


def test_numbers_as_opencv_python_and_numpy_write_them(tmp_path):
    text = "%YAML:1.0\r\n---\r\nA: !!opencv-matrix\r\n   rows: 1\r\n   cols: 6\r\n   dt: d\r\n   data: [ 1., -2.5e-05, 1e-05,\r\n       .Inf, -.Inf, 7 ]\r\nn: 010\r\nlist: [1, 2]\r\n"
    (tmp_path / "a.yml").write_bytes(text.encode())
    values = read_yml(str(tmp_path / "a.yml"))
    np.testing.assert_array_equal(matrix_of(values, "A", "a"), [[1, -2.5e-5, 1e-5, np.inf, -np.inf, 7]])
    assert values["n"] == "010"  # a name, maybe: 8 in another YAML
    np.testing.assert_array_equal(matrix_of(values, "list", "a"), [[1, 2]])


def test_a_real_calibration(tmp_path):
    """Two cameras of EasyMocap's own example, as OpenCV wrote them."""
    text = (
        '%YAML:1.0\n---\nnames:\n   - "1"\n   - "4"\nK_1: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n'
        "   data: [ 9.0927224982003611e+02, 0., 9.6062674039097942e+02, 0.,\n"
        "       9.2444288845626772e+02, 5.4293008226872905e+02, 0., 0., 1. ]\n"
    )
    (tmp_path / "intri.yml").write_text(text)
    values = read_yml(str(tmp_path / "intri.yml"))
    assert values["names"] == ["1", "4"]
    assert matrix_of(values, "K_1", "x")[0, 0] == 909.27224982003611
