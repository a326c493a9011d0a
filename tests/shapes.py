"""Check the shapes in signatures while testing, and only those.

beartype alone would also judge plain arguments and so answer bad input before minimeta's own
sentences do; these are tested too.
"""

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(thing: Any) -> Any:
    """Decorate a function whose annotations carry shapes; leave everything else alone."""
    if not inspect.isfunction(thing):
        return thing
    shaped = any("jaxtyping" in repr(a) for a in thing.__annotations__.values())
    typed: Callable[..., Any] = beartype(thing) if shaped else thing
    return typed
