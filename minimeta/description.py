"""A learner as plain data, and back: its class, its networks and their arguments.

>>> import minimeta as mm
>>> rebuild(describe(mm.MAML(mm.MLP(1, 1), inner_lr=0.01))).inner_lr
0.01
"""

import json
from typing import Any

import numpy as np
from torch import nn

from minimeta.baselines import FromScratch, SimpleShot
from minimeta.errors import MinimetaError
from minimeta.implicit import ImplicitMAML
from minimeta.linearhead import CosineHead, LinearHead
from minimeta.maml import MAML
from minimeta.mamlpp import MAMLPlusPlus
from minimeta.matchingnet import MatchingNet
from minimeta.networks import MLP, Conv4
from minimeta.protomaml import ProtoMAML
from minimeta.protonet import ProtoNet
from minimeta.relationnet import RelationModule, RelationNet
from minimeta.reptile import Reptile
from minimeta.ridge import R2D2
from minimeta.setlearner import SetLearner

# what a file may ask for by name: nothing else is ever built
BUILDERS: dict[str, type[nn.Module]] = {
    c.__name__: c
    for c in (
        MAML,
        MAMLPlusPlus,
        CosineHead,
        FromScratch,
        ImplicitMAML,
        LinearHead,
        SimpleShot,
        MatchingNet,
        ProtoMAML,
        R2D2,
        Reptile,
        SetLearner,
        ProtoNet,
        RelationNet,
        Conv4,
        MLP,
        RelationModule,
        nn.Identity,
        nn.Flatten,
    )
}


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe a module as plain data: its class and, if it is one of minimeta's, its arguments now."""
    kind = type(module)
    known = BUILDERS.get(kind.__name__) is kind and _plain(module)
    arguments = {
        name: getattr(module, name, value)  # what can be changed later is an attribute of that name
        for name, value in getattr(module, "config", {}).items()
    }
    return {
        "class": kind.__name__ if known else f"{kind.__module__}.{kind.__qualname__}",
        "arguments": {
            name: describe(value) if isinstance(value, nn.Module) else value
            for name, value in arguments.items()
        },
    }


def to_json(description: dict[str, Any]) -> str:
    """Write a description down, the same in every process.

    NumPy's numbers become Python's; of anything else, such as a function, only its name is kept.

    >>> to_json({"class": "MLP", "arguments": {"inputs": np.int64(1), "hidden": print}})
    '{"class": "MLP", "arguments": {"inputs": 1, "hidden": {"object": "print"}}}'
    """
    return json.dumps(description, default=_named)


def _named(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    name = getattr(value, "__qualname__", None)
    return {"object": type(value).__qualname__ if name is None else name}


def _plain(module: nn.Module) -> bool:
    """Say whether a module of torch's own is as its constructor makes it without arguments."""
    return not isinstance(module, nn.Flatten) or (module.start_dim, module.end_dim) == (1, -1)


def rebuild(description: dict[str, Any]) -> nn.Module:
    """Build a module from its description, if it is one of minimeta's."""
    name = description["class"]
    if name not in BUILDERS:
        raise MinimetaError(
            f"the file holds a {name}, which minimeta cannot build; build the learner yourself and call "
            "load(path, learner)."
        )
    return BUILDERS[name](**{k: _argument(v) for k, v in description["arguments"].items()})


def _argument(value: Any) -> Any:
    if isinstance(value, dict) and "object" in value:
        raise MinimetaError(
            f"the learner in the file was made with {value['object']}, of which a file keeps the name only; "
            "build the learner yourself and call load(path, learner)."
        )
    if isinstance(value, dict):
        return rebuild(value)
    return tuple(value) if isinstance(value, list) else value
