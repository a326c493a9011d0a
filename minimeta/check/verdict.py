"""What a check answers, and how a check is written.

A check takes the reader's answer (a function or a value), compares it with a property or a known
answer, and returns a :class:`Verdict`. It never raises for a wrong answer, so a notebook with empty
or wrong exercises still runs to its end.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from minimeta.errors import shown


@dataclass(frozen=True, repr=False)
class Verdict:
    """The answer to an answer; it prints as one sentence.

    >>> Verdict(False, "these are distances, not squared distances.")
    Not yet: these are distances, not squared distances.
    """

    passed: bool | None  # None: the exercise is not filled in
    text: str

    def __repr__(self) -> str:
        return f"{ {True: 'Right', False: 'Not yet', None: 'Not filled in yet'}[self.passed] }: {self.text}"


class Hint(Exception):
    """What a check raises to say why an answer is not right yet."""


class Blank(Exception):
    """The answer is still the stub."""


def check(function: Callable[..., str]) -> Callable[..., Verdict]:
    """Make a check of a function that raises :class:`Hint`, or returns what is right.

    >>> @check
    ... def seven(answer):
    ...     expect(answer == 7, f"{answer} is not 7.")
    ...     return "it is 7."
    >>> seven(7), seven(8), seven(...)
    (Right: it is 7., Not yet: 8 is not 7., Not filled in yet: replace the dots by your answer.)
    """

    @functools.wraps(function)
    def judge(*answers: Any) -> Verdict:
        try:
            if any(a is ... or a is None for a in answers):
                raise Blank
            return Verdict(True, function(*answers))
        except Blank:
            return Verdict(None, "replace the dots by your answer.")
        except Hint as hint:
            return Verdict(False, str(hint))

    judge.is_check = True  # type: ignore[attr-defined]
    return judge


def expect(true: Any, hint: str) -> None:
    """Give the hint unless the condition holds."""
    if not bool(true):
        raise Hint(hint)


def call(answer: Any, *arguments: Any, **named: Any) -> Any:
    """Call the reader's function; what it raises becomes a hint, and nothing returned means a stub."""
    expect(callable(answer), f"a function was expected, and {shown(answer)} was given.")
    try:
        inspect.signature(answer).bind(*arguments, **named)
    except TypeError as error:
        raise Hint(f"your function cannot be called as the exercise says: {error}.") from error
    except ValueError:  # some built-in functions hide their signature
        pass
    try:
        result = answer(*arguments, **named)
    except Exception as error:
        raise Hint(f"your function raised {type(error).__name__}: {error}") from error
    if result is None or result is ...:
        raise Blank
    return result


def number(answer: Any, what: str = "the answer") -> float:
    """Return an answer as a number, or say that it is none."""
    try:
        return float(answer)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise Hint(f"{what} is {shown(answer)}, which is not one number.") from error


def tensor(answer: Any, shape: tuple[int, ...], what: str = "the result") -> torch.Tensor:
    """Return an answer as a float64 tensor of this shape, or say what it is instead."""
    expect(isinstance(answer, torch.Tensor), f"{what} is a {type(answer).__name__}, not a tensor.")
    expect(
        tuple(answer.shape) == shape,
        f"{what} has shape {tuple(answer.shape)}, and {shape} was expected.",
    )
    return answer.detach().cpu().double()


def truth(answer: Any) -> bool:
    """Return the verdict of a reader's test, or say that it is neither True nor False."""
    kind = type(answer).__name__
    one = isinstance(answer, torch.Tensor) and answer.numel() == 1 and answer.dtype == torch.bool
    expect(
        one or kind in ("bool", "bool_"),
        f"a test answers True or False, so return True or False; {shown(answer)} came back.",
    )
    return bool(answer)


def differentiate(result: torch.Tensor, *arguments: Any, **options: Any) -> Any:
    """Differentiate what the reader's function returned; where torch cannot, its reason becomes a hint."""
    try:
        return torch.autograd.grad(result, *arguments, **options)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise Hint(
            f"your result cannot be differentiated; return it before any backward(), and change nothing in "
            f"place ({reason})"
        ) from error


def close(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Say whether two numbers or tensors agree to a relative tolerance."""
    x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    return x.shape == y.shape and bool(torch.allclose(x, y, rtol=tolerance, atol=tolerance))
