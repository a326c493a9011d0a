"""A meta-gradient as one compiled program, for ``MAML(..., compiled=True)``.

The computation is traced once for each kind of episode (shapes, types, steps), through autograd and all,
and handed to ``torch.compile``. That takes from a second to half a minute, so it pays for long runs only.
"""

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

_PROGRAMS: "weakref.WeakKeyDictionary[nn.Module, dict[Any, Any]]" = weakref.WeakKeyDictionary()


def run_compiled(
    learner: nn.Module,
    compute: Callable[..., list[Tensor]],
    given: Sequence[Tensor],
    known: Hashable,
) -> list[Tensor]:
    """Return ``compute(*given, at_once=True)``, from a program made when its like was first met.

    Parameters
    ----------
    learner
        Whose program it is; when it goes, so do its programs.
    compute
        A function of tensors; what else it uses becomes part of the program.
    given
        What to call it with.
    known
        All that the program depends on, beside the tensors' shapes and types.
    """
    tensors = [t.detach() for t in given]
    key = (known, *[(t.shape, t.dtype, t.device) for t in tensors])
    programs = _PROGRAMS.setdefault(learner, {})
    if key not in programs:

        def flat(*given: Tensor) -> list[Tensor]:
            return compute(*given, at_once=True)

        graph = make_fx(flat, decomposition_table=_THIN)(*tensors)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        programs[key] = torch.compile(graph)
    result: list[Tensor] = programs[key](*tensors)
    return result


def _product(a: Tensor, b: Tensor) -> Tensor | None:
    """A thin batched product as a sum, which the compiler joins with what stands around it."""
    if a.shape[2] == 1:
        return a * b
    if b.shape[2] == 1:
        return (a * b.mT).sum(2, keepdim=True)
    if a.shape[1] == 1:
        return (a.mT * b).sum(1, keepdim=True)
    return None


def _bmm(a: Tensor, b: Tensor) -> Any:
    product = _product(a, b)
    return NotImplemented if product is None else product  # torch then keeps what it has


def _baddbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    if (beta, alpha) != (1, 1):
        return NotImplemented
    product = _product(a, b)
    return c + (a @ b if product is None else product)


_THIN: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.bmm.default: _bmm,
    torch.ops.aten.baddbmm.default: _baddbmm,
}
