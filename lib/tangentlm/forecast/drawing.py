"""Small pictures for a page that must need nothing else: SVG, coloured by the page's own style.

Colours are classes that ``page/report.css`` knows, so that a picture is right in light, in dark and
on paper. What is drawn in colour has a shape or a pattern of its own, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

CHARACTER = 7.2
"""The width of a character of the pictures' writing, about."""


@dataclass(frozen=True)
class Scale:
    """Where a value lies in a picture.

    Attributes:
        low: The value at ``start``.
        high: The value at ``end``.
        start: A place in the picture.
        end: Another one.
        logarithmic: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The place of a value, rounded to what an eye can see.

        Args:
            value: Any value.

        Returns:
            A place; beyond the ends for a value beyond them.
        """
        change: Callable[[float], float] = math.log if self.logarithmic else float
        low, high = change(self.low), change(self.high)
        part = (change(value) - low) / (high - low)
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values between the ends.

        Args:
            count: About so many.

        Returns:
            The values, ascending.
        """
        values = MaxNLocator(count).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


class Drawing:
    """A picture that is as wide as its place, with a description for those who do not see it."""

    def __init__(self, width: float, height: float, description: str) -> None:
        """Begin an empty picture.

        Args:
            width: In units of which 12 are the height of a line of text.
            height: In the same.
            description: What is to be seen, in words.
        """
        self.root = ElementTree.Element(
            "svg",
            {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": description},
        )

    def add(self, tag: str, style: str, hover: str | None = None, **places: float | str) -> None:
        """Add one element.

        Args:
            tag: E.g. ``"circle"``.
            style: Its classes.
            hover: What it says under the mouse.
            **places: Its attributes.
        """
        given = {name: f"{value:g}" if isinstance(value, float | int) else value
                 for name, value in places.items()}  # fmt: skip
        element = ElementTree.SubElement(self.root, tag, {"class": style, **given})
        if hover is not None:
            ElementTree.SubElement(element, "title").text = hover

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """A straight line from one point to another."""
        self.add("line", style, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line through points."""
        self.add("path", style, d="M" + "L".join(f"{x:g},{y:g}" for x, y in points))

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Words that begin at a point, or end at it (``end``), or have it in the middle."""
        self.add("text", f"words {style}".strip(), x=x, y=y)
        self.root[-1].text = words

    def mark(self, x: float, y: float, number: int, style: str, hover: str) -> None:
        """A point, in the shape that belongs to a number."""
        r = 4.5
        if number % 4 == 0:
            self.add("circle", style, hover, cx=x, cy=y, r=r)
            return
        shapes = {1: [(-4, -4), (4, -4), (4, 4), (-4, 4)], 2: [(0, -5), (5, 4), (-5, 4)],
                  3: [(0, -6), (5, 0), (0, 6), (-5, 0)]}  # fmt: skip
        corners = " ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in shapes[number % 4])
        self.add("polygon", style, hover, points=corners)

    def markup(self) -> Markup:
        """The picture, to stand in a page as it is.

        Returns:
            An ``svg`` element.
        """
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))


def margin_for(names: Sequence[str], longest: int = 20) -> tuple[float, list[str]]:
    """Room for names at the left of a picture.

    Args:
        names: The names.
        longest: Longer names are cut.

    Returns:
        The width, and the names as they fit.
    """
    cut = [name if len(name) <= longest else name[: longest - 1] + "…" for name in names]
    return CHARACTER * max((len(name) for name in cut), default=0) + 12, cut
