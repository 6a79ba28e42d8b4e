"""The folder of a pre-trained model: weights in half precision, tokenizer, and a model card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from tangentlm.params import Recipe

SIGNIFICANT = 0.05
"""One-sided level at which the card says that a model is better than chance or majority."""
_HEADER = """---
language: en
license: {licence}
tags:
  - fill-mask
  - masked-lm
  - {architecture}
  - neural-tangent-kernel
---
"""


@dataclass(frozen=True)
class Findings:
    """What was measured of a model, as its card shows it.

    Attributes:
        metrics: The run's numbers: tokens, steps, seconds, losses.
        fillings: From ``fillings``.
        pairs: From ``minimal_pairs``.
        tasks: From ``downstream``; may have no rows.
    """

    metrics: Mapping[str, Any]
    fillings: pd.DataFrame
    pairs: pd.DataFrame
    tasks: pd.DataFrame


def save_masked_lm(masked_lm: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model as ``transformers`` reads it, its weights rounded to half precision.

    Args:
        masked_lm: The model; not changed.
        tokenizer: Its tokenizer.
        folder: Made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    # The tied decoder and embedding stay one tensor, which is then stored once.
    once: dict[object, Any] = {}
    half = {
        name: once.setdefault((tensor.data_ptr(), tensor.shape), tensor.half())
        for name, tensor in masked_lm.state_dict().items()
    }
    masked_lm.save_pretrained(folder, state_dict=half)


def write_card(name: str, recipe: Recipe, text: str, findings: Findings, folder: Path) -> Path:
    """Write ``README.md``: what the model is, its training, and what it can and cannot do.

    Args:
        name: The model's name.
        recipe: How it was made.
        text: Where the text came from, in words.
        findings: What was measured.
        folder: The model's folder.

    Returns:
        The card's path.
    """
    sections = [
        _HEADER.format(
            architecture=recipe.architecture,
            # What goes on from another model's weights stays under that model's licence.
            licence="bsd-3-clause" if recipe.start is None else "apache-2.0",
        ),
        f"# {name}: a small masked language model\n",
        _what_it_is(recipe, findings.metrics),
        _training(recipe, text, findings.metrics),
        _can_and_cannot(findings),
        _LIMITS,
    ]
    path = folder / "README.md"
    path.write_text("\n".join(sections), encoding="utf-8")
    return path


def _what_it_is(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    tokenizer = "byte-level BPE" if recipe.start is None else f"that of {recipe.start}"
    words = "; every label word is one token" if recipe.start is None else ""
    return f"""## What it is

| | |
|---|---|
| architecture | {recipe.architecture}, {recipe.depth} layers, width {recipe.width}, \
{recipe.width // recipe.head_width} head(s), feed-forward {recipe.feed_forward_width} |
| parameters | {metrics["parameters"]:,}, embedding and decoder tied |
| parametrization | {metrics["parametrization"]} |
| tokenizer | {tokenizer}, {metrics["vocabulary"]:,} entries{words} |
| weights | half precision |
| longest row in training | {recipe.length} tokens |
"""


def _training(recipe: Recipe, text: str, metrics: Mapping[str, Any]) -> str:
    epochs = metrics["tokens"] / metrics["epoch_tokens"]
    passes = ", ".join(f"{part} {times}" for part, times in recipe.passes.items())
    mixture = f"- **Mixture**: how often an epoch reads a file, if not once: {passes}.\n"
    seconds = metrics["training_seconds"]
    time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
    start = (
        f"- **Start**: {recipe.start}; where that has no masked-LM head, with a new one. The head "
        f"learned alone for {100 * recipe.frozen:.0f} % of the budget; the encoder's rate is "
        f"{recipe.start_rate:g} times the head's.\n"
    )
    return f"""## Training

{start if recipe.start else ""}\
- **Text**: {text}; {metrics["corpus_tokens"]:,} tokens, and \
{metrics["held_out_tokens"]:,} held out.
{mixture if passes else ""}\
- **Amount**: {metrics["tokens"]:,} tokens seen ({epochs:.2f} epochs), in \
{metrics["steps"]:,} steps of {recipe.batch_size} rows of {recipe.length} tokens.
- **Objective**: masked language modelling, {100 * recipe.masked:.0f} % of the tokens masked.
- **Optimizer**: AdamW, peak rate {recipe.learning_rate:g}, warm-up {100 * recipe.warmup:.0f} % \
and decay {100 * recipe.decay:.0f} % of the budget, gradient norm clipped at 1, \
{metrics["precision"]}, seed {metrics["seed"]}.
- **Result**: {metrics["held_out_loss"]:.3f} nats a masked token of held-out text (perplexity \
{math.exp(metrics["held_out_loss"]):.1f}), {100 * metrics["held_out_accuracy"]:.1f} % guessed right.
- **Time**: {time} on {metrics["machine"]}.
"""


def _can_and_cannot(findings: Findings) -> str:
    pairs = findings.pairs
    better = [
        binomtest(int(row.right), int(row.pairs), alternative="greater").pvalue < SIGNIFICANT
        for row in pairs.itertuples()
    ]
    known = [name for name, good in zip(pairs["phenomenon"], better, strict=True) if good]
    unknown = [name for name, good in zip(pairs["phenomenon"], better, strict=True) if not good]
    lines = [
        "## What it can and cannot do\n",
        f"Of {len(pairs)} kinds of minimal pairs it is better than guessing (one-sided binomial "
        f"test, 5 %) in {len(known)}: {'; '.join(known) or 'none'}. It is not in {len(unknown)}: "
        f"{'; '.join(unknown) or 'none'}.\n",
        _markdown(pairs.assign(accuracy=pairs["accuracy"].map("{:.0f}".format))),
        "\nWhat it puts into a gap, with its probability:\n",
        _markdown(findings.fillings.map(lambda text: str(text).replace("_", r"\_"))),
    ]
    tasks = findings.tasks
    if tasks.empty:
        lines.append("\nAccuracy on the tasks: not measured.\n")
        return "\n".join(lines)
    lift = [
        binomtest(
            round(r.zero_shot / 100 * r.test), int(r.test), r.majority / 100, "greater"
        ).pvalue
        < SIGNIFICANT
        for r in tasks.itertuples()
    ]
    above = [name for name, good in zip(tasks["task"], lift, strict=True) if good]
    lines += [
        f"\nZero-shot, its prompt beats the majority class (binomial test, 5 %) on "
        f"{len(above)} of {len(tasks)} tasks: {', '.join(above) or 'none'}. Calibrated, each label "
        f"word's logit has its mean over the test texts subtracted. The probe is logistic "
        f"regression on its hidden state at the mask, {int(tasks['k'].max())} training "
        f"examples a class, mean over {int(tasks['seeds'].max())} samples of them (standard "
        f"deviation).\n",
        _markdown(_readable(tasks)),
        "",
    ]
    return "\n".join(lines)


def _readable(tasks: pd.DataFrame) -> pd.DataFrame:
    def one(value: float) -> str:
        return f"{value:.1f}"

    probe = [
        one(mean) if pd.isna(std) else f"{mean:.1f} ({std:.1f})"
        for mean, std in zip(tasks["probe"], tasks["probe_std"], strict=True)
    ]
    return pd.DataFrame(
        {
            "task": tasks["task"],
            "test rows": tasks["test"],
            "majority": tasks["majority"].map(one),
            "zero-shot": tasks["zero_shot"].map(one),
            "calibrated": tasks["calibrated"].map(one),
            "probe": probe,
        }
    )


def _markdown(table: pd.DataFrame) -> str:
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rule = "|" + "---|" * len(table.columns)
    body = ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join([head, rule, *body])


_LIMITS = """## Intended use and limits

It is a model to study fine-tuning with: to learn about kernels and prompts, to test code, and to
stand at the small end of a comparison. Do not use it to make decisions about people or to judge
texts that matter. Reviews, tweets and old books are among its text, and no study of its biases was
made; expect it to repeat what such text says. It saw rows of English only, fills masks only, and
knows next to no facts.
"""
