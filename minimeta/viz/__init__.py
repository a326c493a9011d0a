"""Figures: one palette and one style for the whole book; needs ``minimeta[viz]``."""

from minimeta.viz.charts import embedding_map, intervals, learning_curves
from minimeta.viz.episode import show_episode
from minimeta.viz.slider import explore
from minimeta.viz.style import PALETTE, style, use_style

__all__ = [
    "PALETTE",
    "embedding_map",
    "explore",
    "intervals",
    "learning_curves",
    "show_episode",
    "style",
    "use_style",
]
