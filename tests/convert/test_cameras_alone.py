"""The same cameras in five programs' files come back the same."""

import json

import numpy as np
import pytest
from convert.calibration_writers import opencv_text, write_colmap, write_transforms
from convert.easymocap_writer import calibration_texts
from convert.scene import make_scene
from make_capture import write_tiny_capture

from na_ray.capture.about import read_about
from na_ray.capture.camera import read_extrinsics, read_intrinsics
from na_ray.config.values import UserError
from na_ray.convert.cameras import ordered, published
from na_ray.convert.cameras_alone import read_calibration, write_calibration

POINTS = np.random.default_rng(0).uniform([-0.8, 0, -0.8], [0.8, 1.8, 0.8], (100, 3))


@pytest.fixture(scope="module")
def eyes():
    return make_scene(frames=2).eyes


def easymocap(folder, eyes):
    inner, outer = calibration_texts(eyes)
    (folder / "intri.yml").write_text(inner)
    (folder / "extri.yml").write_text(outer)
    return folder


def zju(folder, eyes):
    cams = {key: [value(eye) for eye in eyes] for key, value in ZJU.items()}
    ims = [{"ims": [f"cam_{eye.name}/000000.jpg" for eye in eyes]}]
    np.save(folder / "annots.npy", {"cams": cams, "ims": ims}, allow_pickle=True)
    return folder / "annots.npy"


ZJU = {"K": lambda e: e.K, "R": lambda e: e.R, "T": lambda e: 1000 * e.T[:, None], "D": lambda e: e.dist[:, None]}


def opencv(folder, eyes):
    for eye in eyes:
        (folder / f"{eye.name}.yml").write_text(opencv_text(eye))
    return folder


WRITERS = {
    "easymocap": easymocap,
    "zju": zju,
    "colmap text": lambda folder, eyes: write_colmap(folder, eyes, False),
    "colmap binary": lambda folder, eyes: write_colmap(folder, eyes, True),
    "nerfstudio": lambda folder, eyes: write_transforms(folder / "transforms.json", eyes),
    "opencv": opencv,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_cameras_come_back(kind, eyes, tmp_path):
    found, _ = read_calibration(str(WRITERS[kind](tmp_path, eyes)))
    assert len(found) == len(eyes)
    by_name = {camera.name.split("_")[-1]: camera for camera in found}
    for eye in eyes:
        camera = by_name[eye.name.split("_")[-1]]
        wanted = eye.dist if "colmap" not in kind else eye.dist * [1, 1, 1, 1, 0]
        np.testing.assert_allclose(camera.distortion[:5], wanted, atol=1e-12)
        assert (camera.width, camera.height) == ((None, None) if kind == "zju" else (eye.width, eye.height))
        local = POINTS @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
        pixels = (local @ camera.K.T)[:, :2] / local[:, 2:]
        assert np.abs(pixels - eye.pixels(POINTS)).max() < 1e-6


def test_natural_order_and_chosen_ones(eyes, tmp_path):
    found, _ = read_calibration(str(easymocap(tmp_path, eyes)))
    assert [camera.name for camera in ordered(found, (), "x")] == ["01", "2", "10", "cam_a"]
    assert [camera.name for camera in ordered(found, ("cam_a", "2"), "x")] == ["2", "cam_a"]
    with pytest.raises(UserError, match="there is no camera '3'"):
        ordered(found, ("3",), "x")


def test_they_are_written_into_a_capture(eyes, tmp_path):
    write_tiny_capture(tmp_path / "capture", cameras=4, resolution=(72, 96))
    path = str(easymocap(tmp_path, eyes))
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_calibration(path, str(tmp_path / "capture"), (), 1.0, False)
    lines = write_calibration(path, str(tmp_path / "capture"), (), 1.0, True)
    assert any("warning" in line and "lens distortion" in line for line in lines)
    eye = next(eye for eye in eyes if eye.name == "10")
    T = read_extrinsics(str(tmp_path / "capture" / "pose" / "0002.txt"))
    np.testing.assert_allclose(T[:3, 3], -eye.R.T @ eye.T, atol=1e-8)
    np.testing.assert_allclose(read_intrinsics(str(tmp_path / "capture" / "intrinisc" / "0002.txt")), eye.K, atol=1e-6)
    assert [c["name"] for c in read_about(str(tmp_path / "capture"))["cameras"]] == ["01", "2", "10", "cam_a"]
    assert not list((tmp_path / "capture").glob(".cameras*"))


def test_other_numbers_of_videos_are_refused(eyes, tmp_path):
    write_tiny_capture(tmp_path / "capture", cameras=3, resolution=(72, 96))
    with pytest.raises(UserError, match="3 videos for 4 cameras"):
        write_calibration(str(easymocap(tmp_path, eyes)), str(tmp_path / "capture"), (), 1.0, True)


def test_pictures_of_half_the_size_get_half_the_matrix(eyes, tmp_path):
    write_tiny_capture(tmp_path / "capture", cameras=4, resolution=(36, 48))
    lines = write_calibration(str(easymocap(tmp_path, eyes)), str(tmp_path / "capture"), (), 1.0, True)
    assert sum("scaled by 0.5" in line for line in lines) == 4
    eye = next(eye for eye in eyes if eye.name == "01")
    K = read_intrinsics(str(tmp_path / "capture" / "intrinisc" / "0000.txt"))
    np.testing.assert_allclose(K[:2, 2], (eye.K[:2, 2] + 0.5) / 2 - 0.5, atol=1e-6)
    np.testing.assert_allclose(K[0, 0], eye.K[0, 0] / 2, atol=1e-6)


def test_the_unit(eyes, tmp_path):
    found, _ = read_calibration(str(easymocap(tmp_path, eyes)))
    write_calibration(str(tmp_path), str(tmp_path / "out"), (), 0.001, False)
    eye = next(eye for eye in eyes if eye.name == "01")
    T = read_extrinsics(str(tmp_path / "out" / "pose" / "0000.txt"))
    np.testing.assert_allclose(T[:3, 3], -eye.R.T @ eye.T / 1000, atol=1e-8)
    assert len(found) == 4


def test_rotations_of_six_digits_are_made_rotations(eyes, tmp_path):
    inner, outer = calibration_texts(eyes)
    (tmp_path / "intri.yml").write_text(inner)
    (tmp_path / "extri.yml").write_text(outer)
    camera = read_calibration(str(tmp_path))[0][0]
    rough = camera.T_camera_world.copy()
    rough[:3, :3] = np.round(rough[:3, :3], 4)
    R = published(type(camera)(**{**vars(camera), "T_camera_world": rough}), camera.K).T_world_camera[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)


def test_names_of_one_image_a_folder(eyes, tmp_path):
    values = json.loads(write_transforms(tmp_path / "transforms.json", eyes).read_text())
    for i, frame in enumerate(values["frames"]):
        frame["file_path"] = f"./images/kinect_{i}/rgb.png"
    (tmp_path / "transforms.json").write_text(json.dumps(values))
    assert [c.name for c in read_calibration(str(tmp_path))[0]] == [f"kinect_{i}" for i in range(4)]


@pytest.mark.parametrize(
    "words",
    ["fisheye_model: 0\n", "distortion_model: plumb_bob\n", "camera_model: Fuji X-T4\n", "model_type: rational\n"],
)
def test_what_opencv_files_say_of_usual_lenses(words, eyes, tmp_path):
    (tmp_path / "a.yml").write_text(opencv_text(eyes[0]) + words)
    (camera,), lines = read_calibration(str(tmp_path / "a.yml"))
    np.testing.assert_allclose(camera.distortion[:5], eyes[0].dist)
    assert not lines


@pytest.mark.parametrize("name", ["cameras", "images"])
@pytest.mark.parametrize("binary", [False, True])
def test_a_file_of_colmaps_model_names_its_folder(name, binary, eyes, tmp_path):
    write_colmap(tmp_path, eyes, binary)
    cameras, _ = read_calibration(str(tmp_path / f"{name}.{'bin' if binary else 'txt'}"))
    assert len(cameras) == len(eyes)


def test_coefficients_of_a_fish_eye_are_doubted(eyes, tmp_path):
    """cv2.fisheye's k1 to k4 are four numbers, as OpenCV's k1 k2 p1 p2 are."""
    (tmp_path / "seq").mkdir()
    for dist, doubted in (([-0.013, 0.06, -0.08, 0.03], True), ([-0.3, 0.12, 0.004, -0.006], False)):
        bent = [type(eye)(**{**vars(eye), "dist": np.array(dist)}) for eye in eyes]
        easymocap(tmp_path / "seq", bent)
        lines = write_calibration(str(tmp_path / "seq"), str(tmp_path / "out"), [], 1.0, False, dry_run=True)
        warned = [line for line in lines if "p1 and p2 are -0.08 and 0.03" in line and "cv2.fisheye" in line]
        assert len(warned) == doubted
