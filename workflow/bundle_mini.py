"""Put the model ``mini`` into ``assets``: cut its vocabulary, write its card and notice.

    TANGENTLM_CORPUS=/path/to/corpus python workflow/bundle_mini.py

The study *mini* has to be run first. What is written is its model with the 24,000 entries of its
vocabulary that its text uses most; logits of texts that have only these are what they were.
"""

from __future__ import annotations

from pathlib import Path

from tangentlm.models.checkpoints import (
    checkpoint_location,
    load_checkpoint,
    load_masked_lm,
    load_tokenizer,
)
from tangentlm.params import load_recipe, project_root
from tangentlm.pretrain import open_corpus, prepare
from tangentlm.pretrain.card import save_masked_lm
from tangentlm.pretrain.cut_vocabulary import cut_vocabulary, entries_to_keep
from tangentlm.pretrain.vocabulary import label_words_of_all_tasks

MODEL = "run:mini/mini-w384-s13-standard"
SIZE = 24_000


def main() -> None:
    """Write ``assets/mini``."""
    recipe, tokenizer = load_recipe("mini"), load_tokenizer(MODEL)
    text = prepare(open_corpus(), recipe.vocabulary, recipe.max_length, start=recipe.start).train
    keep = entries_to_keep(tokenizer, text.tokens, SIZE, label_words_of_all_tasks())
    model, cut = cut_vocabulary(load_masked_lm(MODEL), tokenizer, keep)
    folder = project_root() / "assets" / "mini"
    save_masked_lm(model, cut, folder)
    card = (Path(checkpoint_location(MODEL)[0]) / "README.md").read_text(encoding="utf-8")
    size = sum(parameter.numel() for parameter in model.parameters())
    whole = f"that of {recipe.start}, {recipe.vocabulary:,} entries"
    if whole not in card:
        raise SystemExit(f"the card of {MODEL} does not say {whole!r}")
    told = f"{whole}, cut to the {SIZE:,} that the text uses most ({size:,} parameters left)"
    title = "# mini-w384-s13-standard: "
    card = card.replace(whole, told).replace(title, "# mini: ")
    (folder / "README.md").write_text(card, encoding="utf-8")
    _write_notice(folder, str(recipe.start))


def _write_notice(folder: Path, start: str) -> None:
    package = load_checkpoint(start).package
    assert package is not None
    (folder / "NOTICE").write_text(
        f"The encoder of this model began as that of all-MiniLM-L6-v2 ({package.licence}; package "
        f"{package.name} {package.version}).\n{package.made}\n"
        "Changes: a language-model head was added, all weights were trained further on English "
        "text as a masked\n"
        "language model, rounded to half precision, and the vocabulary was cut.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
