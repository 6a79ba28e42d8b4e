"""What Malladi et al. claim, as statements that numbers can contradict.

A claim is about a weighted sum of measurements, e.g. the kernel's score less 0.9 times that of
fine-tuning, and says between which bounds it lies. So the same claim can be asked of our runs,
where the sum is taken split by split, and of the means and spreads that the paper prints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tangentlm.malladi.measurements import DISTANCE, PERFORMANCE

SIMILAR = 4.0
"""Points within which two methods count as comparable. The paper says so of SGD and Adam; of other
pairs it says "similar", and the same margin is ours."""
SOLVES = 0.90
"""The share of fine-tuning's performance from which the kernel solves a task."""
LINEAR = 0.5
"""The share of the improvement from which the Taylor model follows fine-tuning."""
FIXED = 2.0
"""The mean relative distance of the kernel's entries below which features are fixed."""
SENTIMENT = ("SST-2", "MR", "CR")
PROMPTED = (*SENTIMENT, "QNLI", "RTE", "QQP")
"""The tasks of Figure 1."""
TUNING_AND_KERNEL = {"SGD": ("SGD-FT", "K-SGD"), "Adam": ("Adam-FT", "K-SignGD")}
"""For each optimizer its fine-tuning, and the kernel by which Table 1 judges it."""


@dataclass(frozen=True)
class Term:
    """A measurement in a weighted sum.

    Attributes:
        weight: Its weight.
        method: The paper's name of the method.
        setting: ``"prompt"`` or ``"standard"``.
        prompt: The paper's name of the prompt; empty in the standard setting.
        quantity: One of those that ``measurements`` names.
        metric: Of a performance; by default the task's own.
    """

    weight: float
    method: str
    setting: str = "prompt"
    prompt: str = "manual"
    quantity: str = PERFORMANCE
    metric: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        name: What a table's row is called.
        says: What the paper says, in our words.
        where: Table or section of the ICML version.
        terms: The weighted sum that it is about.
        least: The least value of the sum for which the claim holds.
        most: The largest.
        tasks: The titles of the tasks that it is about; all where it is empty.
        unit: Of the sum.
        shown: The part of the paper's page that has its numbers: the label to link to.
    """

    name: str
    says: str
    where: str
    terms: tuple[Term, ...]
    least: float = -math.inf
    most: float = math.inf
    tasks: tuple[str, ...] = ()
    unit: str = "points"
    shown: str = ""


def _solving(kernel: str, tuning: str) -> Claim:
    return Claim(
        f"{kernel} solves the task",
        f"The kernel reaches {100 * SOLVES:.0f} % of what {tuning} reaches.",
        "Tables 1, 2 and 10",
        (Term(1.0, kernel), Term(-SOLVES, tuning)),
        least=0.0,
        shown="malladi-table-2a",
    )


def _following(tuning: str) -> Claim:
    """In accuracy, as in Figure 2."""
    return Claim(
        f"the Taylor model follows {tuning}",
        f"It recovers {100 * LINEAR:.0f} % of what {tuning} gains.",
        "Tables 1 and 5, Figure 2",
        (
            Term(1.0, f"linearized {tuning}", metric="accuracy"),
            Term(-LINEAR, tuning, metric="accuracy"),
            Term(LINEAR - 1.0, "zero-shot", metric="accuracy"),
        ),
        least=0.0,
        shown="malladi-table-5",
    )


def _fixed(tuning: str, kernel: str) -> Claim:
    return Claim(
        f"the kernel is fixed along {tuning}",
        f"Its entries move by less than {FIXED:g} times what they are.",
        "Tables 1 and 7",
        (Term(1.0, f"{tuning} ({kernel} before/after)", quantity=DISTANCE),),
        most=FIXED,
        unit="relative distance",
        shown="malladi-table-7b",
    )


def _comparing(
    name: str, first: str, second: str, where: str, shown: str, *, whose: str = "our margin"
) -> Claim:
    return Claim(
        name,
        f"{first} and {second} differ by at most {SIMILAR:g} points ({whose}).",
        where,
        (Term(1.0, first), Term(-1.0, second)),
        least=-SIMILAR,
        most=SIMILAR,
        shown=shown,
    )


def _gap_grows(
    name: str, says: str, where: str, shown: str, tasks: tuple[str, ...], setting: str, prompt: str
) -> Claim:
    """By how much fine-tuning is further ahead of the kernel than with the manual prompt."""
    return Claim(
        name,
        says,
        where,
        (
            Term(1.0, "SGD-FT", setting, prompt),
            Term(-1.0, "K-SGD", setting, prompt),
            Term(-1.0, "SGD-FT"),
            Term(1.0, "K-SGD"),
        ),
        least=0.0,
        tasks=tasks,
        shown=shown,
    )


CLAIMS = (
    _solving("K-SGD", "SGD-FT"),
    _solving("K-SignGD", "Adam-FT"),
    _solving("K-A-SignGD", "Adam-FT"),
    _following("SGD-FT"),
    _following("Adam-FT"),
    _gap_grows(
        "prompting is needed",
        "Without a prompt, fine-tuning is further ahead of the kernel than with one.",
        "Figure 1, Table 6",
        "malladi-table-6a",
        PROMPTED,
        "standard",
        "",
    ),
    _comparing(
        "SGD is as good as Adam",
        "SGD-FT",
        "Adam-FT",
        "Section 6, Table 2",
        "malladi-table-2a",
        whose="the paper's",
    ),
    _comparing("SignGD is as good as Adam", "SignGD-FT", "Adam-FT", "Table 10", "malladi-table-10"),
    _comparing(
        "LoRA is as good as full fine-tuning",
        "SGD-LoRA-FT",
        "SGD-FT",
        "Table 12",
        "malladi-table-12",
    ),
    _comparing(
        "LoRA's kernel is as good as the full one",
        "K-LoRA-SGD",
        "K-SGD",
        "Table 12",
        "malladi-table-12",
    ),
    _gap_grows(
        "null prompts lose the kernel",
        "On sentiment, the kernel falls further behind fine-tuning with a null prompt.",
        "Table 9",
        "malladi-table-9",
        SENTIMENT,
        "prompt",
        "null",
    ),
)
"""The claims on performance."""
PROPERTIES_OF = {
    optimizer: (
        _solving(kernel, tuning),
        _following(tuning),
        _fixed(tuning, "K-SGD" if optimizer == "SGD" else "kernel"),
    )
    for optimizer, (tuning, kernel) in TUNING_AND_KERNEL.items()
}
"""Table 1 as claims, for each optimizer: the kernel solves the task, the Taylor model follows, the
kernel is fixed."""
DERIVED_SOLVES = _solving("K-A-SignGD", "Adam-FT")
"""What the first of them would be along Adam with the kernel that the paper derives for it."""
