"""Work on a GPU recorded once, as one CUDA graph, and replayed at every step.

A step of meta-training is hundreds of small kernels; starting them one by one takes longer than running
them. A recorded graph starts them all at once. What is recorded must not look at values on the way, and reads
and writes the same memory each time.
"""

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

WARM_UP = 3  # runs before recording: libraries choose their algorithms and take their memory
Work = Callable[[], list[Tensor]]


class Graph(Protocol):
    """What can be replayed."""

    def replay(self) -> None:
        """Run what was recorded again."""


class Recorder(Protocol):
    """How a device warms up to a piece of work and records it."""

    def warm_up(self, work: Work) -> list[Tensor]:
        """Run the work as it will be recorded."""

    def record(self, work: Work) -> Graph:
        """Record the work; recording runs nothing."""


class CudaRecorder:
    """CUDA graphs. Recording uses a stream of its own, so warming up does too."""

    def warm_up(self, work: Work) -> list[Tensor]:
        """Run the work on another stream, between what came before and what comes after."""
        main, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(main)
        with torch.cuda.stream(aside):
            out = work()
        main.wait_stream(aside)
        return out

    def record(self, work: Work) -> Graph:
        """Record the work as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        recorded: Graph = graph
        return recorded


def recorder(device: torch.device) -> Recorder | None:
    """Return how to record work on a device; None where that is not possible."""
    return CudaRecorder() if device.type == "cuda" else None


class Captured:
    """A piece of work that turns into a recorded graph after a few runs.

    Parameters
    ----------
    work
        A function without arguments that returns tensors. Once recorded they are the same tensors at
        every call, so read them before the next.
    recorder
        How to record; None: never, as on a CPU.

    Notes
    -----
    If recording fails, because the work looks at values or copies from the host, it goes on unrecorded and
    says so once.

    >>> count = torch.zeros(())
    >>> step = Captured(lambda: [count.add_(1)], recorder=None)
    >>> [float(step()[0]) for _ in range(3)]
    [1.0, 2.0, 3.0]
    """

    def __init__(self, work: Work, recorder: Recorder | None) -> None:
        self.work, self.recorder = work, recorder
        self.graph: Graph | None = None
        self._runs = 0
        self._out: list[Tensor] = []

    def __call__(self) -> list[Tensor]:
        """Do the work once."""
        if self.graph is not None:
            self.graph.replay()
            return self._out
        if self.recorder is None:
            return self.work()
        self._runs += 1
        if self._runs <= WARM_UP:
            return self.recorder.warm_up(self.work)
        try:
            self.graph = self.recorder.record(self._keep)
        except RuntimeError as error:
            self.recorder = None
            warnings.warn(
                "this learner's step cannot be recorded as a CUDA graph "
                f"({str(error).splitlines()[0]}); training goes on without, only slower.",
                stacklevel=2,
            )
        return self()

    def _keep(self) -> list[Tensor]:
        self._out = self.work()
        return self._out
