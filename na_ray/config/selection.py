"""Which cameras and frames are trained on, which decide, and which are looked at as the fit."""

from dataclasses import dataclass

from na_ray.config.experiment import DataConfig
from na_ray.config.texture import TextureConfig
from na_ray.config.values import AUTO, UserError, parse_indices

HELD_OUT_EVERY, FIRST_HELD_OUT = 6, 3
"""`auto` leaves every sixth camera out of training, beginning with the fourth."""

FEWEST_CAMERAS = 4
"""With fewer, `auto` leaves frames out instead: no camera can be spared."""

FIT_VIEWS = 4
"""So many of the cameras, evenly spaced, are what `auto` takes for the fit."""

FRAME_SHARE = 10
"""Then one in so many frames, the last ones."""

FEWEST_HELD_OUT = 3
"""Of a sequence of frames, no fewer decide: the third is the first that is predicted from two others."""


@dataclass(frozen=True)
class Selection:
    """Positions of cameras and frames in the training split."""

    train_views: tuple[int, ...]
    validation_views: tuple[int, ...]
    """Cameras whose pictures decide: which checkpoint is the best, which trial of a sweep goes on."""
    fit_views: tuple[int, ...]
    """Cameras whose pictures show how well training fits what it sees."""
    train_frames: range
    validation_frames: range

    @property
    def trained_validation_views(self) -> tuple[int, ...]:
        """Cameras that decide although their pictures are trained on."""
        if not set(self.validation_frames) & set(self.train_frames):
            return ()
        return tuple(v for v in self.validation_views if v in self.train_views)

    @property
    def warning(self) -> str | None:
        """What to tell where all that decides is trained on; None where it is not."""
        trained = self.trained_validation_views
        if len(trained) < len(self.validation_views):
            return None
        cameras = ", ".join(map(str, trained))
        return (
            f"warning: what decides is trained on (cameras {cameras}): its scores flatter; leave a camera out of "
            "data.train_views and name it in data.validation_views, or set both to auto"
        )


@dataclass(frozen=True)
class SequenceSelection:
    """Positions of frames in the training split, for a stage that looks through no camera."""

    train_frames: range
    validation_frames: range | None
    """Frames that decide which checkpoint is the best. None: the first of the test split do."""

    @property
    def warning(self) -> str | None:
        """What to tell where the scores of what decides flatter; None where they do not."""
        if self.validation_frames is None:
            return (
                "warning: frames of the test split decide which checkpoint is the best (texture.held_out None, as in "
                "version 0.1): their scores flatter; a new run leaves training frames out instead"
            )
        if not set(self.validation_frames) & set(self.train_frames):
            return None
        return (
            f"warning: what decides is trained on ({len(self.train_frames)} frames): its scores flatter; choose more "
            "data.frames, or a texture.held_out of 0.1"
        )


def auto_train_views(num_cameras: int) -> list[int]:
    """The cameras that `data.train_views auto` trains on."""
    if num_cameras < FEWEST_CAMERAS:
        return list(range(num_cameras))
    return [v for v in range(num_cameras) if v % HELD_OUT_EVERY != FIRST_HELD_OUT]


def select(data: DataConfig, num_cameras: int, num_frames: int) -> Selection:
    """Settle the selections of `data` for a split of so many cameras and frames.

    Raises UserError, one line, for cameras or frames that do not exist, or when none is left to train on.
    """
    frames = select_frames(data, num_frames)
    auto = data.train_views == AUTO
    train = auto_train_views(num_cameras) if auto else parse_indices(data.train_views, num_cameras, "data.train_views")
    fit = _fit_views(data, num_cameras, train)
    if data.validation_views != AUTO:
        validation = parse_indices(data.validation_views, num_cameras, "data.validation_views")
        return Selection(tuple(train), tuple(validation), tuple(fit), frames, frames)
    left = [v for v in range(num_cameras) if v not in train]
    if left:
        return Selection(tuple(train), tuple(left), tuple(fit), frames, frames)
    held_out = max(1, len(frames) // FRAME_SHARE)
    if held_out == len(frames):
        raise UserError(
            f"data.validation_views is auto and every camera is trained on: the one frame of data.frames "
            f"{data.frames!r} cannot both train and decide; choose more frames, or name cameras"
        )
    return Selection(tuple(train), tuple(train), tuple(fit), frames[:-held_out], frames[-held_out:])


def _fit_views(data: DataConfig, num_cameras: int, train: list[int]) -> list[int]:
    if data.fit_views == AUTO:
        if len(train) <= FIT_VIEWS:
            return train
        return [train[round(i * (len(train) - 1) / (FIT_VIEWS - 1))] for i in range(FIT_VIEWS)]
    return parse_indices(data.fit_views, num_cameras, "data.fit_views") if data.fit_views else []


def select_sequences(data: DataConfig, texture: TextureConfig, num_cameras: int, num_frames: int) -> SequenceSelection:
    """Settle what the texture stage trains on and what decides: no frame that the NeRF of the same knobs leaves out is
    trained on, nor the last `texture.held_out` of them.

    Where less than a window of frames would be left, none is held out: `warning` says so.
    """
    frames, train = select_frames(data, num_frames), _nerf_frames(data, num_cameras, num_frames)
    if texture.held_out is None:
        return SequenceSelection(train, None)
    wanted = max(FEWEST_HELD_OUT, int(len(frames) * texture.held_out)) if texture.held_out else 0
    left = min(len(train), len(frames) - wanted)
    if left < texture.first_window:
        left = len(train)
    # Both begin with the first frame.
    return SequenceSelection(frames[:left], frames[left:] or train)


def _nerf_frames(data: DataConfig, num_cameras: int, num_frames: int) -> range:
    try:
        return select(data, num_cameras, num_frames).train_frames
    except UserError:  # of cameras that do not exist, which are the NeRF's to refuse, or of the frames: raised again
        return select_frames(data, num_frames)


def select_frames(data: DataConfig, num_frames: int) -> range:
    """The range that `data.frames` names. Raises UserError when it is none."""
    chosen = parse_indices(data.frames, num_frames, "data.frames")
    frames = range(chosen[0], chosen[-1] + 1)
    if chosen != list(frames):
        raise UserError(f"data.frames is {data.frames!r}: training frames must be one range, as '10..200'")
    return frames
