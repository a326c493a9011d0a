"""Figures say what they show, and sliders move without a kernel."""

import base64
import itertools
import re
import types

import ipywidgets
import matplotlib
import matplotlib.pyplot
import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.viz import (
    PALETTE,
    embedding_map,
    explore,
    intervals,
    learning_curves,
    show_episode,
    style,
    use_style,
)

matplotlib.use("Agg")


@pytest.fixture
def episode():
    return mm.tasks("glyphs", split="test", ways=3, shots=2, queries=4).at([0, 1])


def test_every_picture_is_in_its_place(episode):
    figure = show_episode(episode, task=1, queries=3)
    images = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(images) == 3 * (2 + 3)
    assert torch.equal(torch.as_tensor(images[0].data), episode.support_x[1, 0, 0])
    matplotlib.pyplot.close(figure)


def test_answers_are_framed_and_counted(episode):
    scores = mm.ProtoNet(nn.Flatten())(episode)
    figure = show_episode(episode, scores, queries=4)
    right = int((scores[0].argmax(-1) == episode.query_y[0]).sum())
    assert f"{right} of 12 queries shown are right" in figure.alt
    crosses = [axis for axis in figure.axes if axis.get_title().startswith("✕")]
    assert len(crosses) == 12 - right
    matplotlib.pyplot.close(figure)


def test_the_style_ends_with_its_block():
    before = matplotlib.rcParams["axes.spines.top"]
    with style():
        assert not matplotlib.rcParams["axes.spines.top"]
    assert matplotlib.rcParams["axes.spines.top"] == before


def test_colours_differ_in_brightness_for_every_eye():
    def luminance(colour):
        return sum(w * int(colour[i : i + 2], 16) for w, i in ((0.299, 1), (0.587, 3), (0.114, 5)))

    shown = sorted(luminance(PALETTE[name]) for name in ("blue", "orange", "red"))
    assert all(b - a > 10 for a, b in itertools.pairwise(shown))


def test_what_is_no_picture_gets_a_sentence():
    with pytest.raises(MinimetaError, match="only images"):
        show_episode(mm.tasks("sinusoids").at([0]))


def draw(power):
    figure, axis = matplotlib.pyplot.subplots(figsize=(3, 2))
    axis.plot([x**power for x in range(5)])
    axis.set_ylim(0, 70)
    return figure


def frames(box):
    """The pictures of a slider, and their descriptions."""
    pages = box.children[1].children
    found = [re.fullmatch(r'<img alt="(.*?)" .*base64,(.*)">', page.value) for page in pages]
    return [m[1] for m in found], [base64.b64decode(m[2]) for m in found]


def test_each_stop_of_a_slider_is_its_own_picture_and_description():
    before = len(matplotlib.pyplot.get_fignums())
    box = explore(draw, [1, 2, 3], label="power", alt=lambda p: f'"x^{p}" < {4**p + 1}', start=1)
    words, pictures = frames(box)
    assert words == [f"&quot;x^{p}&quot; &lt; {4**p + 1}" for p in (1, 2, 3)]
    assert len(set(pictures)) == 3 and all(p.startswith(b"\x89PNG") for p in pictures)
    assert box.children[0].index == box.children[1].selected_index == 1
    assert len(matplotlib.pyplot.get_fignums()) == before  # nothing is left open


def test_slider_and_pictures_are_joined_in_the_browser_not_in_python():
    box = explore(draw, [1, 2], label="power", alt="x^p")
    everything = ipywidgets.widgets.widget._instances.values()
    links = [w for w in everything if isinstance(w, ipywidgets.widgets.widget_link.Link)]
    joined = [link for link in links if link.source[0] is box.children[0]]
    assert [(link.source[1], link.target[0] is box.children[1]) for link in joined] == [
        ("index", True)
    ]


def test_equal_figures_are_equal_bytes():
    first, second = (explore(draw, [1, 2], label="power", alt="x^p") for _ in range(2))
    assert frames(first) == frames(second)


def test_a_slider_with_the_ipywidgets_of_colab_swaps_the_picture_in_python(monkeypatch):
    old = types.SimpleNamespace(
        **{n: getattr(ipywidgets, n) for n in ("SelectionSlider", "HTML", "VBox", "Layout")}
    )
    monkeypatch.setattr("minimeta.viz.slider._ipywidgets", lambda: old)
    box = explore(draw, [1, 2, 3], label="power", alt="x^p")
    assert "power = 1" in box.children[1].value
    box.children[0].index = 2
    assert "power = 3" in box.children[1].value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(values=[1]), "2 to 20 values"),
        (dict(values=range(21)), "2 to 20 values"),
        (dict(start=3), "starts at one of them"),
        (dict(label=""), "without a label"),
        (dict(alt=lambda p: None), "without a label"),
        (dict(draw=lambda p: None), "must return the matplotlib figure"),
    ],
)
def test_a_slider_that_cannot_work_gets_a_sentence(change, said):
    arguments = dict(draw=draw, values=[1, 2, 3], label="power", alt="x^p") | change
    with pytest.raises(MinimetaError, match=said):
        explore(arguments.pop("draw"), arguments.pop("values"), **arguments)


def test_intervals_are_drawn_where_the_numbers_are():
    result = mm.meta_test(mm.ProtoNet(nn.Flatten()), mm.tasks("glyphs", split="test"), episodes=20)
    axis = intervals({"pixels": result, "other": (0.9, 0.02)}, chance=0.2)
    assert [t.get_text() for t in axis.get_yticklabels()] == ["pixels", "other"]
    for container, (mean, half) in zip(
        axis.containers, [(result.mean, result.ci95), (0.9, 0.02)], strict=True
    ):
        (segment,) = container[2][0].get_segments()
        assert segment[:, 0].tolist() == pytest.approx([mean - half, mean + half])
    matplotlib.pyplot.close(axis.figure)


def test_learning_curves_show_the_mean_and_students_interval():
    rows = torch.tensor([[0.2, 0.5], [0.4, 0.7], [0.3, 0.9]])
    axis = learning_curves({"a": rows, "b": rows[:1]}, x=[0, 100])
    assert axis.lines[0].get_ydata().tolist() == pytest.approx(rows.mean(0).tolist())
    (band,) = axis.collections  # one seed has no band
    half = mm.half_width(rows[:, 1], over="seeds")
    corners = band.get_paths()[0].vertices
    assert corners[corners[:, 0] == 100][:, 1].max() == pytest.approx(
        float(rows[:, 1].mean()) + half
    )
    matplotlib.pyplot.close(axis.figure)
    with pytest.raises(MinimetaError, match="one row a seed"):
        learning_curves({"a": [0.1, 0.2]})


def test_a_map_of_many_dimensions_keeps_the_two_that_matter():
    g = torch.Generator().manual_seed(0)
    flat = torch.randn(30, 2, generator=g)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=g)).Q[:2]  # a plane in 8 dimensions
    labels = torch.arange(3).repeat(10)
    axis = embedding_map(flat @ turn, labels, prototypes=torch.zeros(3, 8))
    shown = torch.cat([torch.as_tensor(c.get_offsets()) for c in axis.collections[::2]])
    order = labels.argsort(stable=True)
    assert torch.allclose(torch.pdist(shown.double()), torch.pdist(flat[order].double()), atol=1e-5)
    matplotlib.pyplot.close(axis.figure)
    with pytest.raises(MinimetaError, match="at least two dimensions"):
        embedding_map(flat[:, :1], labels)


def test_the_style_of_a_notebook_stays():
    with matplotlib.rc_context():
        use_style()
        assert not matplotlib.rcParams["axes.spines.top"]


def test_a_map_of_balanced_directions_is_not_flat():
    steps = torch.arange(6.0)
    along = torch.tensor([[1.0, -1.0, 0.0]]) / 2**0.5  # its entries add up to 0
    points = steps.view(-1, 1) * along + 0.1 * torch.eye(3)[torch.arange(6) % 3]
    axis = mm.viz.embedding_map(points, torch.zeros(6, dtype=torch.int64))
    drawn = axis.collections[0].get_offsets()
    assert drawn[:, 0].max() - drawn[:, 0].min() > 4
