r"""Linear regressions with Gaussian weights: the one task family whose best learner is a formula.

Every task is y = w·x + noise with its own w ~ N(mean, covariance). The best predictor is then the
posterior mean of w; and early-stopped gradient descent is such a posterior mean too, under another
prior: the view of MAML as hierarchical Bayes (Grant et al., "Recasting gradient-based meta-learning
as hierarchical Bayes", ICLR 2018, whose linear case this is).

>>> import minimeta as mm
>>> law = LinearGaussian(torch.ones(2), torch.eye(2), noise=0.5)
>>> mm.meta_test(PosteriorMean(law), law.tasks(shots=4, queries=10), episodes=200)
0... ± 0.0... mse (200 episodes, linear/train, 4-shot, 10 queries, bn=none, seed 0)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate
from minimeta.learner import Learner
from minimeta.synthetic import LinearTasks


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    r"""Tasks y = w·x + noise with w ~ N(mean, covariance) and x ~ N(0, I).

    Parameters
    ----------
    mean, covariance
        (D,) and (D, D), of the weights.
    noise
        Standard deviation sigma of the targets' noise, above 0.

    Notes
    -----
    With X the support inputs (S, D) and y the targets, every estimator here has the form
    w^ = start + G (y - X start), with a gain G (D, S) that depends on X alone:

    - posterior mean: G = C X' (X C X' + sigma^2 I)^-1, C the prior covariance, start the prior mean;
    - k gradient steps of rate alpha on the mean squared error, whose Hessian is A = 2 X'X / S:
      G = (I + (I - alpha A) + .. + (I - alpha A)^(k-1)) · 2 alpha X' / S.
    """

    mean: Float[Tensor, " dim"]
    covariance: Float[Tensor, "dim dim"]
    noise: float

    def __post_init__(self) -> None:
        check_rate("noise", self.noise)
        mean, covariance = (
            torch.as_tensor(given, dtype=torch.float64) for given in (self.mean, self.covariance)
        )
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise MinimetaError(
                f"a mean of shape {tuple(mean.shape)} and a covariance of shape {tuple(covariance.shape)} "
                "were given; they are (D,) and (D, D)."
            )
        if not bool(mean.isfinite().all()) or not bool(covariance.isfinite().all()):
            raise MinimetaError(
                "the mean or the covariance holds a number that is not finite; look for NaN."
            )
        if not torch.equal(covariance, covariance.mT):
            raise MinimetaError(
                "the covariance given is not symmetric; give (C + C.mT) / 2, or check how it was made."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)
        self.tasks(shots=1, queries=1)  # refuses a covariance that is not positive definite

    def tasks(self, *, shots: int, queries: int, split: str = "train") -> LinearTasks:
        """Return a task source of this law."""
        return LinearTasks(
            self.mean, self.covariance, noise=self.noise, shots=shots, queries=queries, split=split
        )

    def posterior_gain(
        self, x: Float[Tensor, "task support dim"], covariance: Tensor | None = None
    ) -> Float[Tensor, "task dim support"]:
        """Gain of the posterior mean, under this law's covariance or another prior's (.., D, D)."""
        x, prior = x.double(), self.covariance if covariance is None else covariance.double()
        seen = prior @ x.mT  # (T, D, S)
        noise = self.noise**2 * torch.eye(x.shape[1], dtype=x.dtype)
        return torch.linalg.solve(x @ seen + noise, seen.mT).mT

    def risk(
        self, x: Float[Tensor, "task support dim"], gain: Float[Tensor, "task dim support"],
        start: Float[Tensor, " dim"] | None = None,
    ) -> Float[Tensor, " task"]:  # fmt: skip
        """Expected squared error on a new query, given the support inputs.

        Over w, both noises and the query's x. From w^ - w = (I - G X)(start - w) + G noise: sigma^2 +
        the trace of (I - G X)(C + d d')(I - G X)' + sigma^2 G G', with d = start - mean.
        """
        x, gain = x.double(), gain.double()
        off = torch.zeros_like(self.mean) if start is None else start - self.mean
        left = torch.eye(len(self.mean), dtype=x.dtype) - gain @ x  # what the data leave open
        spread = self.covariance + torch.outer(off, off)
        unknown = torch.einsum("tij,jk,tik->t", left, spread, left)
        return self.noise**2 * (1 + gain.square().sum((1, 2))) + unknown

    def implied_covariance(
        self, x: Float[Tensor, "task support dim"], *, lr: float, steps: int
    ) -> Float[Tensor, "task dim dim"]:
        r"""Return the prior covariance under which k gradient steps *are* the posterior mean.

        Along an eigenvector of A = 2 X'X / S with eigenvalue a, the prior's variance is
        (2 sigma^2 / S) (1 - r) / (a r) with r = (1 - lr·a)^k; where the inputs say nothing (a = 0),
        (2 sigma^2 / S) k lr. So the prior depends on the task's own inputs: it is the same for all
        tasks, and isotropic, only if X'X is a multiple of the identity. Then one step of rate
        1 / (a + 2 sigma^2 / (S tau^2)) is the exact answer for a prior of covariance tau^2 I.
        """
        check_rate("lr", lr)
        x = x.double()
        a, v = torch.linalg.eigh(2 * x.mT @ x / x.shape[1])  # (T, D), (T, D, D)
        keep = 1 - lr * a.clamp_min(0)
        if bool((keep <= 0).any()):
            raise MinimetaError(
                f"lr={lr} overshoots: the support loss curves by up to {float(a.max()):.3g}, and only "
                f"rates below {1 / float(a.max()):.3g} correspond to a Gaussian prior."
            )
        powers = torch.stack([keep**j for j in range(check_count("steps", steps))])
        # (1 - r) / a, summed as a geometric series so that a = 0 needs no special case
        variance = 2 * self.noise**2 / x.shape[1] * lr * powers.sum(0) / keep**steps
        if not bool(variance.isfinite().all()):
            raise MinimetaError(
                f"after steps={steps} of lr={lr} the prior is too wide for a number to hold; take fewer steps."
            )
        return v @ torch.diag_embed(variance) @ v.mT


def gradient_gain(
    x: Float[Tensor, "task support dim"], *, lr: float, steps: int
) -> Float[Tensor, "task dim support"]:
    """Gain of so many gradient steps on the mean squared error of each task.

    >>> gradient_gain(torch.tensor([[[1.0]]]), lr=0.1, steps=2)          # 0.2 + 0.2 · (1 - 0.2)
    tensor([[[0.3600]]])
    """
    slope = 2 * lr * x.mT / x.shape[1]
    gain = torch.zeros_like(slope)
    for _ in range(steps):
        gain = gain + slope @ (torch.eye(x.shape[1], dtype=x.dtype) - x @ gain)
    return gain


class PosteriorMean(Learner):
    """The best learner there is for the tasks of a law; nothing in it is trained.

    >>> law = LinearGaussian(torch.zeros(1), torch.eye(1), noise=1.0)
    >>> one = torch.ones(1, 1, 1)                            # w ~ N(0, 1), seen once: halfway there
    >>> PosteriorMean(law)(Episode(one, 3 * one, one, one))
    tensor([[[1.5000]]])
    """

    def __init__(self, law: LinearGaussian) -> None:
        super().__init__()
        self.law = law

    def forward(self, episode: Episode) -> Tensor:
        """Predict with the posterior mean of each task's weights: (T, R, 1)."""
        dim = len(self.law.mean)
        if episode.ways is not None or episode.support_x.shape[2:] != (dim,):
            raise MinimetaError(
                f"{'labels' if episode.ways is not None else 'targets'} and items of shape "
                f"{tuple(episode.support_x.shape[2:])} were given; this learner knows regressions on ({dim},) "
                "only, such as law.tasks(...)."
            )
        x, y, query = (t.double() for t in (episode.support_x, episode.support_y, episode.query_x))
        start = self.law.mean.unsqueeze(-1)
        w = start + self.law.posterior_gain(x) @ (y - x @ start)  # (T, D, 1)
        return (query @ w).to(episode.query_x.dtype)
