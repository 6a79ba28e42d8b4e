"""SetFit, a baseline that needs no prompt (Tunstall et al., 2022), by its authors' package.

A sentence encoder is trained on pairs of texts, of one class or of two, so that texts of one class
come to lie together; logistic regression on its vectors then tells the classes. The package is an
optional extra: ``pip install "tangentlm[setfit]"``.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from typing import Any

import numpy as np

from tangentlm.errors import InputError
from tangentlm.forecast.near_duplicates import joined
from tangentlm.forecast.outcomes import Outcome, draw_texts
from tangentlm.forecast.problem import MAX_LENGTH
from tangentlm.models.checkpoints import checkpoint_location
from tangentlm.models.logits import pick_device
from tangentlm.params import SetFitRun


def installed() -> bool:
    """Whether the package ``setfit`` is there."""
    return find_spec("setfit") is not None


def setfit_outcomes(run: SetFitRun) -> list[Outcome]:
    """What SetFit reaches on test rows, and what its head reaches on the encoder as it was.

    Of a pair of texts SetFit reads one text, both with `` | `` between them.

    Args:
        run: Its parameters; the model is one for sentences, read by the mean of its tokens.

    Returns:
        ``"SetFit, untrained"`` and ``"SetFit"``.

    Raises:
        InputError: If the package, the rows or the model are not at hand.
    """
    if not installed():
        raise InputError('SetFit is not installed: pip install "tangentlm[setfit]"')
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression

    _, train, test = draw_texts(run)
    told = {}
    model = SetFitModel(
        _sentence_encoder(run.model, str(pick_device(run.device))),
        LogisticRegression(max_iter=1000),
    )
    model.fit(joined(train), list(train.labels), num_epochs=1)
    told["SetFit, untrained"] = model.predict(joined(test))
    rows = Dataset.from_dict({"text": joined(train), "label": list(train.labels)})
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, batch_size=run.batch_size, num_epochs=1, num_iterations=run.pairs,
            body_learning_rate=run.learning_rate, seed=run.seed, report_to="none",
            save_strategy="no", show_progress_bar=False,
        )  # fmt: skip
        Trainer(model, args=arguments, train_dataset=rows).train()
    told["SetFit"] = model.predict(joined(test))
    labels = np.array(test.labels)
    return [Outcome.of(way, np.asarray(predicted), labels) for way, predicted in told.items()]


def _sentence_encoder(model: str, device: str) -> Any:
    """A model of the project as ``sentence_transformers`` takes it: mean of tokens, norm 1."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    folder, _ = checkpoint_location(model)
    words = Transformer(folder, max_seq_length=MAX_LENGTH)
    pooled = Pooling(words.auto_model.config.hidden_size, "mean")
    return SentenceTransformer(modules=[words, pooled, Normalize()], device=device)
