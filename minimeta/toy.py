"""Quadratic tasks: what each method's learned start is, in closed form.

Each formula can be held against the package's own learners, which run on the same tasks.

>>> tasks = Quadratics([0.5, 1.0, 2.0, 4.0], [-3.0, 0.0, 2.0, 5.0])
>>> [(m, round(tasks.start(m, lr=0.24, steps=1).item(), 2)) for m in ("mean", "joint", "fomaml", "maml")]
[('mean', 1.0), ('joint', 3.0), ('fomaml', 0.65), ('maml', -0.03)]
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate

Method = Literal["mean", "joint", "maml", "fomaml", "reptile", "implicit"]


@dataclass(frozen=True, eq=False)
class Quadratics:
    r"""T tasks with losses L_i(theta) = (theta - c_i)' H_i (theta - c_i) / 2; support = query.

    Parameters
    ----------
    curvature
        (T,) numbers a_i above 0 for tasks of one parameter, or (T, D, D) symmetric matrices H_i whose
        eigenvalues are.
    centre
        (T,) or (T, D), each task's optimum c_i.

    Notes
    -----
    k gradient steps of rate alpha lead from theta to c_i + M_i^k (theta - c_i), with M_i = I - alpha H_i.
    So the outer gradient of every method is the mean of W_i (theta - c_i), and where it is zero, its
    start, is a weighted mean of the optima, (sum W_i)^-1 sum W_i c_i. The weights, for one parameter:

    ============  ========================================  ======================================
    method        W_i                                       the outer step goes against
    ============  ========================================  ======================================
    ``mean``      1                                         theta - c_i
    ``joint``     a_i                                       grad L_i(theta)
    ``maml``      a_i (1 - alpha a_i)^2k                    d/dtheta of L_i(theta_k)
    ``fomaml``    a_i (1 - alpha a_i)^k                     grad L_i at theta_k
    ``reptile``   1 - (1 - alpha a_i)^k                     theta - theta_k
    ``implicit``  a_i / (1 + alpha a_i)^2k                  as MAML, with k implicit steps
    ============  ========================================  ======================================

    An implicit step goes to the minimum of L_i(phi) + ``|phi - theta|^2`` / (2 alpha): with k = 1 and
    lambda = 1 / alpha it is implicit MAML's inner problem (Rajeswaran et al. 2019). Finn et al. 2017 give
    MAML's outer loss, Eq. (1), and the first-order one, section 5.2; Nichol et al. 2018 Reptile.
    """

    curvature: Tensor  # (T, D, D) once made, whatever was given
    centre: Tensor  # (T, D)

    def __post_init__(self) -> None:
        h, c = (torch.as_tensor(v, dtype=torch.float64) for v in (self.curvature, self.centre))
        if h.ndim == 1:
            h, c = h.view(-1, 1, 1), c.view(-1, 1)
        fits = h.ndim == 3 and c.ndim == 2 and h.shape == (*c.shape, c.shape[1])
        finite = fits and len(c) > 0 and bool(h.isfinite().all()) and bool(c.isfinite().all())
        if not finite or not torch.equal(h, h.mT) or bool((torch.linalg.eigvalsh(h) <= 0).any()):
            raise MinimetaError(
                f"curvatures of shape {tuple(h.shape)} and centres of shape {tuple(c.shape)} were given; "
                "give (T,) positive numbers and (T,) centres, or (T, D, D) symmetric matrices with "
                "positive eigenvalues and (T, D) centres, all finite, T at least 1."
            )
        object.__setattr__(self, "curvature", h)
        object.__setattr__(self, "centre", c)

    def loss(self, theta: Float[Tensor, "*grid dim"]) -> Float[Tensor, "*grid task"]:
        """Loss of each task at theta."""
        return self._loss(self._away(theta))

    def adapted(
        self,
        theta: Float[Tensor, "*grid dim"],
        *,
        lr: float,
        steps: int = 1,
        implicit: bool = False,
    ) -> Float[Tensor, "*grid task dim"]:
        """Return theta after so many gradient steps, or implicit ones, on each task."""
        return self.centre + self._remaining(theta, lr, steps, implicit)

    def meta_loss(
        self, theta: Float[Tensor, "*grid dim"], *, lr: float, steps: int = 1,
        implicit: bool = False,
    ) -> Float[Tensor, "*grid"]:  # fmt: skip
        """Mean loss of the tasks after adapting to each."""
        return self._loss(self._remaining(theta, lr, steps, implicit)).mean(-1)

    def weights(
        self, method: Method, *, lr: float = 0.0, steps: int = 1
    ) -> Float[Tensor, "task dim dim"]:
        """Return the weight W_i of each task: see the table."""
        if method not in get_args(Method):
            raise MinimetaError(
                f"method={method!r} was given; it is one of {', '.join(get_args(Method))}."
            )
        h, one = self.curvature, torch.eye(self.centre.shape[1], dtype=torch.float64)
        m = self._shrink(lr, steps, method == "implicit")
        if method in ("mean", "reptile"):
            return one.expand_as(h) if method == "mean" else one - m
        return h if method == "joint" else h @ m if method == "fomaml" else m @ h @ m

    def meta_gradient(
        self, method: Method, theta: Float[Tensor, "*grid dim"], *, lr: float = 0.0, steps: int = 1
    ) -> Float[Tensor, "*grid dim"]:
        """What the method's outer step goes against: the mean over tasks of W_i (theta - c_i)."""
        w = self.weights(method, lr=lr, steps=steps)
        return torch.einsum("tij,...tj->...i", w, self._away(theta)) / len(w)

    def start(self, method: Method, *, lr: float = 0.0, steps: int = 1) -> Float[Tensor, " dim"]:
        """Return the start at which the method's outer loop comes to rest.

        Raises
        ------
        MinimetaError
            If it comes to rest nowhere, or everywhere: the summed weights must be positive definite.
        """
        w = self.weights(method, lr=lr, steps=steps)
        total = w.sum(0)
        if float(torch.linalg.eigvalsh(total).min()) <= 1e-12 * float(self.curvature.abs().max()):
            raise MinimetaError(
                f"with lr={lr} and steps={steps} the weights of {method} do not add up to a positive "
                "matrix, so its outer loop has no start to settle at; take a smaller lr."
            )
        return torch.linalg.solve(total, torch.einsum("tij,tj->i", w, self.centre))

    def episode(self) -> Episode:
        """Return the tasks as regressions without noise: any learner on ``nn.Linear(D, 1, bias=False)``.

        The mean squared error over D points x with targets c·x is the task's loss, exactly.
        """
        dim = self.centre.shape[1]
        x = math.sqrt(dim / 2) * torch.linalg.cholesky(self.curvature).mT  # x'x / D = H / 2
        y = x @ self.centre.unsqueeze(-1)
        return Episode(x, y, x, y)

    def _shrink(self, lr: float, steps: int, implicit: bool) -> Tensor:
        """M_i^k, what adapting leaves of the distance to the optimum: (T, D, D)."""
        check_rate("lr", lr, zero=True)
        one = torch.eye(self.centre.shape[1], dtype=torch.float64)
        one_step = (
            torch.linalg.inv(one + lr * self.curvature) if implicit else one - lr * self.curvature
        )
        return torch.linalg.matrix_power(
            one_step, steps if steps == 0 else check_count("steps", steps)
        )

    def _remaining(self, theta: Tensor, lr: float, steps: int, implicit: bool) -> Tensor:
        m = self._shrink(lr, steps, implicit)
        return torch.einsum("tij,...tj->...ti", m, self._away(theta))

    def _away(self, theta: Tensor) -> Tensor:
        """How far theta is from each task's optimum: (*grid, T, D)."""
        dim = self.centre.shape[1]
        if theta.ndim == 0 or theta.shape[-1] != dim:
            raise MinimetaError(
                f"theta of shape {tuple(theta.shape)} was given; its last axis holds the {dim} parameter"
                f"{'s' * (dim > 1)} of one point, so give (..., {dim}), as in theta.unsqueeze(-1)."
            )
        return theta.unsqueeze(-2) - self.centre

    def _loss(self, away: Tensor) -> Tensor:
        return torch.einsum("...ti,tij,...tj->...t", away, self.curvature, away) / 2
