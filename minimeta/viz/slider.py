"""Interactive figures that stay alive on a page without a kernel."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from minimeta.errors import MinimetaError, shown
from minimeta.viz.style import pyplot, style

MOST = 20  # frames: each is a picture that the page carries


def explore(
    draw: Callable[[Any], Any],
    values: Sequence[Any],
    *,
    label: str,
    alt: str | Callable[[Any], str],
    start: int = 0,
) -> Any:
    """Return a slider over figures, one drawn beforehand for each value.

    The slider and the pictures are joined in the browser, so the figure moves in Jupyter, and in the
    built book where no Python runs. Colab's ipywidgets 7 cannot join them; there its kernel does.

    Parameters
    ----------
    draw
        Maps a value to a matplotlib figure. Fix the limits of its axes: then only the data move.
    values
        2 to 20 values, the stops of the slider.
    label
        What the slider changes.
    alt
        The figure in words, or a function that says what it shows at a value.
    start
        Position of the first value shown.

    Returns
    -------
    ipywidgets.VBox
        The slider above the figure.

    Raises
    ------
    MinimetaError
        If ipywidgets is missing, or for too few or too many values, or an empty description.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> def draw(power):
    ...     figure, axis = plt.subplots()
    ...     _ = axis.plot([x**power for x in range(5)])
    ...     return figure
    >>> explore(draw, [1, 2, 3], label="power", alt="A power function").children[0].label
    '1'
    """
    widgets = _ipywidgets()
    values = list(values)
    if not 2 <= len(values) <= MOST or not 0 <= start < len(values):
        raise MinimetaError(
            f"{len(values)} values and start={shown(start)} were given; a slider has 2 to {MOST} values and "
            "starts at one of them."
        )
    words = [alt(v) if callable(alt) else f"{alt}; {label} = {v}" for v in values]
    if not label or not all(w and isinstance(w, str) for w in words):
        raise MinimetaError(
            "a figure without a label or a description was given; say what moves and what is to be seen, for "
            "readers who cannot see it."
        )
    frames = [
        f'<img alt="{html.escape(w)}" style="max-width:100%" src="data:image/png;base64,{_png(draw, v)}">'
        for v, w in zip(values, words, strict=True)
    ]
    slider = widgets.SelectionSlider(
        options=[str(v) for v in values],
        index=start,
        description=label,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="min(34rem, 98%)"),
    )
    if hasattr(widgets, "Stack"):
        view = widgets.Stack([widgets.HTML(frame) for frame in frames], selected_index=start)
        widgets.jslink((slider, "index"), (view, "selected_index"))
    else:
        view = widgets.HTML(frames[start])
        slider.observe(lambda change: setattr(view, "value", frames[change["new"]]), names="index")
    return widgets.VBox([slider, view])


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise MinimetaError(
            'sliders need ipywidgets, which is not installed; pip install "minimeta[viz]" brings it.'
        ) from error
    return ipywidgets


def _png(draw: Callable[[Any], Any], value: Any) -> str:
    """Draw one frame: a PNG of 64 colours, a third as large and the same to the eye."""
    from PIL import Image

    plt = pyplot()
    with style():
        figure = draw(value)
        if not isinstance(figure, plt.Figure):
            raise MinimetaError(
                f"draw({shown(value)}) returned a {type(figure).__name__}; it must return the matplotlib "
                "figure it drew."
            )
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=120)
        plt.close(figure)
    small = io.BytesIO()
    picture = Image.open(raw).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
