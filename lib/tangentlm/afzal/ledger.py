"""The ledger: every number of the paper beside ours.

The paper gives no spread, and its seeds of head and samples are not known. So a condition number of
ours counts as the same where the paper's lies within our range over heads and draws. That rule was
set before the runs of the study. Counts of parameters have to agree to the printed digits. Our
fine-tunings, of other models on a few hundred rows, stand beside the paper's and decide nothing.
"""

from __future__ import annotations

import pandas as pd

from tangentlm.afzal.fine_tunings import STANDS_FOR, every_outcome, in_paper_words
from tangentlm.afzal.measurements import kappas, seconds, spread_of, with_options
from tangentlm.analysis.verdicts import COMPATIBLE, DIFFERS, NOT_RUN, UNDECIDED
from tangentlm.params import project_root

PAPER_MODEL = "roberta-base"
KAPPA = "condition number"
MEASURES = {
    "condition_number": KAPPA, "train_loss": "train loss", "eval_loss": "evaluation loss",
    "eval_accuracy": "evaluation accuracy",
}  # fmt: skip
_WORDS = {"query+value": "q+v", "key": "k"}
_WIDTH, _RANK = 768, 8
"""Of RoBERTa-base, and LoRA's."""


def reported(table: int) -> pd.DataFrame:
    """One of the paper's three tables.

    Args:
        table: 1, 2 or 3.

    Returns:
        Its rows as printed.
    """
    folder = project_root() / "results" / "reported"
    return pd.read_csv(folder / f"afzal_table{table}.csv")


def lora_parameters(width: int, rank: int, matrices: int) -> int:
    """How many numbers LoRA trains on square matrices: 2 r d for each.

    Args:
        width: d.
        rank: r.
        matrices: How many are adapted.

    Returns:
        The number.
    """
    return 2 * rank * width * matrices


def head_parameters(width: int, num_classes: int) -> int:
    """The parameters of a dense layer and a linear layer, with biases.

    Args:
        width: d.
        num_classes: C.

    Returns:
        d (d + 1) + C (d + 1).
    """
    return (width + num_classes) * (width + 1)


def model_parameters(width: int, layers: int, vocabulary: int, positions: int) -> int:
    """The parameters of RoBERTa with its head for masked words.

    Args:
        width: d; the layers inside are four times as wide.
        layers: L.
        vocabulary: V, the tokens.
        positions: T, for which it has embeddings, the two that padding takes included.

    Returns:
        (V + T + 3) d of the embeddings, their one type and their norm; L (12 d^2 + 13 d) of
        matrices, biases and norms; d^2 + 3 d + V of the head, whose decoder is the embedding.
    """
    embeddings = (vocabulary + positions + 3) * width
    return embeddings + layers * (12 * width**2 + 13 * width) + width**2 + 3 * width + vocabulary


def paper_numbers() -> pd.DataFrame:
    """Every number that the paper prints, a row each.

    Returns:
        ``table``, ``title`` (of the task), ``choice`` (of layers), ``quantity`` and ``paper``.
        Figure 1 has no numbers of its own: its points are those of Table 1.
    """
    first = reported(1)
    layers = first["lora_layers"].str.replace("+", ",")
    first["choice"] = first["lora_projections"].map(_WORDS) + " {" + layers + "}"
    first = first.rename(columns={"task": "title"} | MEASURES)
    second = reported(2).rename(columns={"task": "title"}).assign(choice="k {0,5,11}")
    third = reported(3).rename(columns={"task": "title"}).assign(choice="")
    settings = ["warmup_ratio", "max_length", "lora_r", "lora_alpha", "epochs", "batch_size"]
    settings += ["learning_rate", "ntk_samples", "sigma"]
    counts = pd.DataFrame(
        {
            "title": "all", "choice": "k {0,5,11}",
            "quantity": ["LoRA parameters (K)", "parameters (M)"], "paper": [36.8, 0.628],
        }
    )  # fmt: skip
    of_a_matrix = pd.DataFrame(
        [("all", "", "LoRA parameters of a matrix", 2 * 768 * 8)],  # so it is printed
        columns=["title", "choice", "quantity", "paper"],
    )
    of_data_and_model = pd.DataFrame(
        [("all", "", "parameters of the model (M)", 125), ("IMDb", "", "reviews", 50_000)],
        columns=of_a_matrix.columns,
    )
    parts = {
        "Table 1": _long(first, list(MEASURES.values())),
        "Table 2": _long(second, ["fine_tuning_seconds", "ntk_seconds"]),
        "Section 4": of_a_matrix,
        "Section 4.1": counts,
        "Appendix A": of_data_and_model,
        "Table 3": _long(third, settings),
    }
    every = pd.concat([part.assign(table=name) for name, part in parts.items()], ignore_index=True)
    every["quantity"] = every["quantity"].str.replace("_", " ")
    return every[["table", "title", "choice", "quantity", "paper"]]


def _long(table: pd.DataFrame, quantities: list[str]) -> pd.DataFrame:
    return table.melt(["title", "choice"], quantities, "quantity", "paper")


def compare(study: str = "afzal") -> pd.DataFrame:
    """A row for each number of the paper: paper, ours, verdict.

    Args:
        study: The study whose runs are ours.

    Returns:
        The columns of ``paper_numbers`` with ``ours``, ``low``, ``high``, ``verdict`` and
        ``reason``.
    """
    kappa = with_options(kappas(study))
    ours = spread_of(kappa, ["title", "choice"]).assign(quantity=KAPPA)
    model = "" if kappa.empty else str(kappa["model"].iloc[0])
    keys = ["title", "choice", "quantity"]
    both = paper_numbers().merge(ours[[*keys, "ours", "low", "high"]], on=keys, how="left")
    both = both.astype(dict.fromkeys(("ours", "low", "high"), float))
    both = both.assign(verdict=NOT_RUN, reason="nobody has run it in this study")
    _judge_kappas(both, model)
    _judge_counts(both)
    _note_seconds(both, seconds(study))
    _note_outcomes(both, in_paper_words(every_outcome()))
    both.loc[both["quantity"] == "reviews", "reason"] = "the size of a data set"
    settings = both["table"] == "Table 3"
    both.loc[settings, "reason"] = "a setting of the paper's training, which nobody has run"
    return both


def _judge_kappas(both: pd.DataFrame, model: str) -> None:
    here = (both["quantity"] == KAPPA) & both["ours"].notna()
    inside = both["paper"].between(both["low"], both["high"])
    both.loc[here, "verdict"] = inside[here].map({True: COMPATIBLE, False: DIFFERS})
    both.loc[here, "reason"] = "" if model == PAPER_MODEL else f"another model: {model}"


def _judge_counts(both: pd.DataFrame) -> None:
    """The paper's counts, from the shapes of RoBERTa-base; where it trains it cuts digits off."""
    lora = lora_parameters(_WIDTH, _RANK, matrices=3)
    whole = model_parameters(_WIDTH, layers=12, vocabulary=50_265, positions=514)
    counted = {
        "LoRA parameters (K)": (lora / 1e3, 0, 0.1),
        "parameters (M)": ((lora + head_parameters(_WIDTH, 2)) / 1e6, 0, 0.001),
        "LoRA parameters of a matrix": (lora_parameters(_WIDTH, _RANK, matrices=1), 0, 0),
        "parameters of the model (M)": (whole / 1e6, -0.5, 0.5),
    }
    for quantity, (value, below, above) in counted.items():
        row = both["quantity"] == quantity
        agrees = ((value - both.loc[row, "paper"]).between(below, above)).all()
        both.loc[row, ["ours", "verdict"]] = [value, COMPATIBLE if agrees else DIFFERS]
        both.loc[row, "reason"] = "counted from the shapes of RoBERTa-base"


def _note_seconds(both: pd.DataFrame, found: pd.DataFrame) -> None:
    """Seconds of another machine and model stand beside the paper's and decide nothing."""
    for row in found.itertuples():
        here = (both["title"] == row.title) & (both["quantity"] == "ntk seconds")
        both.loc[here, ["ours", "verdict"]] = [row.one_subset_seconds, UNDECIDED]
        both.loc[here, "reason"] = f"another machine and model; {row.pool} samples, one head"


def _note_outcomes(both: pd.DataFrame, own: pd.DataFrame) -> None:
    """What our models reached at the same task and choice; the first of ``STANDS_FOR`` counts."""
    if own.empty:
        return
    measures = {name: words for name, words in MEASURES.items() if words != KAPPA}
    names = dict(zip(measures, ("train_loss", "eval_loss", "accuracy"), strict=True))
    for model in reversed(STANDS_FOR):
        for row in own[own["model"] == model].to_dict("records"):
            place = (both["title"] == row["title"]) & (both["choice"] == row["choice"])
            for column, words in measures.items():
                here, name = place & (both["quantity"] == words), names[column]
                values = [row[name], row[f"{name}_low"], row[f"{name}_high"], UNDECIDED]
                both.loc[here, ["ours", "low", "high", "verdict"]] = values
                seeds = "one seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
                both.loc[here, "reason"] = (
                    f"another model: {model}, {row['train_size']} rows, {seeds}"
                )
