"""Minutes on a laptop: python experiments/demo.py [train] [--KNOB VALUE ...].

Makes a synthetic actor, trains on some of its cameras, then looks at it from cameras and in motions that training never
saw: scores beside the textured mesh, and a video. Everything lies in one folder (`demo/`).
"""

from pathlib import Path

from na_ray.config import DataConfig, Experiment, OptimConfig, RendererConfig, ReportConfig, TrainConfig
from na_ray.run.command import main
from na_ray.synthetic.write import write_capture

CAPTURE = Path("demo/capture")

DEMO = Experiment(
    name="demo",
    capture=str(CAPTURE),
    storage="demo/runs",
    data=DataConfig(
        train_views="0,1,3,4,6,7",
        validation_views="2,5",
        resolution=None,
        texture_size=128,
        rays_per_view=128,
        views_per_frame=4,
        shard_frames=8,
    ),
    renderer=RendererConfig(samples_per_ray=20, hidden=96, encoder_width=16, mesh_residual=True),
    optim=OptimConfig(lr=1.5e-3, decay_steps=450),
    train=TrainConfig(
        steps=450,
        num_workers=2,
        cpus_per_worker=0.5,
        checkpoint_every=75,
        validate_every=225,
        validation_frames=2,
        validation_size=128,
    ),
    report=ReportConfig(frames=4, size=128, film_frames=32),
)

if __name__ == "__main__":
    if not CAPTURE.exists():
        print(f"making a synthetic actor in {CAPTURE}", flush=True)
        write_capture(CAPTURE, frames=32, test_frames=8, cameras=8, resolution=128, texture_size=256, seed=0)
    main(DEMO, resume="auto")
