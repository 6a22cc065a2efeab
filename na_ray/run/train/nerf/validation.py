"""Look at the actor during training: render the validation views of a few frames, score them, keep the pictures."""

import numpy as np
import torch.distributed

from na_ray.capture.dataset import Split
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import parse_indices
from na_ray.evaluation.evaluate import target_image
from na_ray.evaluation.image_metrics import psnr, ssim
from na_ray.pictures.picture import sheet, to_uint8
from na_ray.pictures.png import write_png
from na_ray.render import background_of, encode
from na_ray.run.train.run_folder import RunFolder


def validate(actor: TrainedAvatar, split: Split, step: int, run: RunFolder, rank: int, world: int) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over the validation pictures; the workers share the rendering.

    Writes target and rendering side by side to `validation/step_NNNNNN/` and adds the scores to the run's record.
    """
    config = actor.config
    views = parse_indices(config.data.validation_views, len(split.cameras))
    count = min(config.train.validation_frames, split.num_frames)
    frames = np.linspace(0, split.num_frames - 1, count).round().astype(int)
    folder = run.folder / "validation" / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    training = actor.model.training
    actor.model.eval()
    scores = []
    for frame in frames.tolist()[rank::world]:
        encoded = encode(actor, split.pose(frame), split.texture(frame))
        for view in views:
            camera = split.cameras[view].fitted(config.train.validation_size)
            target = target_image(split, frame, view, camera, background_of(actor))
            color = actor.model.picture(encoded, camera, config.report.supersample).colors.cpu()
            scores.append((psnr(color, target), ssim(color, target)))
            pair = sheet([to_uint8(target), to_uint8(color)], columns=2)
            write_png(folder / f"frame_{frame:06d}_view_{view:03d}.png", pair)
    actor.model.train(training)
    gathered = [scores]
    if world > 1:
        gathered = [[] for _ in range(world)]
        torch.distributed.all_gather_object(gathered, scores)
    mean = np.mean([s for part in gathered for s in part], axis=0)
    result = {"validation/psnr": float(mean[0]), "validation/ssim": float(mean[1])}
    if rank == 0:
        run.append(step, result, pictures=str(folder.relative_to(run.root)))
    return result
