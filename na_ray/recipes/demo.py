"""Minutes on two cores: the synthetic actor that `make demo` writes, with a texture predictor and both avatars.

Two of its eight cameras and its second motion are held out. Everything lies in one folder (`demo/`).
"""

from na_ray.config import (
    DataConfig,
    Experiment,
    NerfConfig,
    OptimConfig,
    ReportConfig,
    SplatsConfig,
    TrainConfig,
    override,
)
from na_ray.recipes.splats import SPLATS

DEMO = Experiment(
    name="demo",
    project="demo",
    capture="demo/capture",
    storage="demo/runs",
    stages=("texture", "nerf", "splats"),
    data=DataConfig(
        train_views="0,1,3,4,6,7",
        validation_views="2,5",
        resolution=None,
        texture_size=128,
        rays_per_view=128,
        views_per_frame=4,
        shard_frames=8,
        # A small machine's decoders rest when so much is ready: the trainer wants its cores.
        memory_mb=256,
    ),
    vid2vid=SPLATS.vid2vid,
    texture=override(SPLATS, {"texture.global_batch": 2}).texture,
    nerf=NerfConfig(samples_per_ray=20, hidden=96, encoder_width=16, mesh_residual=True),
    optim=OptimConfig(lr=1.5e-3, decay_steps=150),
    # In so few steps the decoder does not learn to look at a pose from all sides.
    splats=SplatsConfig(size=384, steps=300, turn=0.2),
    train=TrainConfig(
        steps=40,
        num_workers=2,
        global_batch=2,
        cpus_per_worker=0.5,
        checkpoint_every=100,
        validate_every=100,
        validation_frames=2,
        validation_size=192,
    ),
    report=ReportConfig(frames=2, size=192, film_size=384, supersample=1, film_frames=24),
)
