"""The checks on the page of errata print what the page says that they print."""

import contextlib
import io
import re

import pytest

from tangentlm.params import project_root

PAGE = (project_root() / "book" / "errata.md").read_text(encoding="utf-8")


def checks():
    """Every block of code, under the heading of its entry."""
    heading, found = "", []
    for part in re.split(r"^(?=### |```)", PAGE, flags=re.MULTILINE):
        if part.startswith("### "):
            heading = part.splitlines()[0].removeprefix("### ")
        if part.startswith("```python\n"):
            found.append(pytest.param(part.removeprefix("```python\n"), id=heading))
    return found


def said(code):
    """What the comments at the end of a block say that it prints."""
    lines = code.rstrip().splitlines()
    last = next(i for i in reversed(range(len(lines))) if not lines[i].startswith("# "))
    return [line.removeprefix("# ") for line in lines[last + 1 :]]


@pytest.mark.parametrize("code", checks())
def test_a_check_prints_what_the_page_says(code):
    expected = said(code)
    assert expected
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "errata.md", "exec"), {})
    assert printed.getvalue().splitlines() == expected


def test_every_erratum_of_tomihari_that_can_be_run_has_a_check():
    of_paper = PAGE.split("## Tomihari and Sato")[1].split("\n## ")[0]
    entries = re.split(r"^### ", of_paper, flags=re.MULTILINE)[1:]
    marked = {entry.splitlines()[0] for entry in entries if "(*run*" in entry}
    assert len(marked) >= 9
    assert marked == {entry.splitlines()[0] for entry in entries if "```python" in entry}
