"""The paper's recipe: eleven cameras at 1024 x 1024, 300,000 steps. It wants GPUs."""

from na_ray.config import DataConfig, Experiment, NerfConfig, OptimConfig, TextureConfig, TrainConfig, Vid2vidConfig

LAN = Experiment(
    name="lan",
    project="lan",
    stages=("texture", "nerf"),
    data=DataConfig(
        train_views="0..11",
        validation_views="auto",
        fit_views="auto",
        resolution=(1024, 1024),
        rays_per_view=1024,
        views_per_frame=1,
    ),
    vid2vid=Vid2vidConfig(resolution=(512, 512), num_filters=32, max_num_filters=1024),
    texture=TextureConfig(
        first_window=4,
        max_window=16,
        global_batch=8,
        epochs=80,
        lr_generator=1e-4,
        lr_discriminator=4e-4,
        betas=(0.0, 0.999),
        average_beta=0.999,
        average_start=500,
    ),
    nerf=NerfConfig(samples_per_ray=64, shell_radius=0.06),
    optim=OptimConfig(lr=2e-4, betas=(0.9, 0.999), decay_rate=0.1, decay_steps=250_000),
    train=TrainConfig(steps=300_000, seed=2, global_batch=8, checkpoint_every=500, keep_last=5),
)
