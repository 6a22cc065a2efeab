# ruff: noqa: E501  (a row of the table is a line)
"""Everything that users bring which cannot be converted: one line each, and nothing is left that looks like a capture."""

import json
import pickle
import unicodedata
import zipfile

import numpy as np
import pytest
from convert.easymocap_writer import matrix_text, write_easymocap
from convert.scene import make_scene, model_arrays
from convert.zju_writer import write_zju
from PIL import Image

from na_ray.cli.convert import Convert
from na_ray.config.values import MISTAKES


@pytest.fixture(scope="module")
def scene():
    return make_scene(frames=3, size=(48, 36))


@pytest.fixture(scope="module")
def sources(scene, tmp_path_factory):
    """Sound folders of each kind, to be copied and broken."""
    root = tmp_path_factory.mktemp("sound")
    write_easymocap(root / "easymocap", scene)
    write_zju(root / "zju-mocap", scene)
    arrays = model_arrays(scene)
    np.savez(root / "body.npz", **arrays)
    (root / "body.pkl").write_bytes(pickle.dumps(arrays))
    return root


@pytest.fixture
def place(sources, tmp_path):
    import shutil

    shutil.copytree(sources, tmp_path / "in")
    return tmp_path / "in"


def text(name, change):
    """Change a text file of EasyMocap's."""

    def breaks(place):
        path = place / "easymocap" / name
        path.write_bytes(change(path.read_bytes().decode()).encode())

    return breaks


def without(part, name="intri.yml"):
    """Leave out a matrix of a yml."""

    def change(content):
        at = content.index(part)
        rest = content[at:].split("\r\n")
        end = next(i for i, line in enumerate(rest[1:], 1) if line and not line.startswith(" "))
        return content[:at] + "\r\n".join(rest[end:])

    return text(name, change)


def track(change, frames=(0, 1, 2)):
    """Change the people of some frames."""

    def breaks(place):
        for i in frames:
            path = place / "easymocap" / "smpl" / f"{i:06d}.json"
            people = json.loads(path.read_text())
            path.write_text(json.dumps(change(people)))

    return breaks


def with_key(key, value, frames=(0, 1, 2)):
    return track(lambda people: [people[0] | {key: value}], frames)


def model(**changes):
    """Change arrays of the body."""

    def breaks(place):
        with np.load(place / "body.npz") as held:
            arrays = dict(held)
        for key, change in changes.items():
            if change is None:
                del arrays[key]
            else:
                arrays[key] = change(arrays[key])
        np.savez(place / "body.npz", **arrays)

    return breaks


def remove(*names):
    def breaks(place):
        import shutil

        for name in names:
            path = place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return breaks


def annots(change):
    def breaks(place):
        path = place / "zju-mocap" / "annots.npy"
        values = np.load(path, allow_pickle=True).item()
        np.save(path, change(values) or values, allow_pickle=True)

    return breaks


def param(**changes):
    def breaks(place):
        path = place / "zju-mocap" / "new_params" / "1.npy"
        values = np.load(path, allow_pickle=True).item() | changes
        np.save(path, {k: v for k, v in values.items() if v is not None}, allow_pickle=True)

    return breaks


class Evil:
    def __reduce__(self):
        return eval, ("open('/tmp/na_ray_canary', 'w')",)


def bomb(place):
    """A small archive that says that it unpacks to gigabytes."""
    with zipfile.ZipFile(place / "body.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v_template.npy", bytes(1000))
        archive.filelist[0].file_size = 4 * 10**9


def uv(content):
    return lambda place: (place / "uv.obj").write_text(content)


def move_cameras(factor):
    """Positions in another unit."""

    def breaks(place):
        from convert.easymocap_writer import calibration_texts

        eyes = [type(e)(**{**vars(e), "T": e.T * factor}) for e in make_scene(frames=3, size=(48, 36)).eyes]
        (place / "easymocap" / "extri.yml").write_text(calibration_texts(eyes)[1])

    return breaks


def picture_of(size, folder="images"):
    def breaks(place):
        Image.new("RGB", size).save(place / "easymocap" / folder / "2" / "000001.jpg")

    return breaks


def drop(camera):
    return lambda v: v["cams"]["K"].pop() if camera else None


E, Z = ["easymocap"], ["zju-mocap"]
TABLE = [
    # what is broken, the kind, what breaks it, part of the line, more options
    ("no such folder", E, remove("easymocap"), "no such folder"),
    ("no intri.yml", E, remove("easymocap/intri.yml"), "intri.yml: no such file"),
    ("no extri.yml", E, remove("easymocap/extri.yml"), "extri.yml: no such file"),
    ("a camera is missing in extri", E, without("T_10", "extri.yml"), "there is no T_10"),
    ("a matrix is missing in intri", E, without("K_10"), "names holds '10', but there is no K_10"),
    ("a camera that extri lacks", E, text("extri.yml", lambda t: t.replace("_10:", "_11:").replace('"10"', '"11"')), "camera 10"),
    ("names that differ", E, text("intri.yml", lambda t: t.replace("_2:", "_3:").replace('"2"', '"3"')), "intri.yml has no K_2: calibrate it too"),
    ("a name twice", E, text("intri.yml", lambda t: t.replace('"2"', '"10"')), "holds '10' twice"),
    ("names of nothing", E, text("intri.yml", lambda t: t.replace('- "2"', "- [2]")), "names is no list of names"),
    ("no YAML", E, text("intri.yml", lambda t: t.replace("names:", "names: [")), "line "),
    ("YAML of another kind", E, text("intri.yml", lambda t: "- 1\n- 2\n"), "no names with values"),
    ("binary", E, text("intri.yml", lambda t: "\udcff\udcfe") and (lambda p: (p / "easymocap/intri.yml").write_bytes(b"\xff\xfe\0")), "binary data"),
    ("a matrix that is cut off", E, text("intri.yml", lambda t: t.replace("rows: 3", "rows: 4", 1)), "is 4 x 3, but 9 numbers"),
    ("a word in a matrix", E, text("intri.yml", lambda t: t.replace("data: [ ", "data: [ focal, ", 1)), "K_2"),
    ("NaN in a matrix", E, text("extri.yml", lambda t: t[: t.index("T_2")] + matrix_text("T_2", np.array([[1], [2], [3.5]])).replace("3.5000000000000000e+00", ".Nan") + t[t.index("R_10") :]), "not finite"),
    ("a K that is none", E, text("intri.yml", lambda t: t.replace("0., 0., 1.", "0., 0., 2.")), "expected [fx s cx; 0 fy cy; 0 0 1]"),
    ("twenty coefficients", E, text("intri.yml", lambda t: t.replace("dist_2: !!opencv-matrix\r\n   rows: 5", "dist_2: !!opencv-matrix\r\n   rows: 6").replace("data: [ -1", "data: [ 0.,-1")), "expected OpenCV's 4, 5 or 8"),
    ("another shape of picture", E, text("intri.yml", lambda t: t.replace("H_2: 36", "H_2: 48")), "expected one shape"),
    ("half-size intrinsics", E, lambda p: (text("intri.yml", lambda t: t.replace("H_2: 36\r\nW_2: 48\r\n", "").replace(t[t.index("K_2") : t.index("dist_2")], matrix_text("K_2", np.array([[80, 0, 96.5], [0, 80, 72.5], [0, 0, 1]]))))(p)), "pictures of another size"),
    ("a video that is not there", E, remove("easymocap/images/10"), "camera 10 has no footage"),
    ("footage of no camera", E, lambda p: (p / "easymocap/images/2").rename(p / "easymocap/images/3"), "camera 2 has no footage"),
    ("footage without a camera", E, lambda p: (write := (p / "easymocap/images/77")).mkdir() or Image.new("RGB", (4, 4)).save(write / "0.jpg"), "footage of '77'"),
    ("a camera that is not there", E, lambda p: None, "there is no camera '5'", {"views": "5"}),
    ("masks of no camera", E, remove("easymocap/mask/10"), "camera 10 has no masks"),
    ("no tracked body", E, remove("easymocap/smpl"), "no tracked body"),
    ("nobody", E, track(lambda people: []), "nobody is in any of its 3 frames"),
    ("two people", E, track(lambda people: [people[0], people[0] | {"id": 4}]), "2 people (0 in 3, 4 in 3 of 3 frames): choose one, --person ID"),
    ("somebody else", E, lambda p: None, "there is no person 9", {"person": "9"}),
    ("a person twice", E, track(lambda people: people * 2), "person 0 is there twice"),
    ("no list of people", E, track(lambda people: {"people": people}), "no list of people"),
    ("poses of 71", E, with_key("poses", [[0.0] * 71]), "poses holds 71 numbers"),
    ("poses that change", E, with_key("poses", [[0.0] * 78], (1,)), "frame 1 has 78 numbers in its pose, most have 72"),
    ("no Th", E, track(lambda people: [{k: v for k, v in people[0].items() if k != "Th"}]), "Th is missing"),
    ("Rh of a matrix", E, with_key("Rh", np.eye(3).tolist()), "Rh holds 9 numbers; expected 3"),
    ("NaN in a pose", E, with_key("Th", [[float("nan"), 0, 0]]), "Th holds numbers that are not finite"),
    ("a word in a pose", E, with_key("poses", ["a"] * 72), "poses is no list of numbers"),
    ("JSON that is cut off", E, lambda p: (p / "easymocap/smpl/000001.json").write_text("[{"), "unreadable JSON"),
    ("frames that nobody filmed", E, lambda p: [f.rename(f.with_name(f"{900 + i}.json")) for i, f in enumerate(sorted((p / "easymocap/smpl").iterdir()))], "nobody was tracked in a frame that all cameras have"),
    ("cameras within the body", E, move_cameras(1e-3), "stands within the body"),
    ("test frames that are none", E, lambda p: None, "leaves none for training", {"test_frames": "0..3"}),
    ("test frames of none", E, lambda p: None, "is no selection", {"test_frames": "x"}),
    ("a background that is none", E, lambda p: None, "--background is 'pink'", {"background": "pink"}),
    ("no body", E, lambda p: None, "--body", {"body": ""}),
    ("a body that is not there", E, remove("body.npz"), "no such file"),
    ("a body of another kind", E, lambda p: (p / "body.obj").write_text("v 0 0 0"), "--body is an SMPL", {"body": "body.obj"}),
    ("a body without weights", E, model(weights=None), "no weights (it has"),
    ("a body of 23 joints", E, model(weights=lambda w: w[:, :23]), "weights of 23 joints; expected 24"),
    ("a body whose parts differ", E, model(v_template=lambda v: v[1:]), "v_template is"),
    ("a body with NaN", E, model(shapedirs=lambda s: s * np.nan), "shapedirs holds numbers that are not finite"),
    ("faces of no vertex", E, model(f=lambda f: f + 1), "f names vertices"),
    ("weights that do not sum to one", E, model(weights=lambda w: w / 2), "do not sum to 1"),
    ("no tree", E, model(kintree_table=lambda k: k[:, ::-1]), "kintree_table is no tree"),
    ("a body in millimetres", E, model(v_template=lambda v: 1000 * v), "expected metres"),
    ("an archive bomb", E, bomb, "unpacks to 4000 MB"),
    ("a model with code", E, lambda p: (p / "body.pkl").write_bytes(pickle.dumps({"f": Evil()})), "asks to run builtins.eval", {"body": "body.pkl"}),
    ("a pickle of a list", E, lambda p: (p / "body.pkl").write_bytes(pickle.dumps([1])), "holds a list", {"body": "body.pkl"}),
    ("UV of another body", E, uv("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"), "1 faces of 3 vertices", {"uv": "uv.obj"}),
    ("UV without coordinates", E, uv("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), "no texture coordinates", {"uv": "uv.obj"}),
    ("no annots.npy", Z, remove("zju-mocap/annots.npy"), "annots.npy"),
    ("code in annots.npy", Z, annots(lambda v: Evil()), "asks to run builtins.eval"),
    ("annots.npy of another kind", Z, annots(lambda v: {"ims": []}), "no cameras; expected ZJU-MoCap's"),
    ("annots.npy that is cut off", Z, lambda p: (p / "zju-mocap/annots.npy").write_bytes((p / "zju-mocap/annots.npy").read_bytes()[:-99]), "damaged"),
    ("fewer matrices than cameras", Z, annots(lambda v: v["cams"]["K"].pop() is None or None), "3 of K, 4 of R, 4 of T, 4 of D"),
    ("a rotation that mirrors", Z, annots(lambda v: v["cams"]["R"].__setitem__(0, -np.eye(3))), "the rotation mirrors"),
    ("no rotation", Z, annots(lambda v: v["cams"]["R"].__setitem__(0, np.ones((3, 3)))), "is no rotation"),
    ("pictures of other cameras", Z, annots(lambda v: v["ims"][1]["ims"].pop() is None or None), "ims[1] lists 3 pictures for 4 cameras"),
    ("pictures outside", Z, annots(lambda v: v["ims"][0]["ims"].__setitem__(0, "../../etc/passwd.jpg")), "outside of the sequence"),
    ("pictures that are not there", Z, remove("zju-mocap/Camera_B2/000001.jpg"), "no such picture"),
    ("no pictures", Z, remove("zju-mocap/Camera_B2"), "no pictures of camera Camera_B2"),
    ("params without Th", Z, param(Th=None), "Th is missing"),
    ("params of 71", Z, param(poses=np.zeros((1, 71))), "poses holds 71 numbers"),
    ("params with NaN", Z, param(Rh=np.full((1, 3), np.nan)), "not finite"),
    ("Rh of a matrix, in params", Z, param(Rh=np.eye(3)), "Rh is a 3x3 matrix"),
    ("params with code", Z, param(poses=Evil()), "asks to run builtins.eval"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_one_line_and_nothing_left(row, place, monkeypatch):
    _, (kind,), breaks, expected, *options = row
    breaks(place)
    monkeypatch.chdir(place)
    given = {"body": "body.npz"} | (options[0] if options else {})
    with pytest.raises(MISTAKES) as error:
        Convert(kind, kind, place / "anna", **given).run()
    line = str(error.value)
    assert expected in line and "\n" not in line and len(line) < 400
    assert not (place / "anna").exists()
    assert not list(place.glob(".anna*"))


def test_there_are_many():
    assert len(TABLE) >= 40
    assert len({row[0] for row in TABLE}) == len(TABLE)


def test_millimetres_are_told(place, monkeypatch, capsys):
    move_cameras(1000)(place)
    monkeypatch.chdir(place)
    assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", dry_run=True).run() == 0
    told = capsys.readouterr().out
    assert "1000 times" in told and "--unit" in told
    assert not (place / "anna").exists()
    assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", unit=0.001, dry_run=True).run() == 0
    assert "warning" not in capsys.readouterr().out


WHILE_WRITING = [
    ("a picture that is damaged", lambda p: (p / "easymocap/images/2/000001.jpg").write_bytes(b"\xff\xd8\xff"), "000001.jpg"),
    ("a picture of another size", picture_of((12, 9)), "000001.jpg: frame 1 is 12x9"),
    ("a mask of another size", lambda p: Image.new("L", (12, 9), 255).save(p / "easymocap/mask/2/000001.png"), "000001.png"),
    ("fewer masks than pictures", remove("easymocap/mask/2/000001.png"), "mask"),
    ("masks that are inverted", lambda p: [invert(f) for f in (p / "easymocap/mask/2").iterdir()], "mask"),
    ("plates of no camera", lambda p: (p / "plate").mkdir(), "plate", {"background": "plate"}),
]  # fmt: skip


def invert(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


@pytest.mark.parametrize("row", WHILE_WRITING, ids=[row[0] for row in WHILE_WRITING])
def test_pictures_that_do_not_serve(row, place, monkeypatch):
    """The other cameras' videos are kept aside, and nothing bears the capture's name."""
    _, breaks, expected, *options = row
    breaks(place)
    monkeypatch.chdir(place)
    with pytest.raises(MISTAKES) as error:
        Convert("easymocap", "easymocap", place / "anna", body="body.npz", workers=1, **(options or [{}])[0]).run()
    line = str(error.value)
    assert expected in line and "\n" not in line and len(line) < 400
    assert not (place / "anna").exists()


def test_a_call_that_failed_is_gone_on_with(place, monkeypatch, capsys):
    """Other splits and fewer cameras than before: nothing of the first call is left in the capture."""
    monkeypatch.chdir(place)
    sound = (place / "easymocap/images/cam_a/000002.jpg").read_bytes()
    (place / "easymocap/images/cam_a/000002.jpg").write_bytes(b"")
    given = {"body": "body.npz", "workers": 1}
    with pytest.raises(MISTAKES):
        Convert("easymocap", "easymocap", place / "anna", test_frames="2..3", **given).run()
    assert (place / ".anna.partial/testing/rgb_video/000.avi").exists()
    with pytest.raises(MISTAKES):
        Convert("easymocap", "easymocap", place / "anna", **given).run()
    assert not (place / ".anna.partial/testing").exists()
    (place / "easymocap/images/cam_a/000002.jpg").write_bytes(sound)
    assert Convert("easymocap", "easymocap", place / "anna", **given).run() == 0
    told = capsys.readouterr().out
    assert "camera 01, 2, 10: kept" in told
    whole = {p.relative_to(place / "anna"): p.read_bytes() for p in (place / "anna").rglob("*") if p.is_file()}
    assert Convert("easymocap", "easymocap", place / "again", **given).run() == 0
    again = {p.relative_to(place / "again"): p.read_bytes() for p in (place / "again").rglob("*") if p.is_file()}
    assert whole == again
    assert not (place / ".anna.partial").exists()


def test_an_existing_capture_is_replaced_on_demand_alone(place, monkeypatch):
    monkeypatch.chdir(place)
    given = {"body": "body.npz", "workers": 1}
    (place / "anna").mkdir()
    (place / "anna/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="anna exists"):
        Convert("easymocap", "easymocap", place / "anna", **given).run()
    with pytest.raises(MISTAKES, match="is no capture"):
        Convert("easymocap", "easymocap", place / "anna", overwrite=True, **given).run()
    assert (place / "anna/notes.txt").read_text() == "mine"
    assert Convert("easymocap", "easymocap", place / "b", views="2,10", **given).run() == 0
    assert Convert("easymocap", "easymocap", place / "b", overwrite=True, **given).run() == 0
    assert len(list((place / "b/training/rgb_video").iterdir())) == 4


def calibration_of(place, **changes):
    """Write the calibration with some of its numbers otherwise, and without the pictures' size."""
    from convert.easymocap_writer import calibration_texts

    eyes = make_scene(frames=3, size=(48, 36)).eyes
    changed = [type(e)(**{**vars(e), **{key: change(e) for key, change in changes.items()}}) for e in eyes]
    for name, content in zip(("intri.yml", "extri.yml"), calibration_texts(changed, sizes=False), strict=True):
        (place / "easymocap" / name).write_text(content)


def test_a_matrix_of_half_the_pictures_size_is_told(place, monkeypatch, capsys):
    def centred(e):
        return np.array([[41.0, 0, e.width / 2 - 0.5], [0, 41, e.height / 2 - 0.5], [0, 0, 1]])

    monkeypatch.chdir(place)
    told = []
    for half in (1.0, 0.5):
        calibration_of(place, K=lambda e, half=half: np.diag([half, half, 1]) @ centred(e))
        assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", dry_run=True).run() == 0
        told.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")])
    assert told[0] == []
    assert any("calibrated at 0.49 times the size" in line for line in told[1])


def test_coefficients_of_a_fish_eye_are_doubted(place, monkeypatch, capsys):
    calibration_of(place, dist=lambda e: np.array([-0.013, 0.06, -0.08, 0.03, 0]))
    monkeypatch.chdir(place)
    assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", dry_run=True).run() == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert any("camera 01, 2, 10, cam_a: p1 and p2 are -0.08 and 0.03" in line for line in told)


def renamed(place, new, calibrated):
    """Camera cam_a under another name, in its folders and in the calibration."""
    for folder in ("images", "mask"):
        (place / "easymocap" / folder / "cam_a").rename(place / "easymocap" / folder / new)
    for name in ("intri.yml", "extri.yml"):
        path = place / "easymocap" / name
        path.write_bytes(path.read_bytes().decode().replace("cam_a", calibrated).encode())


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_letter_with_its_mark_apart_is_the_same_letter(forms, place, monkeypatch, capsys):
    """As file systems of Macs write names, which look alike on every screen."""
    folder, calibrated = (unicodedata.normalize(form, "Kamera ü") for form in forms)
    assert folder != calibrated
    renamed(place, folder, calibrated)
    monkeypatch.chdir(place)
    assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", dry_run=True).run() == 0
    assert "4 cameras" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("images/Cam_A", "images/Cam_A is there, whose name is written otherwise"),
        ("images/CAM_A", "images/CAM_A is there, whose name is written otherwise"),
        ("videos/cam_a.webm", "videos/cam_a.webm is there, which is none of .avi, .mp4, .mkv, .mov: encode it so"),
        ("images/other", "it has 01, 2, 10, other"),
    ],
)
def test_what_is_there_in_place_of_footage_is_told(folder, expected, place, monkeypatch):
    target = place / "easymocap" / folder
    target.parent.mkdir(exist_ok=True)
    (place / "easymocap/images/cam_a").rename(target)
    monkeypatch.chdir(place)
    with pytest.raises(MISTAKES, match="camera cam_a has no footage") as error:
        Convert("easymocap", "easymocap", place / "anna", body="body.npz").run()
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_calibration_is_named_by_its_file_too(place, monkeypatch, capsys):
    (place / "lab").mkdir()
    for name in ("intri.yml", "extri.yml"):
        (place / "easymocap" / name).rename(place / "lab" / name)
    monkeypatch.chdir(place)
    given = {"body": "body.npz", "dry_run": True}
    for name in ("lab", "lab/intri.yml", "lab/extri.yml"):
        assert Convert("easymocap", "easymocap", place / "anna", calibration=name, **given).run() == 0
        assert "4 cameras" in capsys.readouterr().out


def test_a_folder_of_models_is_told(place, monkeypatch):
    (place / "models").mkdir()
    (place / "body.npz").rename(place / "models" / "SMPL_NEUTRAL.npz")
    monkeypatch.chdir(place)
    with pytest.raises(MISTAKES, match="of SMPL's models, name the file"):
        Convert("easymocap", "easymocap", place / "anna", body="models").run()


def test_a_track_in_millimetres_is_not_taken_for_cameras_in_other_units(place, monkeypatch, capsys):
    for i in range(3):
        path = place / "easymocap" / "smpl" / f"{i:06d}.json"
        people = json.loads(path.read_text())
        path.write_text(json.dumps([people[0] | {"Th": (1000 * np.array(people[0]["Th"])).tolist()}]))
    monkeypatch.chdir(place)
    assert Convert("easymocap", "easymocap", place / "anna", body="body.npz", dry_run=True).run() == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(told) == 1 and "m away from the cameras: where its Th is in millimetres" in told[0]
    assert "--unit" not in told[0]
