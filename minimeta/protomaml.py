"""ProtoMAML: MAML whose output layer starts as the task's own prototypes.

Triantafillou et al., "Meta-Dataset: a dataset of datasets for learning to learn from few examples",
ICLR 2020.

>>> import minimeta as mm
>>> learner = mm.ProtoMAML(mm.Conv4(), inner_lr=0.01, inner_steps=2)       # no ways: any number of classes
>>> learner(mm.tasks("glyphs", split="test").at([0])).shape
torch.Size([1, 75, 5])
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from minimeta.adapt import (
    Params,
    alone,
    inner_loop,
    per_task,
    refuse_running_statistics,
    run,
    vectorises,
)
from minimeta.embedding import require_vectors
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate
from minimeta.learner import Learner, require_classes, require_match, require_module
from minimeta.norm import bn_mode, needs_support
from minimeta.protonet import prototypes


def prototype_head(
    z: Float[Tensor, "task support dim"], labels: Int64[Tensor, "task support"], ways: int
) -> Params:
    """Return the linear layer that scores like the prototypes: W_n = 2 c_n, b_n = -|c_n|^2.

    -|z - c|^2 = 2 c·z - |c|^2 - |z|^2, and the last term is the same for every class (Snell et al. 2017,
    section 2.4, "reinterpretation as a linear model").

    >>> head = prototype_head(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[0, 1]]), ways=2)
    >>> head["head.weight"].flatten().tolist(), head["head.bias"].flatten().tolist()
    ([2.0, 6.0], [-1.0, -9.0])
    """
    c = prototypes(z, labels, ways)
    return {"head.weight": 2 * c, "head.bias": -c.square().sum(-1)}


class ProtoMAML(Learner):
    r"""MAML of an encoder and a linear head that is computed from the support set, not learned.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim). Parameters with ``requires_grad=False`` are not adapted.
    inner_lr, inner_steps, first_order, test_inner_steps
        As in :class:`MAML`, for encoder and head alike.

    Notes
    -----
    The paper's Proto-MAML: the head starts at W_n = 2 c_n, b_n = ``-|c_n|^2`` with the prototypes c_n of
    the encoder that all tasks share, and the outer gradient flows through that start too. Inner
    gradients are those of encoder and head as separate parameters. Without inner steps this is ProtoNet,
    up to a term that no softmax sees. ``first_order`` cuts the inner gradients, not the start:
    fo-Proto-MAML, the one in the paper's tables. For the prototypes the support set passes alone. Long
    embeddings far apart start the head with a saturated softmax, whose gradient moves nothing.
    """

    def __init__(
        self, encoder: nn.Module, *, inner_lr: float, inner_steps: int = 1,
        first_order: bool = False, test_inner_steps: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        require_module(encoder)
        self.config = dict(
            encoder=encoder, inner_lr=inner_lr, inner_steps=inner_steps, first_order=first_order,
            test_inner_steps=test_inner_steps,
        )  # fmt: skip
        check_rate("inner_lr", inner_lr, zero=True)
        for word, steps in (("inner_steps", inner_steps), ("test_inner_steps", test_inner_steps)):
            if steps is not None and steps != 0:
                check_count(word, steps)
        if "running" in bn_mode(encoder):
            raise MinimetaError(
                "the encoder was made with bn='running', but an inner loop would update the averages it "
                "normalises with; make it with bn='batch' or bn='support'."
            )
        self.encoder = encoder
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.test_inner_steps = test_inner_steps

    def forward(self, episode: Episode) -> Tensor:
        """Adapt encoder and head to each task's support set, then score its queries: (T, R, N)."""
        require_classes(episode, "ProtoMAML")
        require_match(self, episode)
        refuse_running_statistics(self.encoder)
        together = vectorises(self.encoder, episode.support_x.device)
        pieces = episode.split(len(episode) if together else 1)
        return torch.cat([self._predict(piece, self.adapt(piece)) for piece in pieces])

    def adapt(self, episode: Episode) -> Params:
        r"""Return ``encoder.*``, ``head.weight`` and ``head.bias`` after the inner loop, (T, \*shape).

        Works under ``torch.no_grad`` too; then the result carries no graph.
        """
        outer = torch.is_grad_enabled()
        test = not self.training and self.test_inner_steps is not None
        with alone(self.encoder):
            named = self.encoder.named_parameters()
            theta: Params = {f"encoder.{n}": p for n, p in named if p.requires_grad}
        z = require_vectors(run(self.encoder, episode.support_x))
        head = prototype_head(z, episode.support_y, require_classes(episode, "ProtoMAML"))
        with torch.enable_grad():
            # a task's own copy of theta is another node of the graph than the theta that made the head:
            # inner gradients hold the head fixed, the outer one goes through both
            start = per_task(theta, len(episode)) | head
            start = {  # without an outer gradient, or an encoder to train, it starts from constants
                n: p if outer and p.requires_grad else p.detach().requires_grad_()
                for n, p in start.items()
            }
            adapted = inner_loop(
                self._scores,
                start,
                episode.support_x,
                episode.support_y,
                lr=self.inner_lr,
                steps=self.test_inner_steps if test else self.inner_steps,  # type: ignore[arg-type]
                first_order=self.first_order or not outer,
            )
        return adapted if outer else {n: p.detach() for n, p in adapted.items()}

    def _predict(self, episode: Episode, params: Params) -> Tensor:
        if not needs_support(self.encoder):
            return self._scores(params, episode.query_x)
        support = episode.support_x.shape[1]  # the support set passes too: it gives the statistics
        both = torch.cat([episode.support_x, episode.query_x], 1)
        return self._scores(params, both, stats_from=support)[:, support:]

    def _scores(self, params: Params, x: Tensor, stats_from: int | None = None) -> Tensor:
        own = {n.removeprefix("encoder."): p for n, p in params.items() if n.startswith("encoder.")}
        z = run(self.encoder, x, own, stats_from=stats_from)
        return z @ params["head.weight"].mT + params["head.bias"].unsqueeze(1)
