"""What a masked-LM does on the tasks: zero-shot with the prompt, and a linear probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from tangentlm.metrics import score
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.heads import load_model
from tangentlm.models.logits import logits_of
from tangentlm.tasks import Example, Task, at_most_per_class, has_rows, load_task, read_part
from tangentlm.tasks.prompts import encode

SEEDS = (13, 21, 42, 87, 100)
_INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 4


class MaskFeatures(nn.Module):
    """What the decoder reads at the mask, h(s) of shape (N, n), from a model with a prompt head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        masked_lm: Any = model.masked_lm
        self.decoder = masked_lm.get_output_embeddings()

    def forward(self, **batch: Tensor) -> Tensor:
        """The hidden state that the label words' logits are linear in.

        Args:
            **batch: Rows with one mask each.

        Returns:
            (N, n).
        """
        seen: list[Tensor] = []
        hook = self.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            self.model(**batch)
        finally:
            hook.remove()
        return seen[0].squeeze(1)


def downstream(
    model: str,
    tasks: Iterable[str],
    *,
    k: int = 64,
    seeds: Sequence[int] = SEEDS,
    test_size: int = 1000,
    data: str | Path | None = None,
) -> pd.DataFrame:
    """Zero-shot and probe accuracy of a model on the tasks whose data is at hand.

    The probe is logistic regression on the standardised hidden state at the mask, with k training
    examples a class (fewer where a class has fewer) and its penalty chosen by cross-validation on
    them; the test examples serve nothing but the score, and, without their labels, the mean that is
    subtracted from each label word's logit for the calibrated zero-shot accuracy.

    Args:
        model: A name of ``params/models``, or a folder that holds a masked-LM.
        tasks: Names of tasks; one whose data is not at hand is left out.
        k: Training examples a class.
        seeds: Of the draws of training examples.
        test_size: At most so many test examples, the same for every seed.
        data: The data folder; overrides the variable.

    Returns:
        A row a task: ``task``, ``test`` (rows), ``majority``, ``zero_shot``, ``calibrated``,
        ``probe`` (mean over seeds), ``k``, ``probe_std``, ``seeds``; accuracies in percent.
    """
    rows = []
    for name in tasks:
        task = load_task(name)
        if not has_rows(task, data):
            continue
        rows.append(_on_task(model, task, k, seeds, test_size, data))
    return pd.DataFrame(rows)


def _on_task(
    name: str,
    task: Task,
    k: int,
    seeds: Sequence[int],
    test_size: int,
    data: str | Path | None,
) -> dict[str, Any]:
    tokenizer = load_tokenizer(name)
    model = load_model(name, task)
    features = MaskFeatures(model)
    test = at_most_per_class(read_part(task, "test", data), task, test_size, 0)[:test_size]
    labels = np.array([example.label for example in test])
    majority = np.full(len(labels), np.bincount(labels).argmax())
    test_features = logits_of(features, encode(task, tokenizer, test))
    # The label words' logits are linear in the features, so one pass gives both.
    logits = features.decoder(test_features)
    train = read_part(task, "train", data)
    probes = []
    for seed in seeds:
        chosen = at_most_per_class(train, task, k, seed)
        trained = logits_of(features, encode(task, tokenizer, chosen)).numpy()
        probes.append(_probe(trained, chosen, test_features.numpy(), labels))
    return {
        "task": task.name,
        "test": len(test),
        "majority": score(labels, majority),
        "zero_shot": score(labels, logits.argmax(dim=1).numpy()),
        "calibrated": score(labels, (logits - logits.mean(dim=0)).argmax(dim=1).numpy()),
        "probe": float(np.mean(probes)),
        "k": k,
        "probe_std": float(np.std(probes, ddof=1)) if len(probes) > 1 else None,
        "seeds": len(probes),
    }


def _probe(
    train: NDArray[np.float32],
    chosen: Sequence[Example],
    test: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> float:
    y = np.array([example.label for example in chosen])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    probe = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=_INVERSE_PENALTIES,
            cv=folds,
            max_iter=2000,
            scoring="accuracy",
            use_legacy_attributes=False,
            l1_ratios=(0.0,),
        ),
    )
    probe.fit(train, y)
    return score(labels, probe.predict(test))
