"""The one family of errors that minimeta raises on purpose.

Every message is one sentence: what was given, the rule, and what to do.
"""

import math
import numbers
import operator
import os
from pathlib import Path
from typing import Any

import torch


class MinimetaError(ValueError):
    """Something the caller gave cannot work; the message says what, why and what to do.

    >>> import minimeta as mm
    >>> mm.tasks("glyps")
    Traceback (most recent call last):
        ...
    minimeta.errors.MinimetaError: there is no data set named 'glyps'; the names are ...
    """


class DataUnavailable(MinimetaError):
    """A data set is neither in the package, nor prepared on this machine, nor downloadable now."""


class DivergedError(MinimetaError):
    """Training met a loss that is not a finite number."""


def shown(value: Any) -> str:
    """Write a value the caller gave on one short line.

    >>> shown([1] * 100)
    '[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...'
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 43 else f"{text[:40]}..."


def check_count(word: str, value: Any) -> int:
    """Return a whole number of at least 1, or say that ``value`` is none."""
    try:
        whole = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = 0
    if whole < 1:
        raise MinimetaError(f"{word}={shown(value)} was given; it is a whole number of at least 1.")
    return whole


def check_episodes(value: Any, word: str = "episodes") -> int:
    """Return a number of test tasks that is enough for an interval, or refuse ``value``."""
    if check_count(word, value) < 2:
        raise MinimetaError(f"{word}={value} was given; an interval needs at least two.")
    return int(value)


def check_rate(word: str, value: Any, *, zero: bool = False) -> None:
    """Refuse what is not a finite number above 0 (or, with ``zero``, at least 0)."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not (0 <= value if zero else 0 < value) or not value < math.inf:
        raise MinimetaError(
            f"{word}={shown(value)} was given; it is a finite number {'of at least' if zero else 'above'} 0."
        )


def check_seed(word: str, value: Any) -> int:
    """Return a whole number that fits 64 bits, as torch's generators take it, or refuse ``value``."""
    try:
        seed = operator.index(value)
    except TypeError:
        seed = 1 << 64
    if not -(1 << 63) <= seed < 1 << 64:
        raise MinimetaError(
            f"{word}={shown(value)} was given; it is one whole number that fits 64 bits, such as 0."
        )
    return seed


def check_path(path: Any) -> Path:
    """Return the path of a file that is there or may be written, or refuse ``path``."""
    if not isinstance(path, str | os.PathLike) or path == "":
        raise MinimetaError(
            f"{shown(path)} was given as the path of a file; give its name, a text or a Path."
        )
    path = Path(path)
    if path.is_dir():
        raise MinimetaError(f"{path} is a folder; give the name of a file.")
    return path


def check_device(device: Any) -> torch.device:
    """Return a device of this machine, or say which ones there are.

    >>> check_device("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # only using it tells whether it is there
    except (RuntimeError, AssertionError, TypeError) as error:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise MinimetaError(
            f"device={shown(device)} was given, but what torch can use on this machine is "
            f"{', '.join(['cpu', *gpus])}; give one of these."
        ) from error
    return found
