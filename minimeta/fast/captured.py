"""Work on a GPU recorded once, as one CUDA graph, and replayed at every step.

A step of meta-training is hundreds of small kernels; starting them one by one takes longer than running
them. A recorded graph starts them all at once. What is recorded must not look at values on the way, and reads
and writes the same memory each time.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

WARM_UP = 3  # runs before recording: libraries choose their algorithms and take their memory


class Graph(Protocol):
    """What can be replayed."""

    def replay(self) -> None:
        """Run what was recorded again."""


def record_cuda(work: Callable[[], Any]) -> Graph:
    """Record ``work`` on the current GPU; recording runs nothing."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def recorder(device: torch.device) -> Callable[[Callable[[], Any]], Graph] | None:
    """Return how to record work on a device; None where that is not possible."""
    return record_cuda if device.type == "cuda" else None


class Captured:
    """A piece of work that turns into a recorded graph after a few runs.

    Parameters
    ----------
    work
        A function without arguments that returns tensors; they are the same tensors at every call,
        so read them before the next.
    record
        How to record; None: never, as on a CPU.

    Notes
    -----
    If recording fails, because the work looks at values or copies from the host, it goes on unrecorded and
    says so once.

    >>> count = torch.zeros(())
    >>> step = Captured(lambda: [count.add_(1)], record=None)
    >>> [float(step()[0]) for _ in range(3)]
    [1.0, 2.0, 3.0]
    """

    def __init__(
        self, work: Callable[[], list[Tensor]], record: Callable[[Callable[[], Any]], Graph] | None
    ) -> None:
        self.work, self.record = work, record
        self.graph: Graph | None = None
        self._runs = 0
        self._out: list[Tensor] = []

    def __call__(self) -> list[Tensor]:
        """Do the work once."""
        if self.graph is not None:
            self.graph.replay()
            return self._out
        self._runs += 1
        if self.record is None or self._runs <= WARM_UP:
            return self.work()
        try:
            self.graph = self.record(self._keep)
        except RuntimeError as error:
            self.record = None
            warnings.warn(
                "this learner's step cannot be recorded as a CUDA graph "
                f"({str(error).splitlines()[0]}); training goes on without, only slower.",
                stacklevel=2,
            )
            return self.work()
        return self()

    def _keep(self) -> None:
        self._out = self.work()
