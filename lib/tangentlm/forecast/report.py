"""A forecast as one page of HTML that needs nothing else, and the same as JSON beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tangentlm.errors import InputError
from tangentlm.forecast import pictures
from tangentlm.forecast.result import Forecast
from tangentlm.studies.records import environment

MADE_BY = "tangentlm forecast"
"""What both files say of themselves near their beginning, so that the next one may replace them."""
SHOWN = 240
"""Characters of a text that the page shows."""
HOVER = 1500
"""Characters of a text that the page shows under the mouse."""
ROWS = 100
"""At most so many rows of a list are in the page; all are in the JSON."""
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def write_report(forecast: Forecast, path: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, the same as JSON; both are whole or as they were before.

    Args:
        forecast: What the page is about.
        path: The page's file, ``*.html``.

    Returns:
        The two files.

    Raises:
        InputError: If a file of another origin is there, or the folder is not.
    """
    check_place(path)
    made = environment("auto")
    content = {"made_by": MADE_BY, **json.loads(forecast.to_json()), "environment": made}
    texts = {
        path: page(forecast, made),
        path.with_suffix(".json"): json.dumps(content, indent=1) + "\n",
    }
    try:
        for file, text in texts.items():
            _part(file).write_text(text, encoding="utf-8")
        for file in texts:
            _part(file).replace(file)
    finally:
        for file in texts:
            _part(file).unlink(missing_ok=True)
    return path, path.with_suffix(".json")


def check_place(path: Path) -> None:
    """Refuse a place where no report may be written, so that nothing is computed in vain.

    Args:
        path: The page's file; its JSON lies beside it.

    Raises:
        InputError: If it is no ``.html``, its folder is missing, or another file would be lost.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the report is a page of HTML: {str(path)!r} has to end in .html")
    if not path.parent.is_dir():
        raise InputError(f"no folder {str(path.parent)!r} for the report")
    for file in (path, path.with_suffix(".json")):
        if file.exists() and not _ours(file):
            raise InputError(
                f"{str(file)!r} is no report of this command and is not replaced; "
                "name another place with --out"
            )


def _ours(file: Path) -> bool:
    """Whether a file is a report that was written here before."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return f'"{MADE_BY}"'.encode() in opened.read(400)


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")


def page(forecast: Forecast, made: Mapping[str, Any]) -> str:
    """The page.

    Args:
        forecast: What it is about.
        made: Versions and machine, as ``tangentlm.studies.records.environment`` gives them.

    Returns:
        HTML in which every text of the user's is escaped and isolated.
    """
    plain = visible(json.loads(forecast.to_json()))
    drawn = _pictures(plain)
    return _templates().get_template("report.html").render(
        **plain, made=made, pictures=drawn, picture_data=_kernel_data(plain["kernel"]),
        made_by=MADE_BY, rows_shown=ROWS, methods=pictures.METHODS,
    )  # fmt: skip


def _pictures(plain: Mapping[str, Any]) -> dict[str, Markup]:
    """The pictures that there is something to draw of."""
    drawn = {}
    scores = [
        pictures.Interval(score["method"], score["accuracy"], score["low"], score["high"],
                          pictures.series(score["method"]))
        for score in plain["scores"]
    ]  # fmt: skip
    if any(row.value is not None for row in scores):
        drawn["scores"] = pictures.dot_plot(
            scores, "accuracy on held-out rows (%)", "Accuracy with its interval of 95 %."
        )
    if plain["differences"]:
        differences = [
            pictures.Interval(f"{_brief(own['better'])} − {_brief(own['worse'])}", own["points"],
                              own["low"], own["high"], pictures.series(own["better"]))
            for own in plain["differences"]
        ]  # fmt: skip
        drawn["differences"] = pictures.dot_plot(
            differences, "difference (points)", "Paired differences with intervals of 95 %.",
            reference=0,
        )  # fmt: skip
    curve = [point for point in plain["curve"] if None not in point.values()]
    if curve:
        drawn["curve"] = pictures.learning_curves(curve)
    layers = [layer for layer in plain["layers"] if layer["share"] is not None]
    if layers:
        drawn["layers"] = pictures.layer_bars(layers)
    if any(row["kernel"] is not None for row in plain["past"]["rows"]):
        drawn["past"] = pictures.past_tasks(plain["past"]["rows"])
    return drawn


def _brief(method: str) -> str:
    return method.removesuffix(" regression").removeprefix("bag of ")


def _kernel_data(kernel: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page's script draws the kernel from."""
    if not kernel["values"]:
        return None
    packed = pictures.packed_kernel(kernel["values"])
    texts = [shortened(text, SHOWN) for text in kernel["texts"]]
    labels = [shortened(label, 40) for label in kernel["labels"]]
    return packed | {"rows": kernel["rows"], "texts": texts, "labels": labels}


def visible(value: Any) -> Any:
    r"""Plain values whose texts hold nothing that a page cannot hold, or that hides what is there.

    Args:
        value: Texts, numbers, lists and mappings.

    Returns:
        The same with control characters as their pictures (``␀`` for NUL), and orders to
        write in another direction and halves of surrogate pairs as ``�``.

    Examples:
        >>> visible({"text": "one\x00two"})
        {'text': 'one␀two'}
    """
    if isinstance(value, str):
        return _SURROGATE.sub("�", _INVISIBLE.sub(_picture, value))
    if isinstance(value, Mapping):
        return {visible(key): visible(part) for key, part in value.items()}
    return [visible(part) for part in value] if isinstance(value, list) else value


def _picture(found: re.Match[str]) -> str:
    code = ord(found.group())
    return chr(0x2400 + code) if code < 0x20 else "�"


def shortened(text: str, longest: int) -> str:
    """A text on one line, cut where it is too long.

    Args:
        text: Any text.
        longest: The number of its characters that are kept.

    Returns:
        The text, with how long it was behind a cut.

    Examples:
        >>> shortened("one two three", 7)
        'one two … (13 characters)'
    """
    line = " ".join(text[: 8 * longest].split())
    if len(line) <= longest and len(text) <= 8 * longest:
        return line
    return f"{line[:longest].rstrip()} … ({len(text):,} characters)"


def _user_text(text: str, longest: int = SHOWN) -> Markup:
    """A text of the user's, isolated so that it turns no other around; more under the mouse."""
    short = shortened(text, longest)
    if not text.strip():
        return Markup('<span class="quiet">(empty)</span>')
    hover = f' title="{escape(shortened(text, HOVER))}"' if short.endswith(" characters)") else ""
    return Markup(f'<bdi dir="auto"{hover}>{escape(short)}</bdi>')


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}".replace("-", "−")


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _duration(minutes: float | None) -> str:
    """Minutes in the unit in which people would say them."""
    if minutes is None:
        return "–"
    if minutes < 1.5:
        seconds = 60 * minutes
        return "under a second" if seconds < 1 else f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _memory(mebibytes: float | None) -> str:
    if mebibytes is None:
        return "–"
    if mebibytes < 1:
        return "under 1 MiB"
    return f"{mebibytes:.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.1f} GiB"


def _count(value: float) -> str:
    """A number of parameters, short."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:,.0f}"


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("tangentlm.forecast", "page"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "text": _user_text, "number": _number, "signed": _signed, "duration": _duration,
        "memory": _memory, "short_count": _count,
    }  # fmt: skip
    templates.globals |= {"interval": _interval, "series": pictures.series}
    return templates
