"""Minutes on this machine: the splat avatar of any capture, and a small predictor of its texture maps.

Sizes follow from `splats.size` and from the capture; the predictor's maps have the atlas's side at the default size.
"""

from na_ray.config import (
    DataConfig,
    Experiment,
    ReportConfig,
    SplatsConfig,
    TextureConfig,
    TrainConfig,
    Vid2vidConfig,
)

SPLATS = Experiment(
    name="splats",
    stages=("texture", "splats"),
    data=DataConfig(train_views="auto", resolution=None, shard_frames=8),
    # The light is what holds for other poses. What the network adds to it in minutes is little: it is kept small.
    vid2vid=Vid2vidConfig(
        resolution=(192, 192),
        num_filters=8,
        max_num_filters=32,
        num_layers=5,
        num_downsamples_img=3,
        embed_downsamples=4,
        warp_downsamples=4,
        flow_filters=8,
        flow_blocks=1,
        image_filters=4,
        image_scales=1,
        image_layers=2,
        temporal_scales=0,
        max_discriminator_filters=8,
        mean_residual=True,
        relit=True,
    ),
    texture=TextureConfig(
        steps=30,
        global_batch=1,
        max_window=4,
        max_scale=1.0,
        lr_generator=5e-4,
        gan_weight=0.0,
        feature_weight=0.0,
        perceptual="pyramid",
        average_beta=0.9,
        average_start=5,
        checkpoint_every=5,
        validate_every=5,
        validation_frames=8,
    ),
    splats=SplatsConfig(),
    train=TrainConfig(
        steps=4000,
        num_workers=1,
        checkpoint_every=500,
        validate_every=1000,
        validation_frames=4,
    ),
    report=ReportConfig(frames=12, size=512, film_frames=48),
)
