"""Knobs of the splat avatar and of its training."""

from dataclasses import dataclass

from na_ray.config.values import check


@dataclass(frozen=True, kw_only=True)
class SplatsConfig:
    """One 3D Gaussian a texel of the UV atlas, and how they are trained. `size` alone suits a capture; the rest
    follows from it."""

    size: int = 256
    """Longer side of the pictures to train on, px; smaller pictures are taken as they are."""
    texels: int | None = None
    """Side of the atlas, texels: a Gaussian each that a face touches. None: three quarters of `size`."""
    widths: tuple[int, ...] = (48, 64, 96)
    """Channels of the decoder's levels; each has half the side of the one before."""
    blur: float = 0.05
    """Variance (px^2) that a pixel's filter adds to each Gaussian, at the training resolution."""
    steps: int | None = None
    """Optimiser steps. None: `train.steps`."""
    global_batch: int = 2
    """Pictures in one optimiser step, over all workers, which share them."""
    views_per_frame: int = 2
    """Pictures that show the same frame: they share one pass of the decoder."""
    reach: float = 0.12
    """What lies within this distance (m) of the posed body, and the box around it, is trained on."""
    lr_texels: float = 0.03
    """Learning rate of the texels' own parameters."""
    lr_decoder: float = 2e-3
    """Learning rate of the decoder."""
    warmup_steps: int = 50
    """Steps over which the learning rates rise from 0."""
    decay_start: float = 0.5
    """Share of the steps after which the learning rates fall, as a cosine, to 1 % at the end."""
    average: float = 0.99
    """Decay a step of the averaged weights, which are scored and kept."""
    l1_weight: float = 1.0
    """Weight of the absolute color error."""
    l2_weight: float = 5.0
    """Weight of the squared color error."""
    ssim_weight: float = 0.2
    """Weight of 1 - SSIM."""
    output_weight: float = 1e-3
    """Weight of the decoder's mean squared output: corrections stay small where pictures do not ask for them."""
    weight_decay: float = 0.3
    """Decoupled weight decay of the decoder, a unit of learning rate."""
    turn: float = 0.5
    """Standard deviation (rad) of the random rotation of the normals that the decoder sees in training."""
    own_maps: float = 0.4
    """Share of the training steps that see the frame's own texture map."""
    mean_maps: float = 0.3
    """Share of the training steps that see the mean training map in the light of the pose: for poses without
    photographs. The steps that are left see mixtures of both."""

    refine_poses: bool = False
    """Learn a small correction of each training frame's pose with the avatar: for a track that is some centimetres
    off. A frame has to be seen some twenty times."""
    lr_poses: float = 0.03
    """Learning rate of the corrections (m, rad) where a frame's gradients agree from visit to visit; else it is
    less."""
    pose_decay: float = 0.0
    """How much a correction shrinks towards zero each time its frame is seen, as a share of it."""

    cuda_graphs: bool = True
    """On a GPU, record a step and replay it, four times as fast as launching its kernels one by one. With several
    workers or `refine_poses` they are launched."""

    def __post_init__(self) -> None:
        for name in ("size", "global_batch", "views_per_frame", "warmup_steps"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("l1_weight", "l2_weight", "ssim_weight", "output_weight", "weight_decay", "turn", "pose_decay"):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        check(self, "texels", self.texels is None or self.texels >= 16, "at least 16, or None")
        check(self, "widths", len(self.widths) >= 1 and min(self.widths) >= 1, "one or more positive numbers")
        check(self, "blur", self.blur > 0, "positive")
        whole = self.global_batch % self.views_per_frame == 0
        check(self, "global_batch", whole, f"a multiple of views_per_frame, which is {self.views_per_frame}")
        for name in ("lr_texels", "lr_decoder", "lr_poses", "reach"):
            check(self, name, getattr(self, name) > 0, "positive")
        for name in ("average", "decay_start", "own_maps", "mean_maps"):
            check(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        check(self, "own_maps", self.own_maps + self.mean_maps <= 1 + 1e-9, "at most 1 together with mean_maps")

    @property
    def side(self) -> int:
        """Side of the atlas, a multiple of what the decoder halves it to."""
        multiple = 4 * 2 ** (len(self.widths) - 1)
        wanted = self.texels or 3 * self.size // 4
        return max(multiple, round(wanted / multiple) * multiple)
