"""Figures: one palette and one style for the whole book; needs matplotlib (``minimeta[viz]``)."""

from minimeta.viz.episode import show_episode
from minimeta.viz.style import PALETTE, style

__all__ = ["PALETTE", "show_episode", "style"]
