"""Task sources made by a formula: hidden attributes, and linear regressions.

>>> import minimeta as mm
>>> from torch import nn
>>> tasks = AttributeTasks(attributes=256, shots=7, queries=15, split="test")
>>> mm.meta_test(mm.ProtoNet(nn.Identity()), tasks, episodes=200)   # 0.590 by the formula
0.5... ± 0.01... accuracy (200 episodes, attributes/test, 2-way 7-shot, 15 queries, bn=none, seed 0)
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from minimeta import hashing
from minimeta.data import attributes as law
from minimeta.data.pool import fingerprint
from minimeta.episodes import Episode, count_queries
from minimeta.errors import MinimetaError, check_count
from minimeta.sources import Tasks


class AttributeTasks(Tasks):
    """Two-way tasks in which one hidden attribute decides: see ``minimeta.data.attributes``.

    Parameters
    ----------
    attributes
        D, how many attributes an item has; items are vectors (D,) of +1 and -1.
    shots, queries
        K and Q, support and query examples a class.

    Examples
    --------
    >>> AttributeTasks(attributes=64, shots=5, queries=15)
    AttributeTasks(train, 64 attributes, 2-way 5-shot, 15 queries)
    """

    def __init__(
        self, *, attributes: int = 64, shots: int = 5, queries: int = 15, split: str = "train",
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__("attributes", split, device)
        self.attributes = check_count("attributes", attributes)
        self.shots, self.queries = check_count("shots", shots), check_count("queries", queries)
        self.item_shape = (self.attributes,)

    @property
    def ways(self) -> int:
        """Two classes, one for each value of the hidden attribute."""
        return 2

    @property
    def fingerprint(self) -> str:
        """How many attributes there are."""
        return f"{self.attributes} attributes"

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        support, query = law.draw(key, self.attributes, self.shots, self.queries)
        return Episode._trusted(*support, *query, 2)

    def to(self, device: torch.device | str) -> "AttributeTasks":
        """Return the same tasks, drawn on ``device``."""
        return AttributeTasks(
            attributes=self.attributes, shots=self.shots, queries=self.queries, split=self.split,
            device=device,
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"AttributeTasks({self.split}, {self.attributes} attributes, 2-way {self.shots}-shot, "
            f"{count_queries(self.queries)})"
        )


class LinearTasks(Tasks):
    """Linear regressions y = w·x + noise with w ~ N(mean, covariance) and x ~ N(0, I).

    Parameters
    ----------
    mean, covariance
        (D,) and (D, D), of the weights w; one w a task.
    noise
        Standard deviation of the targets' noise.
    shots, queries
        Support and query examples a task.

    Examples
    --------
    >>> tasks = LinearTasks(torch.zeros(3), torch.eye(3), noise=0.5, shots=4, queries=10)
    >>> tasks.at([0]).query_y.shape
    torch.Size([1, 10, 1])
    """

    def __init__(
        self, mean: Float[Tensor, " dim"], covariance: Float[Tensor, "dim dim"], *, noise: float,
        shots: int, queries: int, split: str = "train", device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__("linear", split, device)
        self.shots, self.queries = check_count("shots", shots), check_count("queries", queries)
        self.mean, self.covariance = (t.double().to(device) for t in (mean, covariance))
        root, failed = torch.linalg.cholesky_ex(self.covariance)
        if int(failed):
            raise MinimetaError(
                f"a covariance of shape {tuple(covariance.shape)} was given that is not positive "
                "definite, so no weights have it; make it symmetric with eigenvalues above 0."
            )
        self._root, self.noise = root, noise
        self.item_shape = (len(mean),)

    @property
    def fingerprint(self) -> str:
        """Which law the tasks follow."""
        return fingerprint(self.mean, self.covariance, torch.tensor([float(self.noise)]).double())

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        k, points, dim = self.shots, self.shots + self.queries, len(self.mean)
        w = self.mean + normal(hashing.fold(key, 0), dim) @ self._root.mT  # (T, D)
        x = normal(hashing.fold(key, 1), points * dim).view(-1, points, dim)
        noise = self.noise * normal(hashing.fold(key, 2), points).unsqueeze(-1)
        x, y = x.float(), (x @ w.unsqueeze(-1) + noise).float()  # rounded once, as sinusoids are
        return Episode._trusted(x[:, :k], y[:, :k], x[:, k:], y[:, k:], None)

    def to(self, device: torch.device | str) -> "LinearTasks":
        """Return the same tasks, drawn on ``device``."""
        return LinearTasks(
            self.mean, self.covariance, noise=self.noise, shots=self.shots, queries=self.queries,
            split=self.split, device=device,
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"LinearTasks({self.split}, {len(self.mean)} inputs, noise {self.noise:g}, "
            f"{self.shots}-shot, {count_queries(self.queries)})"
        )


def normal(key: Int64[Tensor, "*key"], n: int) -> Float[Tensor, "*key n"]:
    """Draw ``n`` standard normal float64 numbers for each key (Box & Muller 1958): (...) -> (..., n).

    >>> bool(normal(hashing.start(0), 100_000).mean().abs() < 0.01)
    True
    """
    radius, angle = hashing.uniform(key, 2 * n).split(n, -1)
    # 1 - u lies in (0, 1], where the logarithm is finite
    return torch.sqrt(-2 * torch.log1p(-radius)) * torch.cos(2 * math.pi * angle)
