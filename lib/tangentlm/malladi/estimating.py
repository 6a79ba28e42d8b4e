"""The weighted sum that a claim is about, with its uncertainty: of our runs, and of the paper's.

Of our runs the sum is taken split by split, so what all methods have in common in a split cancels.
The paper prints a mean and a spread for each method, so its methods count as independent: its
intervals are as wide as they can be. Either takes in test rows (``tangentlm.analysis.sampling``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import pandas as pd

from tangentlm.analysis.estimates import Estimate, Source, combined
from tangentlm.analysis.sampling import (
    rows_told_rightly,
    variance_of_paired,
    variance_of_share,
    variance_of_unpaired,
)
from tangentlm.malladi.claims import Claim, Term
from tangentlm.malladi.ledger import PAPER_MODEL, PAPER_SEEDS, paper_numbers, reported
from tangentlm.malladi.measurements import PERFORMANCE

PAIRED, BINOMIAL, NO_ROWS = "paired", "binomial", "not counted"
"""How test rows were taken in: row by row; as shares of rows that are independent; or not at all,
as of a distance between kernels, or where a record does not say how many there were."""
_SPLIT = ["task", "title", "k", "seed"]


@dataclass(frozen=True)
class Found:
    """What a claim's sum is on one task and k.

    Attributes:
        title: The task.
        k: Examples a class.
        estimate: Of the sum.
        splits: On how many.
        rows: How test rows were taken in.
    """

    title: str
    k: int
    estimate: Estimate
    splits: int
    rows: str


def scores(table: pd.DataFrame, term: Term) -> pd.DataFrame:
    """The measurements of a term; a performance is in the task's own metric unless it says another.

    Args:
        table: From ``measurements``.
        term: The term.

    Returns:
        ``value``, ``rows`` and ``correct`` with the index task, title, k, seed.
    """
    columns = ["value", "rows", "correct"]
    if table.empty:
        return pd.DataFrame(columns=[*_SPLIT, *columns]).set_index(_SPLIT)
    chosen = (table["method"] == term.method) & (table["quantity"] == term.quantity)
    chosen &= (table["setting"] == term.setting) & (table["prompt"] == term.prompt)
    if term.metric:
        chosen &= table["metric"] == term.metric
    # A task scored by F1 has its accuracy as well, which comes after it.
    return table[chosen].drop_duplicates(_SPLIT).set_index(_SPLIT)[columns]


def of_runs(table: pd.DataFrame, claim: Claim) -> list[Found]:
    """A claim's sum on every task and k that was run.

    Args:
        table: From ``measurements``.
        claim: The claim.

    Returns:
        One each, in the order of the measurements; splits that not every method has do not count.
    """
    parts = [_numbered(table, term, place) for place, term in enumerate(claim.terms)]
    joined = reduce(lambda a, b: a.merge(b, on=[n for n in _SPLIT if n in a and n in b]), parts)
    if joined.empty or "k" not in joined:
        return []
    if claim.tasks:
        joined = joined[joined["title"].isin(claim.tasks)]
    order = {title: place for place, title in enumerate(table["title"].unique())}
    groups = sorted(
        joined.groupby(["title", "k"], sort=False), key=lambda named: order[named[0][0]]
    )
    return [_found(str(title), int(k), group, claim) for (title, k), group in groups]


def _numbered(table: pd.DataFrame, term: Term, place: int) -> pd.DataFrame:
    """A term's measurements with its place behind the names; zero-shot is the same for all k."""
    found = scores(table, term).add_suffix(f"_{place}").reset_index()
    return found.drop(columns="k") if term.method == "zero-shot" else found


def _found(title: str, k: int, group: pd.DataFrame, claim: Claim) -> Found:
    weights = [term.weight for term in claim.terms]
    values = [group[f"value_{place}"] for place in range(len(weights))]
    total = sum(w * v for w, v in zip(weights, values, strict=True))
    variance, rows = _of_rows(group, claim)
    return Found(title, k, Estimate.of_splits(total, variance), len(group), rows)


def _of_rows(group: pd.DataFrame, claim: Claim) -> tuple[float, str]:
    """The variance that comes from test rows, and how it was found."""
    places = range(len(claim.terms))
    sizes = [group[f"rows_{place}"].iloc[0] for place in places]
    measured = all(term.quantity == PERFORMANCE for term in claim.terms)
    if not measured or any(pd.isna(size) for size in sizes):
        return 0.0, NO_ROWS
    weights = [term.weight for term in claim.terms]
    if all(group[f"correct_{place}"].notna().all() for place in places):
        right = [rows_told_rightly(list(group[f"correct_{place}"])) for place in places]
        return variance_of_paired(weights, right), PAIRED
    percents = [float(group[f"value_{place}"].mean()) for place in places]
    return variance_of_unpaired(weights, percents, [int(size) for size in sizes]), BINOMIAL


def of_paper(claim: Claim, version: str = "malladi2023-icml") -> list[Found]:
    """A claim's sum on every task and k of which the paper prints all that it takes.

    The paper's spread is a standard deviation with N, not N - 1, below the line.

    Args:
        claim: The claim.
        version: Which version of the paper.

    Returns:
        One each.
    """
    numbers = _printed(version)
    sizes = reported("malladi_table2").set_index("title")["test"].astype(int)
    settings = dict.fromkeys((title, k) for title, k, *_ in numbers if k > 0)
    measured = all(term.quantity == PERFORMANCE for term in claim.terms)
    found = []
    for title, k in settings:
        parts = [_of_term(numbers, term, title, k, int(sizes[title])) for term in claim.terms]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and (not claim.tasks or title in claim.tasks):
            estimate = combined([term.weight for term in claim.terms], known)
            found.append(Found(title, k, estimate, PAPER_SEEDS, BINOMIAL if measured else NO_ROWS))
    return found


_Printed = dict[tuple[str, int, str, str, str, str, str], tuple[float, float]]


def _printed(version: str) -> _Printed:
    """Mean and spread by task, k, method, setting, prompt, quantity and metric."""
    numbers = paper_numbers()
    numbers = numbers[(numbers["paper"] == version) & (numbers["paper_model"] == PAPER_MODEL)]
    columns = ["title", "k", "method", "setting", "prompt", "quantity", "metric", "mean", "std"]
    found: _Printed = {}
    for title, k, *key, metric, mean, std in numbers[columns].itertuples(index=False):
        method, setting, prompt, quantity = key
        found[title, k, method, setting, prompt, quantity, metric] = (mean, std)
        # Without a metric, a performance is in the task's own: in F1 where the paper prints that.
        own = (title, k, method, setting, prompt, quantity, "")
        if metric == "f1" or own not in found:
            found[own] = (mean, std)
    return found


def _of_term(numbers: _Printed, term: Term, title: str, k: int, rows: int) -> Estimate | None:
    """What the paper prints of a term, if it does."""
    of_k = 0 if term.method == "zero-shot" else k
    key = (title, of_k, term.method, term.setting, term.prompt, term.quantity, term.metric)
    if key not in numbers:
        return None
    mean, std = numbers[key]
    sources = []
    if not pd.isna(std):
        sources.append(Source(std**2 / (PAPER_SEEDS - 1), PAPER_SEEDS))
    if term.quantity == PERFORMANCE:
        sources.append(Source(variance_of_share(mean, rows)))
    return Estimate(float(mean), tuple(sources))
