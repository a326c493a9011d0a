"""Networks and MAML steps as other libraries' users write them: what minimeta is measured against."""

import sys
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta import Conv4, Episode

sys.path.insert(0, "tools")
import peers

Step = Callable[[], Tensor]  # leaves the meta-gradient in .grad, returns the mean query loss


def mlp() -> nn.Module:
    """Return the sinusoid network in torch's own layers."""
    return nn.Sequential(
        nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
    )


def conv4(layout: str, ways: int | None = 5, filters: int = 64, size: int = 28) -> nn.Module:
    """Return a Conv4 in torch's own layers, with batch statistics."""
    layers: list[nn.Module] = []
    for i in range(4):
        stride = 2 if layout == "strided" else 1
        layers += [
            nn.Conv2d(filters if i else 1, filters, 3, stride, 1),
            nn.BatchNorm2d(filters, track_running_stats=False),
            nn.ReLU(),
        ]
        layers += [nn.MaxPool2d(2)] if layout == "pool" else []
    if layout == "strided":
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    side = size // 16 if layout == "pool" else 1
    if ways is not None:
        layers.append(nn.Linear(filters * side * side, ways))
    return nn.Sequential(*layers)


def same_weights(plain: nn.Module, ours: nn.Module) -> None:
    """Copy a plain network's weights into minimeta's; a bias before a normalisation has no effect."""
    given = dict(plain.named_parameters())
    if isinstance(ours, Conv4):
        convolutions = [n for n, p in given.items() if p.ndim == 4]
        for name in convolutions:
            del given[name.replace("weight", "bias")]
    with torch.no_grad():
        for ours_p, p in zip(ours.parameters(), given.values(), strict=True):
            ours_p.copy_(p)


def loss_of(out: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy for labels, squared error for numbers."""
    return F.mse_loss(out, y) if y.is_floating_point() else F.cross_entropy(out, y)


def sets(episode: Episode) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return support and query sets task by task."""
    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    return list(zip(*(p.unbind(0) for p in parts), strict=True))  # type: ignore[union-attr]


def learn2learn(net: nn.Module, episode: Episode, lr: float, steps: int, first_order: bool) -> Step:
    """MAML by learn2learn."""
    (module,) = peers.learn2learn("algorithms.maml")
    maml, tasks = module.MAML(net, lr=lr, first_order=first_order), sets(episode)

    def step() -> Tensor:
        net.zero_grad()
        total = torch.zeros(())
        for sx, sy, qx, qy in tasks:
            clone = maml.clone()
            for _ in range(steps):
                clone.adapt(loss_of(clone(sx), sy))
            loss = loss_of(clone(qx), qy) / len(tasks)
            loss.backward()
            total += loss.detach()
        return total

    return step


def higher(net: nn.Module, episode: Episode, lr: float, steps: int, first_order: bool) -> Step:
    """MAML by higher, whose first order is a cut in every gradient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import higher as library
    optimizer, tasks = torch.optim.SGD(net.parameters(), lr=lr), sets(episode)
    cut = (lambda grads: [g.detach() for g in grads]) if first_order else None

    def step() -> Tensor:
        net.zero_grad()
        total = torch.zeros(())
        for sx, sy, qx, qy in tasks:
            with library.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (fast, inner):
                for _ in range(steps):
                    inner.step(loss_of(fast(sx), sy), grad_callback=cut)
                loss = loss_of(fast(qx), qy) / len(tasks)
                loss.backward()
                total += loss.detach()
        return total

    return step


def torchopt(net: nn.Module, episode: Episode, lr: float, steps: int, first_order: bool) -> Step:
    """MAML by torchopt; it has no first-order switch."""
    if first_order:
        raise ValueError("torchopt's MetaSGD has no first-order switch")
    library = peers.torchopt()
    optimizer, tasks = library.MetaSGD(net, lr=lr), sets(episode)

    def step() -> Tensor:
        net.zero_grad()
        total = torch.zeros(())
        start = library.extract_state_dict(net, by="reference")
        state = library.extract_state_dict(optimizer, by="reference")
        for sx, sy, qx, qy in tasks:
            for _ in range(steps):
                optimizer.step(loss_of(net(sx), sy))
            loss = loss_of(net(qx), qy) / len(tasks)
            loss.backward()
            total += loss.detach()
            library.recover_state_dict(net, start)
            library.recover_state_dict(optimizer, state)
        return total

    return step


PEERS = {"learn2learn": learn2learn, "higher": higher, "torchopt": torchopt}
