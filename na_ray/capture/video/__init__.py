"""Video files: what they hold, frame-exact decoding of a range, writing. The only place that knows PyAV."""

from na_ray.capture.video.info import VideoHeader, VideoIndex, VideoInfo
from na_ray.capture.video.reader import count, decode, entry, header, mark_of, prefetch, probe, resolution, survey
from na_ray.capture.video.writer import Codec, VideoWriter

__all__ = [
    "Codec",
    "VideoHeader",
    "VideoIndex",
    "VideoInfo",
    "VideoWriter",
    "count",
    "decode",
    "entry",
    "header",
    "mark_of",
    "prefetch",
    "probe",
    "resolution",
    "survey",
]
