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
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from minimeta.description import describe, rebuild, to_json
from minimeta.errors import MinimetaError, check_path, shown
from minimeta.files import replacing

FORMAT = "1"
PRETRAINED = Path(__file__).parent / "pretrained"


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

    Raises
    ------
    MinimetaError
        If the learner is no module, the path no name of a file, or the note no text.
    """
    if not isinstance(learner, nn.Module):
        raise MinimetaError(
            f"{shown(learner)} was given to save; give a learner, or any other nn.Module."
        )
    if not isinstance(note, str):
        raise MinimetaError(
            f"note={shown(note)} was given; it is a text, so write it as one, as json.dumps does."
        )
    path = check_path(path)
    # clones: tied weights are one tensor under two names, which safetensors does not write
    tensors = {n: t.detach().cpu().clone().contiguous() for n, t in learner.state_dict().items()}
    frozen = [name for name, p in learner.named_parameters() if not p.requires_grad]
    metadata = {
        "minimeta": FORMAT,
        "learner": to_json(describe(learner)),
        "frozen": json.dumps(frozen),  # MAML does not adapt these
        "note": note.encode("utf8", "backslashreplace").decode(),  # names of files may be no text
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
    if name not in pretrained():
        raise MinimetaError(
            f"there is no file {name!r} and no trained learner of that name; the names are "
            f"{', '.join(pretrained())}."
        )
    return PRETRAINED / f"{name}.safetensors"


def load(path: str | Path, learner: nn.Module | None = None) -> nn.Module:
    """Read a learner, in ``eval()`` mode.

    Parameters
    ----------
    path
        A file written by :func:`save`, or one of the names in :func:`minimeta.weights.pretrained`.
    learner
        A learner of the same class and shapes to load the weights into; needed when its network is not
        one of minimeta's. It keeps its own hyperparameters and takes the file's floating-point type
        (its own types stay if the file has several). If the file is refused, it stays as it was.

    Raises
    ------
    MinimetaError
        If the file is missing, is not a minimeta file, or holds a learner of another class or shape.
    """
    if learner is not None and not isinstance(learner, nn.Module):
        raise MinimetaError(
            f"learner={shown(learner)} was given; give a module to load into, or leave it out."
        )
    file = check_path(path)
    if not file.exists():
        file = _named(str(path))
    metadata, tensors = _read(file)
    try:
        description, frozen = json.loads(metadata["learner"]), set(json.loads(metadata["frozen"]))
        kind = description["class"].split(".")[-1]  # a script's classes change their module's name
        learner = rebuild(description) if learner is None else learner
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, MinimetaError):
            raise
        raise MinimetaError(
            f"{path} has no readable description of its learner ({error})."
        ) from None
    if type(learner).__name__ != kind:
        raise MinimetaError(
            f"{path} holds a {kind} but a {type(learner).__name__} was given to load it into; give a {kind}, "
            "or take its weights alone with load_state_dict(mm.load(path).state_dict())."
        )
    _check_shapes(path, tensors, learner)
    types = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(types) == 1:
        learner.to(types.pop())
    learner.load_state_dict(tensors)
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return learner.eval()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file that minimeta saved."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise MinimetaError(
            f"{path} is not a readable safetensors file ({error}); it may be cut short, so download or "
            "save it again."
        ) from None
    made = metadata.get("minimeta", "")
    if not made.isdecimal():
        raise MinimetaError(
            f"{path} was not saved by minimeta; build the learner yourself and load such weights with "
            "load_state_dict and safetensors.torch.load_file."
        )
    if made != FORMAT:
        raise MinimetaError(
            f"{path} was made by a newer minimeta (format {made}; this version reads {FORMAT}); upgrade "
            "minimeta."
        )
    return metadata, tensors


def _check_shapes(path: Any, tensors: dict[str, Tensor], learner: nn.Module) -> None:
    """Refuse weights of other names or shapes, before any of them is copied."""

    def shape(name: str, among: dict[str, Tensor]) -> str:
        return f"of shape {tuple(among[name].shape)}" if name in among else "missing"

    own = learner.state_dict()
    for name in [n for n, t in own.items() if is_lazy(t)]:  # such a layer takes the file's shapes
        own[name] = tensors.get(name, torch.empty(0))
    differ = [n for n in own | tensors if shape(n, own) != shape(n, tensors)]
    if differ:
        raise MinimetaError(
            f"the weights in {path} do not fit this {type(learner).__name__}: {differ[0]} is "
            f"{shape(differ[0], tensors)} in the file and {shape(differ[0], own)} here; make the learner "
            "as the saved one was made."
        )
