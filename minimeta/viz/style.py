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


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style inside a ``with`` block."""
    plt = pyplot()
    settings = {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.02,
        "figure.constrained_layout.h_pad": 0.02,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": plt.cycler(color=list(PALETTE.values())),
        "image.cmap": "Greys",
        "image.interpolation": "nearest",
    }
    with plt.rc_context(settings):
        yield
