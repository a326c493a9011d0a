"""Charts of results: points with intervals, learning curves with bands, maps of embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minimeta.errors import MinimetaError
from minimeta.evaluate import Result, half_width
from minimeta.viz.style import PALETTE, pyplot, style

MARKERS = "os^Dv<>P"
COLOURS = [PALETTE[name] for name in ("blue", "red", "green", "orange", "purple", "sky", "grey")]


def intervals(
    rows: Mapping[str, Result | tuple[float, float]], *, xlabel: str = "accuracy",
    chance: float | None = None, axis: Any = None,
) -> Any:  # fmt: skip
    """Draw one point with its 95 % interval a row, the first row on top.

    Parameters
    ----------
    rows
        Name -> a :class:`minimeta.Result`, or mean and half-width of the interval.
    xlabel
        What is measured.
    chance
        Where guessing would be: a dashed line.
    axis
        A matplotlib axis to draw on; None: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axis that was drawn on.

    Examples
    --------
    >>> intervals({"pixels": (0.55, 0.01), "learned": (0.96, 0.005)}, chance=0.2).get_xlabel()
    'accuracy'
    """
    with style():
        axis = axis or pyplot().subplots(figsize=(5.6, 0.42 * len(rows) + 0.9))[1]
        for i, row in enumerate(rows.values()):
            mean, half = (row.mean, row.ci95) if isinstance(row, Result) else row
            axis.errorbar(mean, -i, xerr=half, fmt="o", color=PALETTE["blue"], capsize=3)
        if chance is not None:
            axis.axvline(chance, color=PALETTE["grey"], linestyle="--", linewidth=1)
            axis.annotate(
                "chance", (chance, 0.6), color=PALETTE["grey"], fontsize=8, xytext=(3, -3), textcoords="offset points",
            )  # fmt: skip
        axis.set_yticks([-i for i in range(len(rows))], list(rows))
        axis.set_ylim(0.6 - len(rows), 0.6)
        axis.set_xlabel(xlabel)
        axis.grid(axis="x", color="#E4E4E4")
        axis.set_axisbelow(True)
    return axis


def learning_curves(
    curves: Mapping[str, Any], *, x: Sequence[float] | None = None, xlabel: str = "outer step",
    ylabel: str = "accuracy", axis: Any = None,
) -> Any:  # fmt: skip
    """Draw mean curves over training seeds with 95 % bands (Student's t).

    Parameters
    ----------
    curves
        Name -> (seeds, points) numbers; one seed is drawn without a band.
    x
        Where the points lie; None: 0, 1, 2, ...
    xlabel, ylabel
        Names of the axes.
    axis
        A matplotlib axis to draw on; None: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axis that was drawn on.

    Examples
    --------
    >>> learning_curves({"MAML": [[0.2, 0.6, 0.7], [0.2, 0.5, 0.8]]}).get_ylabel()
    'accuracy'
    """
    with style():
        axis = axis or pyplot().subplots(figsize=(5.6, 3.2))[1]
        for i, (name, rows) in enumerate(curves.items()):
            y = torch.as_tensor(rows, dtype=torch.float64)
            if y.ndim != 2 or 0 in y.shape:
                raise MinimetaError(
                    f"the curve {name!r} has shape {tuple(y.shape)}; give (seeds, points), one row a seed."
                )
            where = list(range(y.shape[1])) if x is None else list(x)
            colour, mean = COLOURS[i % len(COLOURS)], y.mean(0)
            axis.plot(
                where,
                mean,
                color=colour,
                marker=MARKERS[i % len(MARKERS)],
                markersize=4,
                label=name,
            )
            if len(y) > 1:
                half = torch.tensor([half_width(column, over="seeds") for column in y.T])
                axis.fill_between(
                    where, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0
                )
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        axis.legend()
    return axis


def embedding_map(
    points: Tensor, labels: Tensor, *, prototypes: Tensor | None = None,
    names: Sequence[str] | None = None, axis: Any = None,
) -> Any:  # fmt: skip
    """Draw embedded examples as points, one colour and shape a class, and prototypes as large ones.

    Parameters
    ----------
    points
        (B, dim); with more than two dimensions, their two principal directions are shown.
    labels
        (B,) int64.
    prototypes
        (N, dim), drawn large in their class's colour.
    names
        N words for the legend; None: "class 0", ...
    axis
        A matplotlib axis to draw on; None: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axis that was drawn on.

    Examples
    --------
    >>> z = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    >>> embedding_map(z, torch.tensor([0, 0, 1])).get_xlabel()
    ''
    """
    z = points.detach().cpu().double()
    if z.ndim != 2 or z.shape[1] < 2 or labels.shape != z.shape[:1]:
        raise MinimetaError(
            f"points of shape {tuple(points.shape)} and labels of shape {tuple(labels.shape)} were given; a map "
            "needs (B, dim) with at least two dimensions, and (B,) labels."
        )
    centres = None if prototypes is None else prototypes.detach().cpu().double()
    if z.shape[1] > 2:
        mean = z.mean(0)
        plane = torch.linalg.svd(z - mean, full_matrices=False).Vh[:2].T  # (dim, 2)
        largest = plane.abs().argmax(0, keepdim=True)
        plane = plane * plane.gather(0, largest).sign()  # a direction's sign is arbitrary: fix it
        z = (z - mean) @ plane
        centres = None if centres is None else (centres - mean) @ plane
    with style():
        axis = axis or pyplot().subplots(figsize=(4.6, 4))[1]
        for n in labels.unique().tolist():
            look = dict(color=COLOURS[n % len(COLOURS)], marker=MARKERS[n % len(MARKERS)])
            mine = z[(labels == n).cpu()]
            axis.scatter(mine[:, 0], mine[:, 1], s=18, alpha=0.6, linewidths=0, **look)
            at = mine.mean(0) if centres is None else centres[n]
            size = 18 if centres is None else 150
            label = f"class {n}" if names is None else names[n]
            axis.scatter(*at[:, None], s=size, edgecolors="black", label=label, **look)
        axis.set_aspect("equal", adjustable="datalim")
        axis.legend(markerscale=0.6 if centres is not None else 1)
    return axis
