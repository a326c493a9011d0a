"""Figures say what they show."""

import itertools

import matplotlib
import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.viz import PALETTE, show_episode, style

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
