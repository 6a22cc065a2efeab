"""The knobs of the texture predictor: its networks (`Vid2vidConfig`) and its training (`TextureConfig`)."""

from dataclasses import dataclass
from typing import Literal

from na_ray.config.secrets import keep_public
from na_ray.config.values import check


@dataclass(frozen=True, kw_only=True)
class Vid2vidConfig:
    """Sizes of the networks that turn normal maps into texture maps. Widths double with depth, up to a maximum."""

    resolution: tuple[int, int] = (512, 512)
    """(height, width) of the maps: the networks work at this size alone. A multiple of 2^num_layers."""
    num_filters: int = 32
    """Channels of the generator at full resolution."""
    max_num_filters: int = 1024
    """Most channels of the generator and of its embedders."""
    num_layers: int = 7
    """Upsampling blocks above the last, from the latent code to full resolution (first frame)."""
    num_downsamples_img: int = 4
    """Downsampling blocks that read the previous image (later frames)."""
    embed_downsamples: int = 5
    """Downsamplings of the normal-map embedder."""
    latent_channels: int = 256
    """Length of the latent code (always zero: only its layer's bias matters)."""
    flow_filters: int = 32
    """Channels of the flow network at full resolution."""
    flow_downsamples: int = 3
    """Downsamplings of the flow network."""
    flow_blocks: int = 6
    """Residual blocks of the flow network."""
    flow_scale: float = 20.0
    """Pixels of flow for an output of one."""
    warp_layers: int = 3
    """Finest generator blocks that see the warped previous image."""
    warp_downsamples: int = 5
    """Downsamplings of the embedder of the warped previous image."""
    image_filters: int = 32
    """Channels of the first layer of the image discriminator (at most 512 in the last)."""
    image_scales: int = 2
    """Image sub-discriminators, each at half the resolution of the one before."""
    image_layers: int = 4
    """Layers of an image sub-discriminator behind its first."""
    temporal_filters: int = 64
    """Channels of the first layer of a temporal discriminator (at most 512 in the last)."""
    temporal_scales: int = 3
    """Temporal discriminators: scale s sees the frames t - 2 * 3^s, t - 3^s and t. 0: none."""
    temporal_subscales: int = 3
    """Sub-discriminators of each, each at half the resolution of the one before."""
    temporal_layers: int = 3
    """Layers of a temporal sub-discriminator behind its first."""
    max_discriminator_filters: int = 512
    """Most channels of a discriminator."""
    mean_residual: bool = False
    """Learn textures as residuals of the mean training texture: good ones thousands of steps earlier (the paper starts
    from nothing). Needs texture.max_scale 1: the mean has its place in the atlas."""
    relit: bool = False
    """Put that mean into the light of each frame's normals, by the harmonics that tell how the colors of the
    training maps follow them: what holds for poses that training never saw. Needs mean_residual."""
    activation_checkpointing: bool = False
    """Recompute the generator's blocks in the backward pass instead of keeping their activations."""

    def __post_init__(self) -> None:
        least = {name: 1 for name, value in vars(self).items() if type(value) is int} | {"temporal_scales": 0}
        for name, lowest in least.items():
            check(self, name, getattr(self, name) >= lowest, f"at least {lowest}")
        check(self, "num_downsamples_img", self.num_downsamples_img <= self.num_layers, "at most num_layers")
        check(self, "warp_layers", self.warp_layers <= self.num_downsamples_img, "at most num_downsamples_img")
        depths = self.num_layers, self.embed_downsamples, self.flow_downsamples, self.warp_downsamples
        unit = 2 ** max(depths)
        rule = all(side >= unit and side % unit == 0 for side in self.resolution)
        check(self, "resolution", rule, f"two multiples of {unit}, as num_layers and the downsamplings ask")
        # An instance norm over one value has no meaning.
        check(self, "resolution", sum(self.code_size) > 2, f"more than {2**self.num_layers} in one direction")
        check(self, "flow_scale", self.flow_scale > 0, "positive")
        check(self, "relit", self.mean_residual or not self.relit, "False without mean_residual")

    @property
    def code_size(self) -> tuple[int, int]:
        """Rows and columns of the learned features that the first frame starts from."""
        height, width = self.resolution
        return height >> self.num_layers, width >> self.num_layers


@dataclass(frozen=True, kw_only=True)
class TextureConfig:
    """How the texture predictor is trained. A step is some windows of frames: each frame updates the discriminators,
    then the generator."""

    first_window: int = 4
    """Frames of a window in the first epoch; doubled by every epoch that follows."""
    max_window: int = 16
    """Most frames of a window, ever."""
    double_every: int | None = None
    """Steps after which the window doubles. None: an epoch (as many windows as the training split has frames)."""
    max_scale: float = 1.2
    """Augmentation: the maps are enlarged by up to this factor and cropped, one draw per window. 1: none."""
    global_batch: int = 4
    """Windows in one step, over all workers: the training is the same on any number of them that divides it."""
    epochs: int = 80
    """Length of the training, when `steps` says nothing."""
    steps: int | None = None
    """Length of the training in steps."""
    lr_generator: float = 1e-4
    """Learning rate of the generator."""
    lr_discriminator: float = 4e-4
    """Learning rate of the discriminators."""
    betas: tuple[float, float] = (0.0, 0.999)
    """Adam's decay rates of the two moments."""
    shared_step_count: bool = False
    """Adam corrects its bias by the count of all steps, for parameters that joined later too (as apex's fused Adam)."""
    average_beta: float = 0.999
    """Decay of the running average of the generator's weights, which predicts."""
    average_start: int = 500
    """Steps during which the average is a plain copy."""
    gan_weight: float = 1.0
    """Weight of the hinge GAN loss, image and temporal."""
    feature_weight: float = 10.0
    """Weight of feature matching."""
    perceptual_weight: float = 10.0
    """Weight of the perceptual loss."""
    perceptual: Literal["auto", "vgg19", "pyramid"] = "auto"
    """vgg19: features of VGG-19 (`vgg_weights`). pyramid: absolute differences of a Laplacian pyramid, which needs no
    weights. auto: vgg19 where its weights are found, else pyramid; the preflight says which."""
    vgg_weights: str = ""
    """File or URL of ImageNet weights for VGG-19 (torchvision names). Empty: $NA_RAY_WEIGHTS/vgg19.pth, if there."""
    flow_weight: float = 10.0
    """Weight of the flow losses."""
    flow_target: Literal["none", "static", "file"] = "static"
    """What the flow is drawn to. static: zero where the color does not change (maps are aligned in UV space). file: the
    flow of `flow_folder`. none: nothing (the warped image and the mask still teach it)."""
    flow_folder: str = ""
    """Folder of NNNNNN.npz: `flow` (2, H, W) in pixels to the frame before, `confidence` (H, W)."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    validate_every: int = 1_000
    """Steps between two validations; 0: only at the end."""
    held_out: float | None = 0.1
    """Share of the training frames, the last ones, that are left out of training: they decide which checkpoint is the
    best. 0: trained frames decide. None: the first frames of the test split, as in version 0.1, whose runs go on so."""
    validation_frames: int = 32
    """Most frames that validation predicts, one after the other: the first of those that decide."""
    parity: bool = False
    """Reproduce the original's numbers, quirks included (docs/original.md)."""

    def __post_init__(self) -> None:
        keep_public(self, "vgg_weights", "flow_folder")
        for name in ("first_window", "max_window", "global_batch", "epochs", "checkpoint_every", "validation_frames"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("double_every", "steps"):
            check(self, name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1, or None")
        for name in ("lr_generator", "lr_discriminator"):
            check(self, name, getattr(self, name) > 0, "positive")
        for name in (
            "gan_weight",
            "feature_weight",
            "perceptual_weight",
            "flow_weight",
            "average_start",
            "validate_every",
        ):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        check(self, "betas", all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        check(self, "held_out", self.held_out is None or 0 <= self.held_out < 1, "a share in [0, 1), or None")
        check(self, "average_beta", 0 <= self.average_beta < 1, "in [0, 1)")
        check(self, "max_scale", 1 <= self.max_scale <= 4, "between 1 and 4")
        check(self, "max_window", self.max_window >= self.first_window, "at least first_window")
        named = self.flow_target == "file"
        check(self, "flow_folder", bool(self.flow_folder) == named, "a folder, with flow_target file and only then")
