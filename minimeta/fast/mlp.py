"""Gradients and Hessian-vector products of an MLP, written out for T tasks at once.

On networks as small as the sinusoid one, time goes into starting operations, not into arithmetic. Written
out by hand, one meta-gradient is about 70 batched operations; autograd's own bookkeeping needs several
times as many. ReLU has no curvature, so the product with the Hessian is the gradient's own derivative
along v, layer by layer (Pearlmutter, "Fast exact multiplication by the Hessian", 1994).
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.adapt import Params
from minimeta.errors import MinimetaError
from minimeta.fast.plan import Plan, Product
from minimeta.learner import check_predictions, one_hot
from minimeta.networks import MLP, as_made


class MLPPlan(Plan):
    """For ``MLP`` with all of its parameters adapting. Weights are held as (T, inputs, outputs)."""

    workers = 0

    @staticmethod
    def fits(network: object, ways: int | None, partial: bool) -> bool:
        """Say whether this plan can run ``network``."""
        return (
            type(network) is MLP and not partial and ways in (None, network.config["outputs"])
            and as_made(network, MLP, nn.ModuleList, nn.Linear)
            and sum(1 for _ in network.parameters()) == 2 * len(network.layers)
        )  # fmt: skip

    def pack(self, params: Params) -> Params:
        """Transpose the weights, so that a layer is ``x @ w + b``."""
        return {n: p.mT if n.endswith("weight") else p.unsqueeze(-2) for n, p in params.items()}

    def unpack(self, grads: Params) -> Params:
        """Undo :meth:`pack`."""
        return {n: g.mT if n.endswith("weight") else g.squeeze(-2) for n, g in grads.items()}

    def prepare(self, x: Tensor) -> Tensor:
        """Refuse what the network would."""
        self.network.check(x)  # type: ignore[operator]
        if x.ndim != 3:
            raise MinimetaError(
                f"examples of shape {tuple(x.shape[2:])} were given to MAML with an MLP, which takes vectors; "
                "flatten them first."
            )
        return x

    def gradient(
        self, params: Params, x: Tensor, y: Tensor, *, twice: bool,
        moving: Collection[str] | None = None,
    ) -> tuple[Tensor, Params, Product | None]:  # fmt: skip
        """Losses (T,), their gradients, and the product with their Hessians; all parameters move."""
        names = list(params)
        weights, biases = ([params[n] for n in names[i::2]] for i in (0, 1))
        inputs = [x]  # of each layer, after ReLU
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(torch.baddbmm(b, inputs[-1], w).relu_())
        out = torch.baddbmm(biases[-1], inputs[-1], weights[-1])
        losses, delta, curve = _loss(out, y)
        deltas: list[Tensor] = []  # gradient at each layer's output, last layer first
        grads: list[Tensor] = []
        for layer in reversed(range(len(weights))):
            deltas.append(delta)
            grads += [delta.sum(1, keepdim=True), inputs[layer].mT @ delta]
            if layer:
                delta = _through_relu(delta @ weights[layer].mT, inputs[layer])
        gradient = dict(zip(names, reversed(grads), strict=True))

        def product(v: Params) -> Params:
            along_w, along_b = ([v[n] for n in names[i::2]] for i in (0, 1))
            moved: list[Tensor | None] = [None]  # derivative of each layer's input along v
            for layer, h in enumerate(inputs):
                r = torch.baddbmm(along_b[layer], h, along_w[layer])
                before = moved[-1]
                r = r if before is None else r.baddbmm_(before, weights[layer])
                moved.append(r if layer + 1 == len(inputs) else _through_relu(r, inputs[layer + 1]))
            d = curve(moved[-1])
            products: list[Tensor] = []
            for layer, delta in zip(reversed(range(len(inputs))), deltas, strict=True):
                w, before = inputs[layer].mT @ d, moved[layer]
                products += [
                    d.sum(1, keepdim=True), w if before is None else w.baddbmm_(before.mT, delta)
                ]  # fmt: skip
                if layer:
                    back = torch.baddbmm(d @ weights[layer].mT, delta, along_w[layer].mT)
                    d = _through_relu(back, inputs[layer])
            return dict(zip(names, reversed(products), strict=True))

        return losses, gradient, product if twice else None


def _through_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """Pass what flows at places where the ReLU let its input through."""
    return torch.ops.aten.threshold_backward(gradient, output, 0)


def _loss(out: Tensor, y: Tensor):  # type: ignore[no-untyped-def]
    """Losses (T,) as in ``task_losses``, their gradient at the output, and its derivative along r."""
    check_predictions(out, y)
    if y.is_floating_point():
        error, scale = out - y.to(out.dtype), 2 / y[0].numel()
        return error.square().mean((1, 2)), error * scale, lambda r: r * scale
    log_p = F.log_softmax(out, -1)
    losses = -log_p.gather(2, y.unsqueeze(2)).mean((1, 2))
    p, examples = log_p.exp(), y.shape[1]
    delta = (p - one_hot(y, out.shape[-1]).to(p.dtype)) / examples
    return losses, delta, lambda r: p * (r - (p * r).sum(-1, keepdim=True)) / examples
