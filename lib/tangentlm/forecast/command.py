"""``tangentlm forecast``: a file of labelled texts becomes a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tangentlm.forecast.files import read_files
from tangentlm.forecast.report import check_place, write_report
from tangentlm.params.base import check_model


def forecast_file(
    file: str,
    *,
    columns: Mapping[str, str],
    model: str,
    test: str | None,
    template: str | None,
    label_words: Sequence[str] | None,
    budget: float,
    seed: int,
    out: str,
    dry_run: bool,
    started: float,
) -> None:
    """Print what was read and what is planned, compute it, and write the page.

    Args:
        file: The file of labelled texts.
        columns: Where its columns are, where they are not to be guessed.
        model: A name of ``params/models``, or a folder.
        test: A file to predict.
        template: The prompt.
        label_words: A word a class.
        budget: Minutes.
        seed: All that is random follows it.
        out: The page.
        dry_run: Whether to stop at the plan.
        started: From when on the budget counts, by ``time.perf_counter``.

    Raises:
        InputError: For what is wrong with the file, the model, the prompt or the page's place.
    """
    page = Path(out)
    if not dry_run:
        check_place(page)
    check_model(model)
    texts, tested = read_files(file, test, columns=columns)
    # What is wrong so far is said at once; only what follows needs torch, which takes seconds.
    from tangentlm.forecast.forecast import compute
    from tangentlm.forecast.prepare import prepare

    prepared = prepare(
        texts, tested, model=model, template=template, label_words=label_words, budget=budget,
        seed=seed, started=started,
    )  # fmt: skip
    if dry_run:
        return
    found = compute(prepared)
    print("", *found.answer, "", sep="\n")
    print(*write_report(found, page), sep="\n")
