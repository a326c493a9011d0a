"""What people give a classifier: tensors, pictures laid out or scaled otherwise, labels of two kinds."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minimeta.errors import MinimetaError
from minimeta.networks import Conv4


def as_numpy(values: Any) -> Any:
    """Return a tensor, or a list with tensors, as arrays; leave anything else to scikit-learn.

    >>> as_numpy([torch.ones(1, requires_grad=True)])
    [array([1.], dtype=float32)]
    """
    if isinstance(values, list | tuple) and any(isinstance(v, Tensor) for v in values):
        return [as_numpy(v) for v in values]
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def one_kind(labels: Any) -> Any:
    """Return labels that are all strings or all none; an array would turn 1 beside "a" into "1"."""
    values = labels if isinstance(labels, list | tuple) else np.asarray(labels)
    if isinstance(values, np.ndarray) and (values.dtype.kind != "O" or values.ndim != 1):
        return labels
    if len({isinstance(v, str) for v in values}) > 1:
        kinds = sorted({type(v).__name__ for v in values})
        raise MinimetaError(
            f"labels of several types were given ({', '.join(kinds)}); give all as strings, or all as "
            "booleans or integers."
        )
    return labels


def check_scale(support: np.ndarray, X: np.ndarray) -> None:
    """Refuse pictures of bytes, which are divided by 255, beside others that go far beyond 1."""
    for one, other, which in ((support, X, "new"), (X, support, "fitted")):
        if one.ndim > 2 and one.dtype == np.uint8 != other.dtype and np.abs(other).max() > 2:
            raise MinimetaError(
                f"the {which} pictures are {other.dtype} up to {np.abs(other).max():.4g} but the others are "
                f"uint8, which are divided by 255; divide the {which} ones by 255 too, or give both as uint8."
            )


def remedy(X: np.ndarray, network: nn.Module | None) -> str:
    """Say which pictures a Conv4 takes and how to make X so; empty for what it takes, or another network.

    >>> remedy(np.zeros((9, 3, 28, 28)), Conv4())
    'its Conv4 takes pictures of shape (1, 28, 28), so make them grey (X.mean(1, keepdims=True)), or ...'
    """
    given = tuple(X.shape[1:])
    if not isinstance(network, Conv4) or given == (network.channels, network.size, network.size):
        return ""
    wanted, todo = (network.channels, network.size, network.size), []
    if len(given) == 1 and given[0] == math.prod(wanted):
        given, todo = wanted, [f"give their rows this shape (X.reshape{(-1, *wanted)})"]
    if len(given) == 2:
        given, todo = (1, *given), ["add the axis of the channels (X[:, None])"]
    if len(given) == 3 and given[-1] in (1, 3, 4) and given[0] not in (1, 3, 4):
        given, todo = (given[2], *given[:2]), ["put the channels first (X.transpose(0, 3, 1, 2))"]
    if len(given) == 3 and given[0] != wanted[0]:
        scaled = "(X / 255)" if X.dtype == np.uint8 else "X"  # a mean of bytes is none any more
        recipe = f" ({scaled}.mean(1, keepdims=True))" if given[0] == 3 else ""
        grey = f"make them grey{recipe}"
        todo.append(grey if wanted[0] == 1 else f"give them {wanted[0]} channels")
    if len(given) == 3 and given[1:] != wanted[1:]:
        todo.append(f"resize them to {network.size}x{network.size}")
    return (
        f"its Conv4 takes pictures of shape {wanted}, so {', then '.join(todo) or 'give such'}, or train a "
        "network made for yours"
    )
