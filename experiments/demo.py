"""Minutes on a laptop: python experiments/demo.py [train] [--KNOB VALUE ...].

Makes a synthetic actor, learns to predict its texture maps from its poses and to render it from some of its cameras,
then looks at it from cameras and in motions that training never saw: scores beside simple baselines, and a video.
Everything lies in one folder (`demo/`).
"""

from pathlib import Path

from na_ray.cli.train import main
from na_ray.config import (
    DataConfig,
    Experiment,
    NerfConfig,
    OptimConfig,
    ReportConfig,
    TextureConfig,
    TrainConfig,
    Vid2vidConfig,
)
from na_ray.synthetic.write import write_capture

CAPTURE = Path("demo/capture")

DEMO = Experiment(
    name="demo",
    project="demo",
    capture=str(CAPTURE),
    storage="demo/runs",
    stages=("texture", "nerf"),
    data=DataConfig(
        train_views="0,1,3,4,6,7",
        validation_views="2,5",
        resolution=None,
        texture_size=128,
        rays_per_view=128,
        views_per_frame=4,
        shard_frames=8,
    ),
    vid2vid=Vid2vidConfig(
        resolution=(128, 128),
        num_filters=8,
        max_num_filters=64,
        num_layers=5,
        num_downsamples_img=3,
        embed_downsamples=4,
        warp_downsamples=4,
        flow_filters=8,
        flow_blocks=2,
        image_filters=16,
        temporal_filters=16,
        temporal_scales=2,
        max_discriminator_filters=128,
        mean_residual=True,
    ),
    texture=TextureConfig(
        steps=60,
        global_batch=2,
        first_window=4,
        max_window=8,
        double_every=20,
        max_scale=1.0,
        lr_generator=1e-3,
        gan_weight=0.1,
        feature_weight=1.0,
        average_beta=0.9,
        average_start=10,
        checkpoint_every=20,
        validate_every=30,
        validation_frames=8,
    ),
    nerf=NerfConfig(samples_per_ray=20, hidden=96, encoder_width=16, mesh_residual=True),
    optim=OptimConfig(lr=1.5e-3, decay_steps=900),
    train=TrainConfig(
        steps=900,
        num_workers=2,
        global_batch=2,
        cpus_per_worker=0.5,
        checkpoint_every=150,
        validate_every=450,
        validation_frames=2,
        validation_size=128,
    ),
    report=ReportConfig(frames=4, size=128, film_frames=32),
)

if __name__ == "__main__":
    if not CAPTURE.exists():
        print(f"making a synthetic actor in {CAPTURE}", flush=True)
        write_capture(
            CAPTURE,
            frames=32,
            test_frames=8,
            cameras=8,
            resolution=128,
            texture_size=256,
            seed=0,
            texture_cameras=DEMO.data.train_views,
        )
    main(DEMO, resume="auto")
