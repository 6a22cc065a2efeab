"""What a GPU does again and again, recorded once (a CUDA graph): the host starts one graph in place of many kernels."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor


class Recording:
    """A function of tensors at fixed places, replayed on a GPU. It is called by itself once before it is recorded:
    kernels compile then, and libraries choose theirs. A CPU has no recordings, and calls it each time."""

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self.function, self.device = function, device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.tried = False

    def __call__(self) -> None:
        """Do it."""
        if self.device.type == "cpu":
            self.function()
        elif not self.tried:
            self._aside()
        else:
            if self.graph is None:
                graph = torch.cuda.CUDAGraph()
                # Other threads of the process may call CUDA meanwhile.
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self.function()
                self.graph = graph
            self.graph.replay()

    def _aside(self) -> None:
        """As recordings are made: not on the stream that waits for all others."""
        stream, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            self.function()
        current.wait_stream(stream)
        self.tried = True


class Replayed:
    """A function of tensors, without gradients, that is recorded for the shapes it sees: `Recording` with copies."""

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self._lock = threading.Lock()
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._recording: Recording | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the function gives, in tensors of the caller's own."""
        if inputs[0].device.type == "cpu":
            return self.function(*inputs)
        with self._lock:
            if self._recording is None or any(
                (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device)
                for a, b in zip(self._inputs, inputs, strict=True)
            ):
                self._inputs = tuple(t.detach().clone() for t in inputs)
                self._recording = Recording(self._call, inputs[0].device)
            else:
                for place, value in zip(self._inputs, inputs, strict=True):
                    place.copy_(value)
            self._recording()
            return tuple(t.clone() for t in self._outputs)

    def __getstate__(self) -> Callable[..., tuple[Tensor, ...]]:
        """Models travel to other processes, recordings do not."""
        return self.function

    def __setstate__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.__init__(function)  # type: ignore[misc]

    def _call(self) -> None:
        self._outputs = self.function(*self._inputs)
