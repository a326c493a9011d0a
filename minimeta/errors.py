"""The one family of errors that minimeta raises on purpose.

Every message is one sentence: what was given, the rule, and what to do.
"""

import operator
from typing import Any


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


def check_count(word: str, value: Any) -> int:
    """Return a whole number of at least 1, or say that ``value`` is none."""
    try:
        whole = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = 0
    if whole < 1:
        raise MinimetaError(f"{word}={value!r} was given; it is a whole number of at least 1.")
    return whole
