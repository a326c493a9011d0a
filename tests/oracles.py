"""Other libraries' own MAML, run on the same weights and tasks: independent answers."""

import warnings

import peers  # tools/peers.py
import torch
import torch.nn.functional as F
from torch import nn

from minimeta import Episode
from tests.needs import skip


def maml(
    peer: str, net: nn.Module, episode: Episode, lr: float, steps: int, first_order: bool
) -> tuple[float, torch.Tensor]:
    """Return the mean query loss and the meta-gradient as one vector."""
    run = {"learn2learn": _learn2learn, "higher": _higher}[peer]
    total = 0.0
    for t in range(len(episode)):
        sets = (
            episode.support_x[t], episode.support_y[t], episode.query_x[t], episode.query_y[t]
        )  # fmt: skip
        loss = run(net, sets, lr, steps, first_order) / len(episode)
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in net.parameters()])


def _learn2learn(net, sets, lr, steps, first_order):
    if not peers.SOURCE.exists():
        skip("learn2learn's source is not here; python tools/peers.py fetches it")
    (module,) = peers.learn2learn("algorithms.maml")
    sx, sy, qx, qy = sets
    adapted = module.MAML(net, lr=lr, first_order=first_order).clone()
    for _ in range(steps):
        adapted.adapt(F.cross_entropy(adapted(sx), sy))
    return F.cross_entropy(adapted(qx), qy)


def _higher(net, sets, lr, steps, first_order):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own deprecations
        import higher
    sx, sy, qx, qy = sets
    # higher has no first-order switch that keeps the outer gradient: cutting each gradient is it
    cut = (lambda grads: [g.detach() for g in grads]) if first_order else None
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    with higher.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (adapted, inner):
        for _ in range(steps):
            inner.step(F.cross_entropy(adapted(sx), sy), grad_callback=cut)
        return F.cross_entropy(adapted(qx), qy)
