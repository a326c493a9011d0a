"""The drawn figures are of the results there are now."""

from pathlib import Path

import figures  # tools/figures.py
import pytest

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_was_drawn_from_the_results_of_today(name):
    drawn = (STATIC / f"{name}.svg").read_text(encoding="utf8")
    assert figures.stamp(name) in drawn, "run python tools/figures.py"
