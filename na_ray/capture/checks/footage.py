"""Examine what changes from frame to frame: transforms, videos and extracted pictures of one split."""

from collections import Counter
from collections.abc import Sequence

from na_ray.capture import video
from na_ray.capture.checks import numbers
from na_ray.capture.checks.report import Report
from na_ray.capture.dataset import Split
from na_ray.capture.image import Size, check_image, orientation_of, read_image
from na_ray.capture.layout import IMAGES, SplitFiles, find_map_videos, find_sources
from na_ray.capture.naming import Series, by_number
from na_ray.capture.rig import Pose, parse_json
from na_ray.capture.storage import basename, is_url, join, listing
from na_ray.capture.storage.archive import leaving_members

# Pictures behind a URL cost a request each: so many frames of them are looked at.
REMOTE_FRAMES = 32
# Frames that are decoded in vain to come to another: more are told of.
SLOW = 300


def examine_transforms(report: Report, files: SplitFiles, num_joints: int | None) -> list[Pose]:
    """Read every frame's transform. Returns those that could be read."""
    if files.transforms.archive:
        for name in leaving_members(files.transforms.folder):
            expected = "expected names within the archive: do not unpack it, get another copy"
            report.defects.append(f"{files.transforms.folder}: member {name!r} leaves its folder; {expected}")
    split, poses, padded = Split(files), [], []
    for position, number in enumerate(files.frames):
        where = files.transforms.path(number)
        text = report.attempt(split.read_transform, position)
        values = report.attempt(parse_json, text, where) if text is not None else None
        pose = report.attempt(Pose.from_json, values, where) if values is not None else None
        if pose is None:
            continue
        poses.append(pose)
        report.faults(where, numbers.pose_faults(pose, num_joints))
        if values is not None and pose.pose is not None and _length(values["pose"]) < len(pose.pose):
            padded.append(where)
    if padded:
        found = f"pose holds {3 * len(poses[0].joints) - 3} numbers in {len(padded)} frames"
        report.notes.append(f"{padded[0]}: {found}: three zeros were put before them, for the root")
    if isinstance(files.frames, tuple):
        report.notes.append(f"{files.transforms.folder}: the frames' numbers have gaps: positions count, not numbers")
    return poses


def _length(values: object) -> int:
    return sum(_length(v) for v in values) if isinstance(values, list) else 1


def examine_pictures(report: Report, files: SplitFiles, thorough: bool) -> dict[int, Size]:
    """Examine all pictures of a split. Returns (height, width) by the camera's number."""
    sizes: dict[int, Size] = {}
    if files.kind == "raw":
        sources = report.attempt(find_sources, files) or {}
        for number, path in sources.items():
            info = _examine_video(report, files, path, thorough)
            if info is not None:
                sizes[number] = (info.height, info.width)
        _report_odd_sizes(report, {sources[n]: size for n, size in sizes.items()})
    elif files.kind == "extracted":
        sizes = _examine_folders(report, files, thorough)
    if files.kind != "poses":
        _examine_maps(report, files, thorough)
    return sizes


def _report_odd_sizes(report: Report, sizes: dict[str, Size]) -> None:
    """Name the pictures that are not as large as most."""
    if not sizes:
        return
    usual = Counter(sizes.values()).most_common(1)[0][0]
    for path, size in sizes.items():
        if size != usual:
            expected = f"expected {usual[0]}x{usual[1]}, as most have"
            report.defects.append(f"{path}: pictures of {size[0]}x{size[1]}; {expected}: encode it at that size")


def _examine_video(report: Report, files: SplitFiles, path: str, thorough: bool) -> video.VideoInfo | None:
    """Count a video's frames and decode some: the first, the middle and the last, or all."""
    info = report.attempt(video.survey, path)
    if info is None:
        return None
    expected = len(files.frames)
    if info.num_frames < info.declared_frames:
        found = f"truncated: {info.num_frames} of {info.declared_frames} frames are there"
        report.defects.append(f"{path}: {found}; expected all: copy the file again")
        return info
    if info.num_frames != expected:
        found = f"{info.num_frames} frames; expected {expected}, as {basename(files.transforms.folder)} has"
        todo = f" ({'; '.join(info.counting)}): encode it anew" if info.counting else ": encode or copy it again"
        report.defects.append(f"{path}: {found}{todo}")
    report.notes += [f"{path}: {remark}" for remark in (*info.counting, *info.remarks)]
    starts = [0] if thorough else sorted({0, info.num_frames // 2, info.num_frames - 1})
    for start in starts:
        stop = info.num_frames if thorough else start + 1
        if report.attempt(_decode_all, path, start, stop) is None:
            return info
    away = info.num_frames and info.num_frames - 1 - (report.attempt(video.entry, path, info.num_frames - 1) or 0)
    if away > SLOW:
        found = f"{away} frames are decoded to come to the last one, so each shard takes long ({info.codec})"
        report.notes.append(f"{path}: {found}: ffmpeg -i IN -c:v libx264 -crf 10 -g 16 OUT makes it fast")
    return info


def _decode_all(path: str, start: int, stop: int) -> int:
    return sum(1 for _ in video.decode(path, start, stop))


def _examine_maps(report: Report, files: SplitFiles, thorough: bool) -> None:
    """The texture maps must be there; the normal maps are needed by the texture predictor alone."""
    for what, series, path in (
        ("tex", files.texture, files.texture_video),
        ("normal", files.normal, files.normal_video),
    ):
        if series is not None:
            _examine_series(report, files, series, thorough)
        elif path is not None:
            _examine_video(report, files, path, thorough)
            others = find_map_videos(files.folder, listing(files.folder), what)[1:]
            if others:
                report.notes.append(f"{path}: this one of {1 + len(others)} {what} videos is read, the first by name")
        elif what == "tex":
            expected = "expected the texture maps as tex*.avi or in a folder tex/"
            made = "copy them there, or make them (na-ray prepare)"
            report.defects.append(f"{files.folder}: no texture maps; {expected}: {made}")
        else:
            report.notes.append(f"{files.folder}: no normal maps: the NeRF can be trained, the texture predictor not")


def _examine_series(report: Report, files: SplitFiles, series: Series, thorough: bool) -> None:
    """One picture per frame, all of one size."""
    there = set(by_number(series.folder, listing(series.folder), IMAGES))
    sizes: dict[str, Size] = {}
    for number in files.frames:
        path = series.path(number)
        if number not in there:
            report.defects.append(f"{path}: missing; expected one picture per frame: extract it again")
    for number in _looked_at(files, [n for n in files.frames if n in there]):
        size = _examine_picture(report, series.path(number), thorough)
        if size is not None:
            sizes[series.path(number)] = size
    _report_odd_sizes(report, sizes)


def _looked_at(files: SplitFiles, numbers: Sequence[int]) -> Sequence[int]:
    return numbers[:: max(1, len(numbers) // REMOTE_FRAMES)] if is_url(files.folder) else numbers


def _examine_picture(report: Report, path: str, thorough: bool) -> Size | None:
    size = report.attempt(check_image, path)
    if thorough and size is not None:
        report.attempt(read_image, path)
    return size


def _examine_folders(report: Report, files: SplitFiles, thorough: bool) -> dict[int, Size]:
    """The pictures of the extracted layout: the same cameras in each frame, the same size in all."""
    sources = report.attempt(find_sources, files) or {}
    sizes: dict[str, Size] = {}
    folders = _listed(report, files, list(sources.values()))
    for number in _looked_at(files, files.frames):
        for name in sources.values():
            folder, file = files.picture(number, name).rsplit("/", 1)
            if folder not in folders:
                continue
            if file not in folders[folder]:
                expected = "expected one picture per camera and frame: extract it again"
                report.defects.append(f"{join(folder, file)}: missing; {expected}")
                continue
            size = _examine_picture(report, join(folder, file), thorough)
            if size is not None:
                sizes[join(folder, file)] = size
    _report_odd_sizes(report, sizes)
    first = {n: files.picture(files.frames[0], name) for n, name in sources.items()}
    _report_turned(report, [path for path in first.values() if path in sizes])
    return {n: sizes[path] for n, path in first.items() if path in sizes}


def _listed(report: Report, files: SplitFiles, sources: list[str]) -> dict[str, set[str]]:
    """Names in the folders of the pictures, those left out that hold none."""
    assert files.rgb is not None
    if files.by_camera:
        folders = [join(files.rgb.folder, name) for name in sources]
        return {folder: set(listing(folder)) for folder in folders}
    found = {}
    for number in _looked_at(files, files.frames):
        folder = files.rgb.path(number)
        there = listing(folder)
        if not there:
            report.defects.append(f"{folder}: no pictures of this frame; expected {len(sources)}: extract it again")
            continue
        found[folder] = set(there)
        odd = [n for n in there if n.lower().endswith(IMAGES) and n not in sources]
        if odd:
            says = f"pictures that the first frame has not: {', '.join(odd[:4])}"
            report.defects.append(f"{folder}: {says}; expected the same cameras in each frame: extract it again")
    return found


def _report_turned(report: Report, paths: Sequence[str]) -> None:
    """Whoever calibrated may have seen the pictures as they are stored."""
    turned = [path for path in paths if (report.attempt(orientation_of, path) or 1) != 1]
    if turned:
        report.notes.append(
            f"{turned[0]}: turned upright, as its EXIF orientation says ({len(turned)} of {len(paths)} cameras): "
            "the calibration must be of upright pictures, as OpenCV reads them"
        )
