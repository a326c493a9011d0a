"""A meta-gradient as one compiled program, for ``MAML(..., compiled=True)``.

The computation is traced once for each kind of episode (shapes, types, steps), through autograd and all,
and handed to ``torch.compile``. That takes from a second to half a minute, so it pays for long runs only.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

_PROGRAMS: "weakref.WeakKeyDictionary[nn.Module, dict[Any, Any]]" = weakref.WeakKeyDictionary()


def run_compiled(
    learner: nn.Module, compute: Callable[..., Any], arguments: tuple[Any, ...], kind: Any
) -> Any:
    """Return ``compute(*arguments)``, from a program made when this kind was first met.

    Parameters
    ----------
    learner
        Whose program it is; when it goes, so do its programs.
    compute
        A function of nested dictionaries and lists of tensors and numbers, and of nothing else that
        changes. Numbers become part of the program.
    arguments
        What to call it with.
    kind
        What else the program depends on.
    """
    leaves, structure = tree_flatten(arguments)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    tensors = [leaves[i].detach() for i in places]
    described = [
        (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    key = (str(structure), str(described), kind)
    programs = _PROGRAMS.setdefault(learner, {})
    if key not in programs:
        made: dict[str, Any] = {}

        def flat(*given: Tensor) -> list[Tensor]:
            filled = list(leaves)
            for i, tensor in zip(places, given, strict=True):
                filled[i] = tensor
            out, made["out"] = tree_flatten(compute(*tree_unflatten(filled, structure)))
            return out

        graph = make_fx(flat)(*tensors)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        programs[key] = torch.compile(graph), made["out"]
    program, out_structure = programs[key]
    return tree_unflatten(program(*tensors), out_structure)
