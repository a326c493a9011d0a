"""The one family of errors that minimeta raises on purpose.

Every message is one sentence: what was given, the rule, and what to do.
"""


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
