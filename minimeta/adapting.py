"""A learner that adapts a network to each task by gradient steps: what MAML and its kin share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from minimeta.adapt import (
    Params,
    Rates,
    alone,
    choose,
    inner_path,
    per_task,
    refuse_running_statistics,
    run,
    used_outputs,
    vectorises,
)
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count, check_rate, shown
from minimeta.learner import Learner, require_match, require_module
from minimeta.networks import Conv4
from minimeta.norm import bn_mode, needs_support


class Adapting(Learner):
    """Base of the learners with an inner loop; see :class:`minimeta.MAML` for the arguments.

    ``learner(episode)`` is one graph from the start to the predictions, differentiable as often as you
    like. How the start is trained is for the subclasses to say, in ``loss``.
    """

    def __init__(
        self, network: nn.Module, *, inner_lr: float, inner_steps: int = 1,
        first_order: bool = False, test_inner_steps: int | None = None,
        adapts: str | Callable[[str], bool] = "all", learn_lr: str | None = None,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        require_module(network)
        self.config = dict(
            network=network, inner_lr=inner_lr, inner_steps=inner_steps, first_order=first_order,
            test_inner_steps=test_inner_steps, adapts=adapts, learn_lr=learn_lr, compiled=compiled,
        )  # fmt: skip
        if isinstance(network, Conv4) and network.head is None:
            raise MinimetaError(
                "a Conv4 without a head was given to MAML, which adapts a classifier; make it with ways=, "
                "as in Conv4(ways=5)."
            )
        if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
            raise MinimetaError(
                "the network has lazy layers, whose sizes are not known yet; run it once on an example, then "
                "give it to MAML."
            )
        check_rate("inner_lr", inner_lr, zero=True)
        for word, steps in (("inner_steps", inner_steps), ("test_inner_steps", test_inner_steps)):
            if steps is not None and steps != 0:
                check_count(word, steps)
        if learn_lr not in (None, "tensor", "entry"):
            raise MinimetaError(
                f"learn_lr={shown(learn_lr)} was given; it is None, 'tensor' or 'entry'."
            )
        if "running" in bn_mode(network):
            raise MinimetaError(
                "the network was made with bn='running', but an inner loop would update the averages it "
                "normalises with; make it with bn='batch' or bn='support'."
            )
        self.network = network
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.test_inner_steps, self.learn_lr = test_inner_steps, learn_lr
        self.compiled = compiled
        self._chosen = choose(network, adapts)
        self.rates = self._new_rates(1)

    def _new_rates(self, steps: int) -> nn.ParameterList:
        """Make the learned rates: of each chosen parameter (steps, *shape), or (steps,) for the tensor."""
        named = dict(self.network.named_parameters())
        chosen = [named[n] for n in self._chosen] if self.learn_lr else []
        shapes = [p.shape if self.learn_lr == "entry" else () for p in chosen]
        return nn.ParameterList(
            p.new_full((steps, *shape), self.inner_lr)
            for p, shape in zip(chosen, shapes, strict=True)
        )

    def forward(self, episode: Episode) -> Tensor:
        """Adapt to each task's support set, then predict its queries: (T, R, N) or (T, R, D)."""
        refuse_running_statistics(self.network)
        pieces = self._pieces(episode)
        return torch.cat([self._predict(piece, self.adapt(piece)) for piece in pieces])

    def adapt(self, episode: Episode) -> Params:
        r"""Return the parameters after the inner loop, name -> (T, \*shape).

        Works under ``torch.no_grad`` too; then the result carries no graph.
        """
        return self._path(episode)[-1]

    def _pieces(self, episode: Episode) -> list[Episode]:
        together = vectorises(self.network, episode.support_x.device)
        return list(episode.split(len(episode) if together else 1))

    def _steps(self) -> int:
        test = not self.training and self.test_inner_steps is not None
        return self.test_inner_steps if test else self.inner_steps  # type: ignore[return-value]

    def _start(self) -> Params:
        with alone(self.network):
            start: Params = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        if not any(n in start for n in self._chosen):
            raise MinimetaError(
                "none of the parameters that the inner loop adapts may change (requires_grad), so there is "
                "nothing for MAML to adapt; unfreeze some, or use ProtoNet."
            )
        return start

    def _rates(self, start: Params, learned: Sequence[Tensor]) -> list[Rates]:
        """Name -> rate, for each inner step; ``learned`` is ``self.rates``, or copies of them."""
        names = [n for n in self._chosen if n in start]
        if not learned:
            return [dict.fromkeys(names, self.inner_lr)] * self._steps()
        rates = dict(zip(self._chosen, learned, strict=True))
        return [
            {n: rates[n][min(j, len(rates[n]) - 1)] for n in names} for j in range(self._steps())
        ]

    def _path(self, episode: Episode) -> list[Params]:
        """Return the parameters before the inner loop and after each step, as one graph."""
        require_match(self, episode)
        refuse_running_statistics(self.network)
        outer = torch.is_grad_enabled()
        theta = self._start()
        rates = self._rates(theta, list(self.rates))
        with torch.enable_grad():
            if not outer:  # nobody differentiates through this inner loop
                theta = {n: p.detach().requires_grad_() for n, p in theta.items()}
            path = inner_path(
                lambda params, x: self._outputs(params, x, episode.ways),
                per_task(theta, len(episode)), episode.support_x, episode.support_y,
                rates=rates, first_order=self._first_order() or not outer,
            )  # fmt: skip
        return path if outer else [{n: p.detach() for n, p in params.items()} for params in path]

    def _predict(self, episode: Episode, params: Params) -> Tensor:
        if not needs_support(self.network):
            return self._outputs(params, episode.query_x, episode.ways)
        support = episode.support_x.shape[1]  # the support set passes too: it gives the statistics
        both = torch.cat([episode.support_x, episode.query_x], 1)
        return self._outputs(params, both, episode.ways, stats_from=support)[:, support:]

    def _outputs(
        self, params: Params, x: Tensor, ways: int | None, stats_from: int | None = None
    ) -> Tensor:
        return used_outputs(run(self.network, x, params, stats_from=stats_from), ways)

    def _first_order(self) -> bool:
        return self.first_order
