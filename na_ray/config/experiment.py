"""Every knob of an experiment, on one page.

An `Experiment` is a value: frozen, compared by content, written into every checkpoint and MLflow run.
`override` and `from_dict` refuse names that do not exist and say which do; each section checks its own
values when it is made. Lengths are metres, sizes are pixels (height, width).
"""

from dataclasses import dataclass, field
from typing import Literal

from na_ray.config.secrets import keep_public
from na_ray.config.splats import SplatsConfig
from na_ray.config.texture import TextureConfig, Vid2vidConfig
from na_ray.config.values import AUTO, UserError, check, check_selection


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read from the capture, and how much of it at a time."""

    train_split: str = "training"
    """Folder of the frames to train on."""
    test_split: str = "testing"
    """Folder of the held-out motion."""
    train_views: str = "0..11"
    """Cameras to train on: `0..11` (the end is exclusive), `0,3,7`, `all`, or `auto`: all but every sixth, beginning
    with the fourth (of fewer than four cameras: all)."""
    validation_views: str = "auto"
    """Cameras whose pictures decide: the best checkpoint, a sweep's ranking. `auto`: those that are not trained on;
    where there is none, the last tenth of the frames is left out of training, and decides."""
    fit_views: str = ""
    """Cameras, trained on, that validation renders as well, as `fit/psnr`: how well training fits. `auto`: four."""
    frames: str = "all"
    """Frames of the training split to train on."""
    resolution: tuple[int, int] | None = (1024, 1024)
    """(height, width) of the training images; larger images are area-averaged down. None: as they are."""
    texture_size: int | None = None
    """Longer side of the texture map that the encoder sees, area-averaged down; its proportions stay. None: as it is
    stored. (Colors that `nerf.mesh_residual` starts from are always looked up in the map as it is stored.)"""
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Color behind the actor, RGB in [-1, 1]."""
    rays_per_view: int = 1024
    """Rays drawn from each view at each visit, uniformly over the pixels whose rays meet the shell."""
    pixel_jitter: bool = True
    """Send each training ray through a uniformly drawn point of its pixel (`nerf.parity` turns it off). False:
    through the pixel's center."""
    views_per_frame: int = 1
    """Views drawn of each frame: they share one pass of the texture encoder."""
    shard_frames: int = 16
    """Frames decoded in one go from a video."""
    shuffle_shards: int = 4
    """Shards whose frames are mixed before they reach the training step."""
    memory_mb: int = 2048
    """Bound on the bytes of decoded frames in flight per training worker."""
    on_bad_shard: Literal["fail", "skip"] = "fail"
    """What to do with a video that turns unreadable during training: stop, or skip the shard and count it."""

    def __post_init__(self) -> None:
        for name in ("train_views", "validation_views", "fit_views", "frames"):
            selection = getattr(self, name)
            if not (name != "frames" and selection == AUTO) and not (name == "fit_views" and not selection):
                check_selection(selection, f"data.{name}")
        for name in ("rays_per_view", "views_per_frame", "shard_frames", "shuffle_shards", "memory_mb"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        check(self, "resolution", self.resolution is None or min(self.resolution) >= 8, "at least (8, 8), or None")
        check(self, "texture_size", self.texture_size is None or self.texture_size >= 16, "at least 16, or None")


@dataclass(frozen=True, kw_only=True)
class NerfConfig:
    """The pose- and texture-conditioned radiance field and how it is sampled."""

    samples_per_ray: int = 64
    """Boundaries drawn along the part of a ray that lies in the shell (they enclose one sample more)."""
    shell_radius: float = 0.06
    """The shell is what lies within this distance (m) of a vertex of the posed body."""
    hidden: int = 256
    """Width of every MLP."""
    encoder_width: int = 64
    """Channels of the texture encoder's first stage: 64 is ResNet-34 (512 feature channels), smaller is faster."""
    encoder_weights: str = ""
    """File or URL of ImageNet weights for ResNet-34 (torchvision names); empty: random initialisation."""
    local_frequencies: int = 6
    """Octaves of the encoding of the coordinates on the surface (u, v, signed distance)."""
    position_frequencies: int = 6
    """Octaves of the encoding of the canonical position."""
    direction_frequencies: int = 4
    """Octaves of the encoding of the view direction."""
    deformation: bool = True
    """Correct the un-posed position by a learned residual."""
    mesh_residual: bool = False
    """Learn density and color as residuals of the posed mesh with its texture map: good pictures thousands of steps
    earlier (the paper starts from nothing)."""
    mesh_prior: Literal["surface", "soft"] = "surface"
    """What `mesh_residual` starts from. surface: the textured mesh, its colors from the texture map as it is stored.
    soft: the blurred one of version 0.1, which its checkpoints go on with."""
    guided_samples: bool | None = None
    """Draw two thirds of a ray's boundaries by the surface of the posed mesh that it meets. None: where
    `mesh_residual` starts from the surface."""
    density_noise: float = 1.0
    """Standard deviation (1/m) of the noise added to the density in training."""
    stratified: bool = True
    """Jitter the samples in training (False: interval centres, as in evaluation)."""
    background_depth: float = 5.0
    """Depth (m) given to rays that meet nothing."""
    skip_empty: bool = True
    """Do not evaluate samples farther than the shell's radius from the surface (`parity` turns it off)."""
    samples_per_chunk: int | None = None
    """Samples evaluated at once: bounds the memory of rendering. None: 8192 on a CPU, whose caches hold them, and
    262144 on a GPU (about a gigabyte at the paper's width), which small launches leave idle."""
    parity: bool = False
    """Reproduce the original's numbers, quirks included (docs/original.md)."""

    def __post_init__(self) -> None:
        for name in ("samples_per_ray", "hidden", "encoder_width"):
            check(self, name, getattr(self, name) >= 2, "at least 2")
        chunk = self.samples_per_chunk
        check(self, "samples_per_chunk", chunk is None or chunk >= 2, "at least 2, or None")
        for name in ("local_frequencies", "position_frequencies", "direction_frequencies", "density_noise"):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        keep_public(self, "encoder_weights")
        check(self, "mesh_residual", not (self.mesh_residual and self.parity), "False with parity, which lacks it")
        check(self, "guided_samples", not (self.guided_samples and self.parity), "unset with parity, which lacks it")
        check(self, "shell_radius", 0 < self.shell_radius < 10, "a length in metres between 0 and 10")

    @property
    def sharp(self) -> bool:
        """Whether training starts from the textured mesh itself."""
        return self.mesh_residual and self.mesh_prior == "surface"

    @property
    def guided(self) -> bool:
        """Whether samples are placed by the posed mesh."""
        return self.sharp if self.guided_samples is None else self.guided_samples


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Losses and the optimiser."""

    lr: float = 2e-4
    """Learning rate of the first step."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the two moments."""
    eps: float = 1e-8
    """Adam's epsilon."""
    decay_rate: float = 0.1
    """Factor on the learning rate over `decay_steps` (exponential decay)."""
    decay_steps: int = 250_000
    """Steps over which the learning rate falls by `decay_rate`."""
    color_weight: float = 1.0
    """Weight of the squared colour error."""
    alpha_weight: float = 0.0
    """Weight of the alpha loss (the original's 0.01 never acts)."""
    clip_norm: float = 0.0
    """Clip the gradient's norm to this value; 0: do not clip."""

    def __post_init__(self) -> None:
        check(self, "lr", self.lr > 0, "positive")
        check(self, "decay_rate", 0 < self.decay_rate <= 1, "in (0, 1]")
        check(self, "decay_steps", self.decay_steps >= 1, "at least 1")
        check(self, "betas", all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        for name in ("eps", "color_weight", "alpha_weight", "clip_norm"):
            check(self, name, getattr(self, name) >= 0, "at least 0")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, where, and how often to look."""

    steps: int = 300_000
    """Optimiser steps of the NeRF."""
    seed: int = 2
    """Seed of the initialisation, the data's order and the samples."""
    num_workers: int = 1
    """Ray Train workers. 0: train in this process, without Ray."""
    min_workers: int | None = None
    """Fewest workers to go on with while machines are missing; they become more again when machines come. None: always
    `num_workers`."""
    global_batch: int = 8
    """Frames in one optimiser step of the NeRF, over all workers: the training is the same on any number of them that
    divides it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: on a GPU a worker where there is one, by fewer workers where there are too few."""
    cpus_per_worker: float = 1.0
    """CPUs that Ray reserves for each worker."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the networks; geometry and compositing stay float32."""
    deterministic: bool = False
    """On a GPU, sum in a fixed order: trainings repeat bit for bit, as on CPUs they always do."""
    compile: bool = False
    """torch.compile the field."""
    log_every: int = 10
    """Steps between two reports of the metrics."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep_last: int = 5
    """Checkpoints to keep beside the best one."""
    validate_every: int = 5_000
    """Steps between two validations; 0: only at the end."""
    validation_frames: int = 4
    """Frames, evenly spaced, that validation renders through each validation view."""
    validation_size: int = 256
    """Longer side of the validation pictures."""
    max_failures: int = 3
    """Times in a row, without a new checkpoint in between, that workers are started again after one of them died."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "keep_last", "validation_frames", "validation_size"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("num_workers", "validate_every", "max_failures"):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        check(self, "cpus_per_worker", self.cpus_per_worker > 0, "positive")
        check(self, "global_batch", self.global_batch >= 1, "at least 1")
        fewest = self.min_workers is None or 1 <= self.min_workers <= self.num_workers
        check(self, "min_workers", fewest, f"between 1 and num_workers, which is {self.num_workers}")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What is scored and filmed when training is over."""

    frames: int = 8
    """Frames of each split, evenly spaced, that are scored; 0: none."""
    size: int = 512
    """Longer side of the scored pictures; smaller images are taken as they are."""
    supersample: int = 2
    """Rays a pixel, in each direction, of the scored pictures: of the radiance field and of the textured mesh alike."""
    film_size: int | None = None
    """Longer side of the films. None: `size`."""
    film_frames: int = 48
    """Frames of the closing film, an orbit around the held-out motion; 0: no film."""

    def __post_init__(self) -> None:
        for name in ("frames", "film_frames"):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        check(self, "supersample", self.supersample >= 1, "at least 1")
        check(self, "size", self.size >= 16, "at least 16")
        check(self, "film_size", self.film_size is None or self.film_size >= 16, "at least 16, or None")


StageName = Literal["texture", "nerf", "splats"]
"""texture: normal maps to texture maps. nerf: poses and texture maps to pictures."""

AvatarName = Literal["splats", "nerf"]
"""The stages whose model is an avatar, which makes pictures. Where an actor has several, the first is taken."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a training run's outcome."""

    name: str = "actor"
    """Name of the run: its folder under `storage`, its MLflow run and its registered model."""
    project: str = ""
    """MLflow experiment that holds the run beside those to compare it with; empty: one of the run's own name."""
    capture: str = ""
    """Folder or URL (s3://, gs://, https://) of the capture."""
    storage: str = "runs"
    """Folder that holds the runs: on a cluster, one that all nodes share."""
    stages: tuple[StageName, ...] = ("nerf",)
    """Stages to train, in this order."""
    data: DataConfig = field(default_factory=DataConfig)
    vid2vid: Vid2vidConfig = field(default_factory=Vid2vidConfig)
    texture: TextureConfig = field(default_factory=TextureConfig)
    nerf: NerfConfig = field(default_factory=NerfConfig)
    splats: SplatsConfig = field(default_factory=SplatsConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    @property
    def texture_side(self) -> int | None:
        """Side to which texture maps are shrunk where they are read; None: the NeRF wants them as stored."""
        return None if self.nerf.sharp else self.data.texture_size

    def __post_init__(self) -> None:
        keep_public(self, "capture")
        odd, expected = set("/\\ '\"()"), "a word without slashes, blanks, quotes or parentheses"
        check(self, "name", bool(self.name) and not set(self.name) & odd, expected)
        check(self, "project", not set(self.project) & odd, f"{expected}, or empty")
        check(self, "stages", len(set(self.stages)) == len(self.stages) >= 1, "one or more stages, each once")
        rule = not self.vid2vid.mean_residual or self.texture.max_scale == 1
        check(self.texture, "max_scale", rule, "1 with vid2vid.mean_residual: the mean texture is not cropped")
        rule = "texture" not in self.stages or len(set(self.vid2vid.resolution)) == 1
        check(self.vid2vid, "resolution", rule, "square, as the crops that the texture stage draws")
        batches = {"texture": ("texture.global_batch", self.texture.global_batch)}
        batches["nerf"] = ("train.global_batch", self.train.global_batch)
        batches["splats"] = ("splats.global_batch", self.splats.global_batch)
        for stage in self.stages:
            check_workers(self.train.num_workers, *batches[stage])


def check_workers(num_workers: int, knob: str, batch: int) -> None:
    """Refuse a number of workers among whom a step's batch cannot be shared evenly, and name the next that can."""
    if batch % max(1, num_workers):
        numbers = [n for n in range(1, batch + 1) if batch % n == 0]
        more = [n for n in numbers if n > num_workers]
        which = f"the next number that does is {more[0]}" if more else f"the largest number that does is {numbers[-1]}"
        raise UserError(f"train.num_workers is {num_workers}: it must divide {knob}, which is {batch}; {which}")
