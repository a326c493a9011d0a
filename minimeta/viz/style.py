"""The palette and the style of every figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minimeta.errors import MinimetaError

# Okabe & Ito's colours, told apart with every common form of colour blindness
PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "grey": "#6E6E6E",
}


def pyplot() -> Any:
    """Import matplotlib's pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MinimetaError(
            'figures need matplotlib, which is not installed; pip install "minimeta[viz]" brings it.'
        ) from error
    return plt


def settings() -> dict[str, Any]:
    """Return the style as matplotlib's settings."""
    return {
        "figure.dpi": 110,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.02,
        "figure.constrained_layout.h_pad": 0.02,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": pyplot().cycler(color=list(PALETTE.values())),
        "axes.titlesize": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "image.cmap": "Greys",
        "image.interpolation": "nearest",
        "svg.hashsalt": "minimeta",  # equal figures give equal files
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style inside a ``with`` block."""
    with pyplot().rc_context(settings()):
        yield


def use_style() -> None:
    """Draw in the book's style from here on: for notebooks.

    >>> from minimeta import viz
    >>> viz.use_style()
    """
    pyplot().rcParams.update(settings())
