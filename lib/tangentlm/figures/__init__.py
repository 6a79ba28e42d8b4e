"""Figures of the book: readable in light and dark, by the colour-blind, with their data as CSV."""

from tangentlm.figures.agreement import agreement
from tangentlm.figures.bars import histogram, stacked_bars
from tangentlm.figures.comparisons import (
    claim_panels,
    differences,
    point_panels,
    spread_lines,
    unit_lines,
)
from tangentlm.figures.curves import lines, pretraining_curve, training_curves
from tangentlm.figures.forest import forest
from tangentlm.figures.foretold import foretold_panels
from tangentlm.figures.links import data_link
from tangentlm.figures.matrices import heat_map, kernel_matrix, matrix_product, selection_grid
from tangentlm.figures.panels import panel_lines
from tangentlm.figures.power_laws import power_laws
from tangentlm.figures.ranges import ranges
from tangentlm.figures.relations import relations
from tangentlm.figures.scatter import scatter_panels
from tangentlm.figures.style import COLOURS, INK, use_style

__all__ = [
    "COLOURS",
    "INK",
    "agreement",
    "claim_panels",
    "data_link",
    "differences",
    "forest",
    "foretold_panels",
    "heat_map",
    "histogram",
    "kernel_matrix",
    "lines",
    "matrix_product",
    "panel_lines",
    "point_panels",
    "power_laws",
    "pretraining_curve",
    "ranges",
    "relations",
    "scatter_panels",
    "selection_grid",
    "spread_lines",
    "stacked_bars",
    "training_curves",
    "unit_lines",
    "use_style",
]
