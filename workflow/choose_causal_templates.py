"""Try the candidate templates for causal models on training texts, and keep the table.

    TANGENTLM_DATA=/path/to/data python workflow/choose_causal_templates.py smollm2

Each task's candidates (``params/candidates/causal.yaml``, written down before any was tried) are
asked of the training texts of one split, without fine-tuning. What counts is the accuracy after
each logit's mean over those texts has been subtracted: without that, the likelier label word would
win everywhere. The best candidate of a task is its ``causal`` template, put there by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
from tqdm import tqdm

from tangentlm.metrics import score
from tangentlm.models.checkpoints import load_pretrained, load_tokenizer
from tangentlm.models.heads import CausalPromptModel
from tangentlm.models.logits import logits_of
from tangentlm.params import project_root, read_yaml
from tangentlm.studies.collect import results_folder
from tangentlm.tasks import Task, has_rows, load_split, load_task
from tangentlm.tasks.prompts import encode_prompts, label_word_ids, labels_of

K, SEED = 16, 13


def candidates() -> Iterator[tuple[Task, str]]:
    """Every task that has data at hand, with each of its candidates."""
    groups = read_yaml(project_root() / "params" / "candidates" / "causal.yaml")
    for group in groups.values():
        if isinstance(group, dict):
            for task in map(load_task, group["tasks"]):
                if has_rows(task):
                    yield from ((task, template) for template in group["templates"])


def measured(task: Task, template: str, language_model: Any, tokenizer: Any) -> dict[str, object]:
    """The accuracy of one candidate, as it stands and calibrated."""
    asked = Task.parse({**task.model_dump(), "template": template}, f"task {task.name}")
    rows = load_split(task, K, SEED, test_size=1).train
    decoder = language_model.get_output_embeddings()
    model = CausalPromptModel(language_model, label_word_ids(asked, tokenizer)).eval()
    try:
        logits = logits_of(model, encode_prompts(asked, tokenizer, rows)).double().numpy()
    finally:
        language_model.set_output_embeddings(decoder)
    labels = labels_of(rows).numpy()
    centred = logits - logits.mean(axis=0)
    return {
        "task": task.name,
        "template": template,
        "rows": len(rows),
        "accuracy": score(labels, logits.argmax(axis=1)),
        "calibrated": score(labels, centred.argmax(axis=1)),
    }


def main(name: str) -> None:
    """Try all, write the table, print the best of each task."""
    language_model, tokenizer = load_pretrained(name, "causal"), load_tokenizer(name)
    found = [
        measured(task, template, language_model, tokenizer)
        for task, template in tqdm(list(candidates()), unit="candidate")
    ]
    table = pd.DataFrame(found).assign(model=name)
    path = results_folder("data") / "causal_templates.csv"
    table.to_csv(path, index=False)
    best = table.loc[table.groupby("task", sort=False)["calibrated"].idxmax()]
    print(best.to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
