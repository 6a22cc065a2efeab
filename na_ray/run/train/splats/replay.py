"""A step of the splats that a GPU replays: the host starts two recorded graphs where it would launch 700 kernels.

The first reads a frame's arrays from fixed places, draws, compares and adds gradients; the second updates the weights.
A recording knows one shape: pictures have room for the largest so far, and pairs of a Gaussian and a tile for half more
than were ever counted. That count is the one number for which the host waits; where it is larger than the room, this is
made larger and the step begun again, so that the result is that of a step without a recording.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from na_ray.capture.camera import Camera
from na_ray.models.splats.optimizer import SplatsOptimizer, StepNumbers
from na_ray.models.splats.recording import Recording
from na_ray.models.splats.splats import Splats
from na_ray.models.splats.views import PairRoom
from na_ray.run.train.splats.step import Arrays, PictureRow, batch_of, step_arrays

ALIGNED = 64
"""Arrays begin at multiples of so many bytes."""
ROUNDED = 32
"""Pictures' sides are rounded up to multiples of so many pixels: another size is another recording."""
MARGIN = 1.5
"""Room for pairs, in pairs that were counted."""


class StepBuffers:
    """Arrays at fixed places of a device, which one copy fills; each of `slots` frames of a step has a page-locked copy
    of its own on the host, which fills the next before the last has been read."""

    def __init__(self, arrays: Arrays, slots: int, device: torch.device) -> None:
        self.shapes = {name: array.shape for name, array in arrays.items()}
        self.starts, end = {}, 0
        for name, array in arrays.items():
            self.starts[name] = end
            end += -(-array.nbytes // ALIGNED) * ALIGNED
        self.types = {name: array.dtype for name, array in arrays.items()}
        self._device = torch.zeros(end, dtype=torch.uint8, device=device)
        pinned = device.type == "cuda"
        self._host = [torch.zeros(end, dtype=torch.uint8, pin_memory=pinned) for _ in range(slots)]
        self.tensors = {name: self._tensor(name) for name in arrays}

    def _tensor(self, name: str) -> Tensor:
        start, shape, kind = self.starts[name], self.shapes[name], self.types[name]
        flat = self._device[start : start + math.prod(shape) * kind.itemsize]
        return flat.view(torch.from_numpy(np.empty(0, kind)).dtype).view(shape)

    def has_room(self, arrays: Arrays) -> bool:
        """Whether these fit: pictures may be smaller."""
        *same, pictures = ((array.shape, self.shapes[name]) for name, array in arrays.items())
        return all(a == b for a, b in same) and all(a <= b for a, b in zip(*pictures, strict=True))

    def fill(self, slot: int, arrays: Arrays) -> None:
        """Send the arrays of a frame; nothing waits."""
        host = self._host[slot].numpy()
        for name, array in arrays.items():
            start, shape = self.starts[name], self.shapes[name]
            place = host[start : start + math.prod(shape) * array.itemsize].view(array.dtype).reshape(shape)
            place[tuple(slice(n) for n in array.shape)] = array
        self._device.copy_(self._host[slot], non_blocking=True)


class ReplayedStep:
    """Updates splats from rows, as `SplatsTrainer.step` does with neither DDP nor learned poses. `weight`: of a frame's
    loss."""

    def __init__(
        self, splats: Splats, optimizer: SplatsOptimizer, cameras: Sequence[Camera], weight: float, slots: int
    ) -> None:
        self.splats, self.optimizer, self.cameras, self.weight, self.slots = splats, optimizer, cameras, weight, slots
        self.device = splats.device
        self.buffers: StepBuffers | None = None
        self.capacity = 0
        self.most = torch.zeros((), dtype=torch.int64, device=self.device)
        self.sums = torch.zeros(2, device=self.device)
        numbers = np.zeros(len(StepNumbers._fields), np.float32)
        self.numbers = StepBuffers({"numbers": numbers}, 1, self.device)
        for p in optimizer.parameters:
            p.grad = torch.zeros_like(p)
        self._gradients = Recording(self._draw, self.device)
        self._update = Recording(self._apply, self.device)

    def step(self, rows: Sequence[PictureRow], rngs: Sequence[np.random.Generator], step: int) -> dict[str, Tensor]:
        """Update number `step` with a row for each slot and its random numbers. Returns loss and squared error."""
        arrays = [step_arrays(row, self.splats, self.cameras, rng) for row, rng in zip(rows, rngs, strict=True)]
        while not self._add_gradients(arrays):
            torch._foreach_zero_([p.grad for p in self.optimizer.parameters if p.grad is not None])
        self.numbers.fill(0, {"numbers": np.array(self.optimizer.numbers(step), np.float32)})
        self._update()
        loss, squared = self.sums.clone()
        return {"loss": loss, "squared": squared}

    def _add_gradients(self, arrays: list[Arrays]) -> bool:
        """Whether there was room: the gradients are of no use otherwise, and there is room now."""
        if self.buffers is None or not all(map(self.buffers.has_room, arrays)):
            self._make_buffers(arrays)
        assert self.buffers is not None
        self.sums.zero_()
        for slot, one in enumerate(arrays):
            self.buffers.fill(slot, one)
            self._gradients()
        counted = int(self.most)
        if counted <= self.capacity:
            return True
        self.capacity = int(MARGIN * counted)
        self._gradients = Recording(self._draw, self.device)
        return False

    def _make_buffers(self, arrays: list[Arrays]) -> None:
        shapes = [one["pictures"].shape for one in arrays]
        shapes += [self.buffers.shapes["pictures"]] if self.buffers is not None else []
        views, height, width, channels = (max(sizes) for sizes in zip(*shapes, strict=True))
        room = np.zeros((views, -(-height // ROUNDED) * ROUNDED, -(-width // ROUNDED) * ROUNDED, channels), np.uint8)
        self.buffers = StepBuffers(arrays[0] | {"pictures": room}, self.slots, self.device)
        self._gradients = Recording(self._draw, self.device)

    def _draw(self) -> None:
        """Draw, compare, and add to the gradients and sums."""
        assert self.buffers is not None
        batch = batch_of(self.splats, self.buffers.tensors, PairRoom(self.capacity, self.most))
        loss, squared = self.splats(batch)
        (loss * self.weight).backward()
        self.sums += torch.stack([loss.detach(), squared]) * self.weight

    def _apply(self) -> None:
        """Update the weights; the gradients stay where they are, and are zero again."""
        held = [(p, p.grad) for p in self.optimizer.parameters]
        self.optimizer.update(StepNumbers(*self.numbers.tensors["numbers"].unbind()))
        torch._foreach_zero_([grad for _, grad in held if grad is not None])
        for p, grad in held:
            p.grad = grad
