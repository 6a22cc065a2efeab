"""Minutes on this machine: the splat avatar of any capture. Sizes follow from `splats.size` and from the capture."""

from na_ray.config import DataConfig, Experiment, ReportConfig, SplatsConfig, TrainConfig

SPLATS = Experiment(
    name="splats",
    stages=("splats",),
    data=DataConfig(train_views="auto", resolution=None, shard_frames=8),
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
