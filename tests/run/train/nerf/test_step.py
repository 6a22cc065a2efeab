"""One optimizer step, however many workers share it."""

import torch

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment
from na_ray.run.data.frames import FrameDataset, decode_shard
from na_ray.run.train.nerf.stage import build
from na_ray.run.train.nerf.step import noise_source, to_batch, train_step


def test_each_row_of_a_step_counts_the_same_where_workers_have_unlike_numbers(tiny: Experiment) -> None:
    dataset = FrameDataset.make(Capture.open(tiny.capture), tiny)
    nerf, body = build(tiny, dataset, torch.device("cpu"))
    nerf.train()
    rows = list(decode_shard(dataset, dataset.shards(0)[0]))[:3]

    def gradients(slots: list[int], weight: float) -> tuple[dict[str, torch.Tensor], float]:
        batches = [to_batch(rows[slot], body, tiny) for slot in slots]
        noises = [noise_source(tiny, 0, slot, torch.device("cpu")) for slot in slots]
        nerf.zero_grad()
        loss, _ = train_step(nerf, batches, tiny, noises, weight)
        return {n: p.grad.clone() for n, p in nerf.named_parameters() if p.grad is not None}, float(loss)

    whole, loss = gradients([0, 1, 2], 1 / 3)
    first, second = gradients([0, 2], 2 / 3), gradients([1], 2 / 3)  # two workers, whose gradients DDP averages
    assert abs((first[1] + second[1]) / 2 - loss) < 1e-5 * loss
    for name, gradient in whole.items():
        both = (first[0][name] + second[0][name]) / 2
        torch.testing.assert_close(both, gradient, rtol=1e-4, atol=1e-7)
