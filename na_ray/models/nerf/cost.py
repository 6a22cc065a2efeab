"""What a training step of the NeRF costs: its multiply-adds."""

from na_ray.config import DataConfig, NerfConfig


def field_multiply_adds(cfg: NerfConfig) -> int:
    """Multiply-adds of the MLPs for one sample, forward (parity page, section 4)."""
    h, features = cfg.hidden, 8 * cfg.encoder_width
    local, position, direction = (
        3 * (2 * octaves + 1)
        for octaves in (cfg.local_frequencies, cfg.position_frequencies, cfg.direction_frequencies)
    )
    surface = local * h + 3 * h * h
    deformation = (h + features) * h + 3 * h if cfg.deformation else 0
    trunk = position * h + 3 * h * h + (position + h) * h + 3 * h * h
    density = h * (h // 2) + h // 2
    color = (2 * h + features + direction + (3 if cfg.sharp else 0)) * h + 3 * h * h + 3 * h
    return surface + deformation + trunk + density + color


def encoder_multiply_adds(width: int, side: int) -> int:
    """Multiply-adds of the texture encoder (ResNet-34 up to its third stage) for a square map, forward."""
    w, texels = width, side * side
    stem = 3 * w * 49 * texels // 4
    first = 3 * 2 * 9 * w * w * texels // 16
    second = (9 * 2 * w * w + 9 * 4 * w * w + 2 * w * w + 3 * 2 * 9 * 4 * w * w) * texels // 64
    third = (9 * 8 * w * w + 9 * 16 * w * w + 8 * w * w + 5 * 2 * 9 * 16 * w * w) * texels // 256
    return stem + first + second + third


def step_multiply_adds(cfg: NerfConfig, data: DataConfig, texture_side: int) -> int:
    """Multiply-adds of the forward pass over one row of the stream, when every sample is evaluated."""
    samples = data.rays_per_view * data.views_per_frame * (cfg.samples_per_ray + 1)
    return samples * field_multiply_adds(cfg) + encoder_multiply_adds(cfg.encoder_width, texture_side)
