"""MAML++: MAML with the remedies that keep its training stable.

Antoniou, Edwards & Storkey, "How to train your MAML", ICLR 2019. Two lines of use:

>>> import minimeta as mm
>>> learner = mm.MAMLPlusPlus(mm.MLP(1, 1), inner_lr=0.01, inner_steps=5, multi_step=100)
>>> mm.meta_train(learner, mm.tasks("sinusoids", shots=10, queries=10), steps=3)
Training(3 steps of 4 tasks, ...)
"""

from collections.abc import Callable

from torch import nn

from minimeta.errors import check_count
from minimeta.maml import MAML


class MAMLPlusPlus(MAML):
    r"""MAML with a rate for each layer and step, a loss after every step, and first order at first.

    Parameters
    ----------
    network, inner_lr, inner_steps, test_inner_steps, adapts, compiled
        As in :class:`minimeta.MAML`.
    multi_step
        Outer steps over which the loss after *every* inner step counts: in equal parts at first, then
        linearly less, until only the last does. ``compiled`` waits for the end of that: a program holds
        its weights.
    first_order_until
        Outer steps that are first order, before the second order begins.
    learn_lr
        ``"tensor"``: a rate for each tensor of parameters and each inner step; ``"entry"``: for each of
        their entries; None: rates are not learned.

    Notes
    -----
    These are the paper's multi-step loss optimisation, derivative-order annealing, and learned
    per-layer per-step rates, section 4. The paper speaks of a rate for each layer; the authors' code, as
    ours, has one for each tensor. It keeps a small weight on the early losses, which we do not. Not here:
    running averages and normalisation weights of their own for each inner step. A test with more inner
    steps goes on with the last step's rates.
    """

    def __init__(
        self, network: nn.Module, *, inner_lr: float, inner_steps: int = 5,
        test_inner_steps: int | None = None, adapts: str | Callable[[str], bool] = "all",
        learn_lr: str | None = "tensor", compiled: bool = False, multi_step: int = 0,
        first_order_until: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            network, inner_lr=inner_lr, inner_steps=inner_steps,
            test_inner_steps=test_inner_steps, adapts=adapts, learn_lr=learn_lr, compiled=compiled,
        )  # fmt: skip
        for word, count in (("multi_step", multi_step), ("first_order_until", first_order_until)):
            if count != 0:
                check_count(word, count)
        del self.config["first_order"]
        self.config |= dict(multi_step=multi_step, first_order_until=first_order_until)
        self.multi_step, self.first_order_until = multi_step, first_order_until
        self.rates = self._new_rates(max(1, inner_steps))
        self._outer_step = max(multi_step, first_order_until)  # until training says otherwise

    def begin_step(self, step: int) -> None:
        """Take the number of the outer step; ``meta_train`` gives it before each."""
        self._outer_step = step

    def _first_order(self) -> bool:
        return self._outer_step < self.first_order_until

    def _settled(self) -> bool:
        return not self.training or self._outer_step >= self.multi_step

    def _weights(self) -> list[float]:
        k = self._steps()
        if not self.training or not self.multi_step or k < 2:
            return super()._weights()
        early = max(0.0, 1 - self._outer_step / self.multi_step) / k
        return [0.0] + [early] * (k - 1) + [1 - early * (k - 1)]
