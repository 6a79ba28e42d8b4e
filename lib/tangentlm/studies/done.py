"""Whether a run is done: by its folder, by its collected row, or not at all.

A run's folder appears at once and whole, so its presence means done. So does a row of the collected
results: a study goes on in another checkout. Both only while the run's identity is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tangentlm.params import BOOK_STUDIES, PretrainRun, Run
from tangentlm.studies.collect import collected_identity
from tangentlm.studies.identity import Identity, identity
from tangentlm.studies.records import read_record


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        state: ``"done"``, ``"collected"`` (done elsewhere: only its results are here), ``"stale"``
            (done, but what decides its result has changed) or ``"to do"``.
        why: Why it is stale, in a few words; empty otherwise.
        unknown: Parts of its identity that are not at hand, so that nobody compared them.
    """

    state: Literal["done", "collected", "stale", "to do"]
    why: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether the run has to be executed."""
        return self.state in ("stale", "to do")


def standing(run: Run, study: str) -> Standing:
    """How a run of a study stands.

    Args:
        run: The run.
        study: Its study.

    Returns:
        Its state, and why.
    """
    record = read_record(run.folder(study))
    found = None if record is None else _compared("done", str(record.get("identity", "")), run)
    # A page of the book needs its notebook, a model its weights: there a row will not do.
    if found is not None and (found.state == "done" or not _row_will_do(run, study)):
        return found
    row = collected_identity(run, study) if _row_will_do(run, study) else None
    if row is None:
        return found or Standing("to do")
    collected = _compared("collected", row, run)
    return collected if found is None or not collected.waits else found


def _row_will_do(run: Run, study: str) -> bool:
    return study not in BOOK_STUDIES and not isinstance(run, PretrainRun)


def _compared(state: Literal["done", "collected"], text: str, run: Run) -> Standing:
    recorded = Identity.parse(text)
    if recorded is None:
        return Standing("stale", ("its record has no identity",))
    now = identity(run)
    differences = now.differences(recorded)
    if differences:
        return Standing("stale", tuple(differences))
    return Standing(state, unknown=tuple(now.not_compared(recorded)))
