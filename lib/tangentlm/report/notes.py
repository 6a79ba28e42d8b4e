"""What stands around a page's results: a switch for its code, and what the page took."""

from __future__ import annotations

import json
import time
from pathlib import Path

from IPython.display import HTML, Markdown

import tangentlm
from tangentlm.studies.records import peak_memory, processor


def code_switch() -> HTML:
    """A switch that shows or hides all folded code of a page; at first there is none to see.

    Returns:
        The switch; the book's style sheet does the rest.
    """
    return HTML(
        '<label class="code-switch"><input type="checkbox"> Show the code of this page</label>'
    )


def cost_note(path: Path) -> Markdown:
    """What a run took, measured, as a note to end its page with.

    Args:
        path: Its record.

    Returns:
        A note in MyST.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    return _cost_markdown(record["cost"]["seconds"], record["cost"]["peak_bytes"])


def page_cost_note() -> Markdown:
    """What the running page has taken so far, measured, as a note to end it with.

    Returns:
        A note in MyST.
    """
    return _cost_markdown(time.perf_counter() - tangentlm.STARTED, peak_memory())


def _cost_markdown(seconds: float, peak_bytes: int) -> Markdown:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return Markdown(
        f":::{{admonition}} Measured cost\n:class: seealso\nThis page took {seconds:.0f} s and "
        f"{peak_bytes / 2**30:.1f} GiB at its peak, with {torch.get_num_threads()} thread(s) of "
        f"{device}.\n:::"
    )
