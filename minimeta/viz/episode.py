"""One episode as a picture: the support set above, the queries below, and what was predicted."""

from typing import Any

import torch
from torch import Tensor

from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.viz.style import PALETTE, pyplot, style


def show_episode(
    episode: Episode,
    scores: Tensor | None = None,
    *,
    task: int = 0,
    queries: int = 6,
    title: str = "",
) -> Any:
    """Draw one task of an episode of images.

    Parameters
    ----------
    episode
        Images (T, ·, channels, height, width) in [0, 1], 1 or 3 channels. One channel is ink, so 1 is
        drawn black.
    scores
        (T, R, N), a learner's predictions; each query is then framed: blue if the right class scored
        highest, red and a cross if not.
    task
        Which of the T tasks.
    queries
        At most so many queries a class.

    Returns
    -------
    matplotlib.figure.Figure
        Rows are classes; the column left of the gap is the support set. Its ``alt`` attribute says
        the same in words.
    """
    if episode.ways is None or episode.support_x.ndim != 5:
        raise MinimetaError(
            f"an episode of items {tuple(episode.support_x.shape[2:])} was given; only images (channels, "
            "height, width) with class labels can be shown."
        )
    plt, ways = pyplot(), episode.ways
    shown = [_rows(episode.support_y[task], n) for n in range(ways)]
    asked = [_rows(_labels(episode)[task], n)[:queries] for n in range(ways)]
    shots, most = max(map(len, shown)), max(map(len, asked))
    right = total = 0
    with style():
        figure, axes = plt.subplots(
            ways, shots + most + 1, squeeze=False, figsize=(0.72 * (shots + most + 0.4), 0.8 * ways + 0.3),
            gridspec_kw={"width_ratios": [1] * shots + [0.4] + [1] * most},
        )  # fmt: skip
        for axis in axes.flat:
            axis.set_axis_off()
        for n in range(ways):
            for column, row in enumerate(shown[n]):
                _picture(axes[n, column], episode.support_x[task, row])
                if column == 0:
                    axes[n, 0].set_title(f"class {n}", fontsize=8, loc="left", pad=2)
            for column, row in enumerate(asked[n]):
                axis = axes[n, shots + 1 + column]
                _picture(axis, episode.query_x[task, row])
                if scores is not None:
                    said = int(scores[task, row].argmax())
                    right, total = right + (said == n), total + 1
                    _judge(axis, said, correct=said == n)
        figure.suptitle(title or "support set  |  queries", fontsize=10)
    words = f"{ways} classes, one a row: {shots} support image(s) each, then up to {most} queries."
    figure.alt = words + (
        f" {right} of {total} queries shown are right." if scores is not None else ""
    )
    return figure


def _labels(episode: Episode) -> Tensor:
    if episode.query_y is None:
        raise MinimetaError("the episode has no query_y; give the queries' labels to arrange them.")
    return episode.query_y


def _rows(labels: Tensor, n: int) -> list[int]:
    return torch.nonzero(labels == n).flatten().tolist()


def _picture(axis: Any, image: Tensor) -> None:
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#C8C8C8")
    pixels = image.detach().cpu().permute(1, 2, 0).numpy()
    axis.imshow(pixels[..., 0] if len(image) == 1 else pixels, vmin=0, vmax=1)


def _judge(axis: Any, said: int, *, correct: bool) -> None:
    colour = PALETTE["blue"] if correct else PALETTE["red"]
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.6)
    if not correct:  # a mark besides the colour
        axis.set_title(f"✕ said {said}", fontsize=7, color=colour, pad=2)
