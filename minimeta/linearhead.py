r"""A new linear classifier for every task, on embeddings that stay as they are.

Chen, Liu, Kira, Wang & Huang, "A closer look at few-shot classification", ICLR 2019 (Baseline and
Baseline++); Tian et al. 2020, with logistic regression.

>>> import minimeta as mm
>>> tasks = mm.tasks("glyphs", split="test", ways=5, shots=5, queries=15)
>>> mm.meta_test(LinearHead(nn.Flatten()), tasks, episodes=20)          # on the pixels
0... ± 0.0... accuracy (20 episodes, glyphs/test, 5-way 5-shot, 15 queries, bn=none, seed 0)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate
from minimeta.learner import Learner, one_hot, require_classes, require_match
from minimeta.protonet import prototypes

AT_ONCE = 1 << 23  # numbers of Newton systems in memory: 64 MiB


class _Head(Learner):
    """Embed, fit a head on the support set, score the queries; nothing of it is for an outer loop."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @torch.no_grad()
    def forward(self, episode: Episode) -> Tensor:
        """Fit each task's head, then score its queries: (T, R, N)."""
        name = type(self).__name__
        ways = require_classes(episode, name)
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=True)
        # the few numbers of a head are fitted in double precision: batches then agree to all digits
        scores = self._fitted(support.double(), episode.support_y, ways, query.double())
        return scores.to(query.dtype)

    def _fitted(self, support: Tensor, labels: Tensor, ways: int, query: Tensor) -> Tensor:
        raise NotImplementedError

    def loss(self, episode: Episode) -> Tensor:
        """Return the mean cross-entropy of the queries; it has no gradient."""
        if torch.is_grad_enabled() and self.training:
            raise MinimetaError(
                f"{type(self).__name__} learns at test time only, so there is no gradient to train with; "
                "train its encoder with baselines.pretrain, or ProtoNet, and call eval()."
            )
        return super().loss(episode)


class LinearHead(_Head):
    r"""Multinomial logistic regression on the support embeddings: Chen et al.'s Baseline.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim); usually pre-trained.
    c
        Weight of the data against the penalty, scikit-learn's C: the head minimises ``|W|^2`` / 2 + c · (sum of
        the support set's cross-entropies). The intercept is not penalised.
    normalise
        Bring embeddings to length 1 first, as Tian et al. do.

    Notes
    -----
    The minimum is found by Newton's method, for all tasks at once. Where we differ: Chen et al. take 100
    epochs of stochastic gradient descent with weight decay, which stop before the minimum. With two
    classes scikit-learn fits one score instead of two; its C = 2c gives what c does here.
    """

    def __init__(self, encoder: nn.Module, *, c: float = 1.0, normalise: bool = False) -> None:
        super().__init__(encoder)
        check_rate("c", c)
        self.config = dict(encoder=encoder, c=c, normalise=normalise)
        self.c, self.normalise = c, normalise

    def _fitted(self, support: Tensor, labels: Tensor, ways: int, query: Tensor) -> Tensor:
        if self.normalise:
            support, query = F.normalize(support, dim=-1), F.normalize(query, dim=-1)
        numbers = (ways * (min(support.shape[1:]) + 1)) ** 2  # of a task's Newton system
        sets = (t.split(max(1, AT_ONCE // numbers)) for t in (support, labels, query))
        scores = []
        for z, y, q in zip(*sets, strict=True):
            weight, bias = fit_logistic(z, y, ways, c=self.c)
            scores.append(q @ weight.mT + bias.unsqueeze(1))
        return torch.cat(scores)


class CosineHead(_Head):
    r"""Class directions fitted to score scale · cos(w_n, z): Chen et al.'s Baseline++.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim); usually ``pretrain``-ed with ``cosine=True``.
    scale
        Factor between cosines and scores.
    steps, lr
        Adam steps on all of the support set, from the class means on.

    Notes
    -----
    Where we differ: the authors' code starts from random directions, learns a length for each class
    beside a fixed scale of 2, and takes 100 epochs of stochastic gradient descent.
    """

    def __init__(
        self, encoder: nn.Module, *, scale: float = 10.0, steps: int = 100, lr: float = 0.01
    ) -> None:
        super().__init__(encoder)
        check_rate("scale", scale)
        check_rate("lr", lr)
        if steps != 0:
            check_count("steps", steps)
        self.config = dict(encoder=encoder, scale=scale, steps=steps, lr=lr)
        self.scale, self.steps, self.lr = scale, steps, lr

    def _fitted(self, support: Tensor, labels: Tensor, ways: int, query: Tensor) -> Tensor:
        support, query = F.normalize(support, dim=-1), F.normalize(query, dim=-1)
        w = F.normalize(prototypes(support, labels, ways), dim=-1).requires_grad_()
        optimizer = torch.optim.Adam([w], lr=self.lr)
        for _ in range(self.steps):
            with torch.enable_grad():
                scores = self.scale * support @ F.normalize(w, dim=-1).mT
                loss = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum")
            (w.grad,) = torch.autograd.grad(loss, w)
            optimizer.step()
        return self.scale * query @ F.normalize(w.detach(), dim=-1).mT


def fit_logistic(
    z: Float[Tensor, "task support dim"], labels: Int64[Tensor, "task support"], ways: int, *,
    c: float, most: int = 100,
) -> tuple[Float[Tensor, "task way dim"], Float[Tensor, "task way"]]:  # fmt: skip
    """Weights and intercepts that minimise ``|W|^2`` / 2 + c · (sum of cross-entropies), a task each.

    Newton's method, each task's step halved until its objective falls or differs by rounding only. The
    weights of the minimum are combinations of the S support embeddings, so the system has
    N · (min(S, dim) + 1) unknowns, however long the embeddings are.

    >>> z = torch.tensor([[[-1.0], [1.0]]]).double()
    >>> weight, bias = fit_logistic(z, torch.tensor([[0, 1]]), ways=2, c=1.0)
    >>> weight.squeeze().tolist(), bool(bias.abs().max() < 1e-9)
    ([-0.52..., 0.52...], True)
    """
    basis = None
    if z.shape[2] > z.shape[1]:
        basis = torch.linalg.qr(z.mT).Q  # (T, dim, S): the span of the support embeddings
        z = z @ basis
    x = F.pad(z, (0, 1), value=1.0)  # (T, S, r + 1), the intercept last
    target = one_hot(labels, ways).to(x.dtype)
    penalty = torch.ones_like(x[0, 0])
    penalty[-1] = 0.0
    w = torch.zeros(len(x), ways, x.shape[2], dtype=x.dtype, device=x.device)

    def objective(w: Tensor) -> Tensor:
        data = -(target * F.log_softmax(x @ w.mT, -1)).sum((1, 2))
        return (penalty * w.square()).sum((1, 2)) / 2 + c * data

    eps, largest = torch.finfo(x.dtype).eps, float(x.abs().max())
    value = objective(w)
    for _ in range(most):
        p = F.softmax(x @ w.mT, -1)
        gradient = penalty * w + c * (p - target).mT @ x
        if float(gradient.abs().max()) <= 4 * eps * max(1.0, c * largest):
            break
        step = _newton_step(x, p, gradient, penalty, c)
        size = torch.ones_like(value)
        # what rounding may do to the objective: near the minimum it would hide a good step
        blur = 4 * eps * (value + c * x.shape[1] * (x @ w.mT).abs().amax((1, 2)))
        for _ in range(30):
            ahead = objective(w - size.view(-1, 1, 1) * step)
            worse = ahead > value + blur
            if not bool(worse.any()):
                break
            size = torch.where(worse, size / 2, size)
        w = torch.where(worse.view(-1, 1, 1), w, w - size.view(-1, 1, 1) * step)
        value = torch.where(worse, value, ahead)
    weight = w[..., :-1] if basis is None else w[..., :-1] @ basis.mT
    return weight, w[..., -1]


def _newton_step(x: Tensor, p: Tensor, gradient: Tensor, penalty: Tensor, c: float) -> Tensor:
    """Solve Hessian · step = gradient for every task, (T, N, r + 1)."""
    tasks, ways, size = gradient.shape
    curvature = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)  # (T, S, N, N)
    h = c * torch.einsum("tsnm,tsa,tsb->tnamb", curvature, x, x)
    eye = torch.eye(ways, dtype=x.dtype, device=x.device)
    h = h + torch.einsum("nm,ab->namb", eye, torch.diag(penalty))
    # moving all intercepts alike changes no prediction: pin that direction, which no gradient has
    h[:, :, -1, :, -1] += 1.0
    flat = h.view(tasks, ways * size, ways * size)
    return torch.linalg.solve(flat, gradient.reshape(tasks, -1)).view_as(gradient)
