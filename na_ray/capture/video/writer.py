"""Writing video files."""

import os
from fractions import Fraction
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from na_ray.config.values import UserError

# By ITU-T H.273: what cameras and screens of today use; black and white at 16 and 235.
BT709, LIMITED = 1, 1

Codec = Literal["mjpeg", "ffv1", "h264", "png"]


class VideoWriter:
    """Write frames to `path`; its ending chooses the container (.avi, .mp4, .mkv).

    The file is written aside and renamed when the block ends well; after an error nothing is left behind.

        with VideoWriter("orbit.mp4", 25, "h264") as video:
            video.write(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float | int | Fraction,
        codec: Codec = "mjpeg",
        quality: int | None = None,
        mark: str = "",
    ) -> None:
        """`quality`: MJPEG's quantizer (1 best .. 31, default 2) or H.264's CRF (0 best .. 51, default 18); FFV1 has
        none, nor has PNG, which alone keeps a fourth channel, alpha.
        `mark` is stored as the file's comment (`mark_of` reads it)."""
        folder, name = os.path.split(os.fspath(path))
        os.makedirs(folder or ".", exist_ok=True)
        stem, ending = os.path.splitext(name)
        self.path = os.fspath(path)
        self._aside = os.path.join(folder, f".{stem}.{os.getpid()}.partial{ending}")
        self._codec: Codec = codec
        self._quality = quality
        self._rate = Fraction(fps).limit_denominator(100_000)
        self._container = av.open(self._aside, mode="w")
        self._container.metadata["comment"] = mark
        self._stream: VideoStream | None = None
        self._reformatter = VideoReformatter()

    def write(self, frame: UInt8[np.ndarray, "h w c"]) -> None:
        """Append a frame. Raises UserError when its size differs from the first one's."""
        if self._stream is None:
            self._stream = self._add_stream(*frame.shape[:2])
        stream = self._stream
        if frame.shape[:2] != (stream.height, stream.width):
            found = f"a frame of {frame.shape[0]}x{frame.shape[1]} pixels"
            raise UserError(f"{self.path}: {found}; expected {stream.height}x{stream.width}, as the first frame's")
        form = "rgba" if frame.shape[2] == 4 else "rgb24"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=form)
        if self._codec == "h264":
            # Players take untagged films for one standard or another, by their size: say which, and keep to it.
            picture = self._reformatter.reformat(picture, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
        self._container.mux(stream.encode(picture))

    def _add_stream(self, height: int, width: int) -> VideoStream:
        if self._codec == "h264":
            # Players expect 4:2:0, which has no odd sizes.
            pix_fmt = "yuv420p" if height % 2 == 0 == width % 2 else "yuv444p"
            # With AVX-512, x264's macroblock tree makes one film of some pictures now and another one then.
            options = {"crf": str(18 if self._quality is None else self._quality), "x264-params": "mbtree=0"}
            stream = self._container.add_stream("libx264", rate=self._rate, options=options)
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = LIMITED
        elif self._codec == "png":
            stream, pix_fmt = self._container.add_stream("png", rate=self._rate), "rgba"
        elif self._codec == "ffv1":
            stream, pix_fmt = self._container.add_stream("ffv1", rate=self._rate), "bgr0"
        else:
            stream, pix_fmt = self._container.add_stream("mjpeg", rate=self._rate), "yuvj444p"
            stream.codec_context.qmin = stream.codec_context.qmax = 2 if self._quality is None else self._quality
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        return stream

    def close(self) -> None:
        """Finish the file and give it its name. Raises UserError when no frame was written."""
        if self._stream is None:
            self.discard()
            raise UserError(f"{self.path}: no frame was written; expected at least one")
        self._container.mux(self._stream.encode(None))
        self._container.close()
        os.replace(self._aside, self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._container.close()
        if os.path.exists(self._aside):
            os.remove(self._aside)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard() if kind else self.close()
