"""The paper's four tasks by how padding is treated: the hypothesis of what orders them.

The chapter "Padding that the model reads" says what it is worth.
"""

from __future__ import annotations

import pandas as pd

from tangentlm.afzal.ledger import KAPPA
from tangentlm.afzal.measurements import CHOICES, spread_of, with_options
from tangentlm.afzal.tables import in_words
from tangentlm.analysis.rank_correlation import kendall_tau

PRINTED = "RoBERTa-base, as printed"
WAYS = {
    "minilm, padding masked": ("masked", "sgd"),
    "minilm, padding read": ("attended", "sgd"),
    "minilm, padding read, kernel of SignGD": ("attended", "signgd"),
}
"""Padding and formula of our runs, with rows of up to 512 tokens."""
_CHOSEN = CHOICES[3:]
"""Three layers, of queries and values or of keys: the choices of the paper's Figure 1."""


def by_padding(ledger: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Condition numbers of the paper's tasks, printed and for each of ``WAYS``.

    Args:
        ledger: From ``ledger.compare``.
        measured: From ``measurements.kappas``; may be empty.

    Returns:
        ``panel`` (whose), ``choice``, ``title``, ``ours`` (printed, or the median), ``low`` and
        ``high`` over heads and draws.
    """
    printed = ledger[(ledger["quantity"] == KAPPA) & ledger["choice"].isin(_CHOSEN)]
    printed = printed.assign(**dict.fromkeys(("ours", "low", "high"), printed["paper"]))
    parts = [printed.assign(panel=PRINTED)]
    for panel, (pads, formula) in WAYS.items():
        runs = with_options(measured, pads=pads, formula=formula)
        ours = spread_of(runs, ["title", "choice"])
        parts.append(ours[ours["choice"].isin(_CHOSEN)].assign(panel=panel))
    return pd.concat(parts, ignore_index=True)[["panel", "choice", "title", "ours", "low", "high"]]


def in_order(padding: pd.DataFrame) -> pd.DataFrame:
    """The same with a column for each task, and the rank correlation with the printed numbers.

    Args:
        padding: From ``by_padding``.

    Returns:
        ``layers``, ``whose``, a column a task in words, and ``tau with printed``, missing where a
        task was not run.
    """
    tasks = list(dict.fromkeys(padding["title"]))
    rows = []
    for choice in _CHOSEN:
        of_choice = padding[padding["choice"] == choice]
        printed = of_choice[of_choice["panel"] == PRINTED].set_index("title")["ours"][tasks]
        for panel, own in of_choice.groupby("panel", sort=False):
            numbers = own.set_index("title").reindex(tasks)
            if panel == PRINTED:
                words = [f"{value:,.10g}" for value in numbers["ours"]]  # with all its digits
            else:
                spreads = numbers[["ours", "low", "high"]].itertuples(index=False)
                words = [in_words(*spread) for spread in spreads]
            cells = dict(zip(tasks, words, strict=True))
            complete = numbers["ours"].notna().all()
            tau = kendall_tau(printed, numbers["ours"]) if complete else float("nan")
            rows.append({"layers": choice, "whose": panel, **cells, "tau with printed": tau})
    return pd.DataFrame(rows)
