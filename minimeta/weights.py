"""Saving a learner and loading it again: safetensors, with the learner's description inside.

Nothing in such a file can execute code. The description names the learner, its networks and their
arguments, so ``load`` rebuilds minimeta's own learners; for a network of your own, build the learner
and pass it along.

>>> import minimeta as mm, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = mm.save(mm.ProtoNet(mm.Conv4()), folder + "/protonet.safetensors")
...     type(mm.load(path)).__name__
'ProtoNet'
"""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from minimeta.baselines import FromScratch, SimpleShot
from minimeta.errors import MinimetaError
from minimeta.files import replacing
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

FORMAT = "1"
PRETRAINED = Path(__file__).parent / "pretrained"
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


def save(learner: nn.Module, path: str | Path, *, note: str = "") -> Path:
    """Write the learner's weights and description, atomically.

    Parameters
    ----------
    learner
        Any module; minimeta's own can be rebuilt by :func:`load` alone.
    path
        Usually ending in ``.safetensors``.
    note
        Free text to keep with the weights, such as how they were trained.
    """
    path = Path(path)
    tensors = {name: t.detach().contiguous().cpu() for name, t in learner.state_dict().items()}
    frozen = [name for name, p in learner.named_parameters() if not p.requires_grad]
    metadata = {
        "minimeta": FORMAT,
        "learner": json.dumps(describe(learner), default=repr),
        "frozen": json.dumps(frozen),  # MAML does not adapt these
        "note": note,
    }
    with replacing(path) as file:
        file.write(to_bytes(tensors, metadata))
    return path


def pretrained() -> list[str]:
    """Name the trained learners that come with the package; :func:`minimeta.load` takes these names.

    >>> all(name.split("-")[1] == "omniglot" for name in pretrained())
    True
    """
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def card(name: str) -> dict[str, Any]:
    """Return what is known of a trained learner: data, protocol, results, seed and licence."""
    path = _named(name).with_suffix(".json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    return found


def _named(name: str) -> Path:
    path = PRETRAINED / f"{name}.safetensors"
    if not path.exists():
        raise MinimetaError(
            f"there is no file {name!r} and no trained learner of that name; the names are "
            f"{', '.join(pretrained())}."
        )
    return path


def load(path: str | Path, learner: nn.Module | None = None) -> nn.Module:
    """Read a learner, in ``eval()`` mode.

    Parameters
    ----------
    path
        A file written by :func:`save`, or one of the names in :func:`minimeta.weights.pretrained`.
    learner
        A learner of the same shape to load the weights into; needed when its network is not one of
        minimeta's.

    Raises
    ------
    MinimetaError
        If the file is missing, is not a minimeta file, or describes another learner.
    """
    if isinstance(path, str) and re.fullmatch(r"[\w-]+", path) and not Path(path).exists():
        path = _named(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise MinimetaError(f"there is no file {path}; give the path of saved weights.") from None
    except (SafetensorError, OSError) as error:
        raise MinimetaError(f"{path} is not a readable safetensors file ({error}).") from None
    if metadata.get("minimeta") != FORMAT:
        raise MinimetaError(
            f"{path} says minimeta format {metadata.get('minimeta')!r}; this version reads format "
            f"{FORMAT!r}: save the weights again with this version."
        )
    try:
        description, frozen = json.loads(metadata["learner"]), set(json.loads(metadata["frozen"]))
        learner = rebuild(description) if learner is None else learner
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, MinimetaError):
            raise
        raise MinimetaError(
            f"{path} has no readable description of its learner ({error})."
        ) from None
    try:
        learner.load_state_dict(tensors)
    except RuntimeError as error:
        raise MinimetaError(
            f"the weights in {path} were saved from {metadata['learner']} and do not fit this "
            f"{type(learner).__name__}: {' '.join(str(error).split())[:200]}"
        ) from None
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return learner.eval()


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
    if isinstance(value, dict):
        return rebuild(value)
    return tuple(value) if isinstance(value, list) else value
