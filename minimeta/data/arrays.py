"""Your own examples as arrays or as a torch data set: from these to a class pool.

>>> pool = from_arrays(np.zeros((3, 1, 8, 8), np.float32), ["cat", "dog", "cat"])
>>> pool, pool.names, pool.sizes.tolist()
(ClassPool(2 classes, 3 examples of 1x8x8), ('cat', 'dog'), [2, 1])
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from minimeta.data.pictures import levels
from minimeta.data.pool import ClassPool
from minimeta.errors import MinimetaError


def from_arrays(
    x: Any, y: Any, names: Sequence[str] | Mapping[Any, str] | None = None
) -> ClassPool:
    r"""Return a pool whose classes are the different labels, in ascending order.

    Parameters
    ----------
    x
        Array or tensor (examples, \*item); pictures are (examples, channels, rows, columns). Floats
        and truth values are taken as they are, uint8 is divided by 255. Other integers are refused:
        what is 1 there is a guess.
    y
        (examples,) whole numbers or strings, in any order, with gaps, as often as you like.
    names
        Names of the classes: ``names[label]``, a dict or a sequence. None: the labels themselves.

    Returns
    -------
    ClassPool
        items float32 (examples, \*item), a copy; rows of a class keep the order they were given in.

    Raises
    ------
    MinimetaError
        For shapes that do not fit, other types, NaN or infinity, or a label without a name.

    Examples
    --------
    >>> from_arrays(torch.tensor([[1.0], [2.0], [3.0]]), [7, -1, 7]).items.flatten()
    tensor([2., 1., 3.])
    """
    rows, labels = _numbers(x), _labels(y)
    if rows.ndim < 2 or len(rows) != len(labels) or not rows.size:
        raise MinimetaError(
            f"x has shape {rows.shape} and y {labels.shape}; give at least one example, as x of shape "
            "(examples, ...) with two axes or more, and one label for each."
        )
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    found = classes.tolist()
    if names is not None:
        named = names if isinstance(names, Mapping) else dict(enumerate(names))
        if missing := [label for label in found if label not in named]:
            raise MinimetaError(f"label {missing[0]!r} has no name; give names[label] for each.")
        found = [named[label] for label in found]
    order = np.argsort(index, kind="stable")
    floats = rows[order]  # a copy
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused below
        floats = floats.astype(np.float32, copy=False)
    if rows.dtype == np.uint8:
        floats /= 255
    finite = np.isfinite(floats).reshape(len(floats), -1).all(1)
    if not finite.all():
        raise MinimetaError(
            f"x[{order[~finite].min()}] holds NaN, infinity or a number too large for float32; repair it or leave "
            "it out."
        )
    return ClassPool(torch.from_numpy(floats), torch.from_numpy(counts), tuple(map(str, found)))


def from_dataset(dataset: Dataset[Any]) -> ClassPool:
    r"""Return a pool of all examples of a map-style data set; each is read once.

    A transform that changes pictures at random therefore does so once, and not for every episode.

    Parameters
    ----------
    dataset
        Has a length and gives (example, label) pairs. Examples of one shape and type: tensors and
        arrays as in :func:`from_arrays`, or Pillow images (see :mod:`minimeta.data.pictures`). Labels
        are whole numbers or strings.

    Returns
    -------
    ClassPool
        items float32 (examples, \*item).

    Raises
    ------
    MinimetaError
        If it has no length, or gives anything else.

    Examples
    --------
    >>> from torch.utils.data import TensorDataset
    >>> from_dataset(TensorDataset(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])))
    ClassPool(2 classes, 4 examples of 2)
    """
    kind = type(dataset).__name__
    try:
        length = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        raise MinimetaError(
            f"{kind} has no length, so its examples cannot be counted; give a map-style data set."
        ) from None
    examples: list[np.ndarray] = []
    labels = []
    for i in range(length):
        pair = dataset[i]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise MinimetaError(
                f"{kind}[{i}] is a {type(pair).__name__}; every item is a pair (example, label)."
            )
        example = levels(pair[0]) if isinstance(pair[0], Image.Image) else _numbers(pair[0])
        first = examples[0] if examples else example
        if (example.shape, example.dtype) != (first.shape, first.dtype):
            raise MinimetaError(
                f"{kind}[0] is {first.dtype} of shape {first.shape} but {kind}[{i}] is {example.dtype} "
                f"of shape {example.shape}; bring all to one, for instance by the data set's transform."
            )
        examples.append(example)
        labels.append(pair[1].tolist() if isinstance(pair[1], Tensor) else pair[1])
    return from_arrays(np.stack(examples) if examples else np.empty((0, 1)), labels)


def _numbers(x: Any) -> np.ndarray:
    """Any array of numbers as NumPy's; keeps uint8, which from_arrays must see."""
    try:
        if isinstance(x, Tensor):
            x = (x.float() if x.is_floating_point() else x).detach().cpu().numpy()
        array = np.asarray(x)
        kind = str(array.dtype)
    except (TypeError, ValueError) as error:  # rows of different lengths, odd tensors
        raise MinimetaError(f"x is no array ({error}); give one array or tensor.") from error
    if array.dtype.kind not in "fb" and array.dtype != np.uint8:
        raise MinimetaError(
            f"examples of type {kind} were given; give floats, or pictures as uint8, which are divided "
            "by 255."
        )
    return array


def _labels(y: Any) -> np.ndarray:
    try:
        labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    except ValueError as error:
        raise MinimetaError(
            f"y is no list of labels ({error}); give one for each example."
        ) from error
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iubU"):
        raise MinimetaError(
            f"labels of shape {labels.shape} and type {labels.dtype} were given; give one whole number "
            "or string for every example."
        )
    return labels
