"""What is looked at before a fine-tuning and after every epoch of it (Figures 1 and 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import Labelled, select_rows
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import PooledFeatures
from tangentlm.models.logits import logits_of
from tangentlm.tomihari.features import feature_change


def features_and_logits(model: LinearHeadModel, samples: Labelled) -> tuple[Tensor, Tensor]:
    """The features of some samples and the logits that the head makes of them.

    Args:
        model: With a linear head.
        samples: N samples.

    Returns:
        (N, h) and (N, C), in eval mode.
    """
    was_training = model.training
    model.eval()
    features = logits_of(PooledFeatures(model), samples.batch)
    model.train(was_training)
    return features, logits_from(model, features)


@torch.no_grad()
def logits_from(model: LinearHeadModel, features: Tensor) -> Tensor:
    """The logits that the head makes of features that are there.

    Args:
        model: With a linear head.
        features: (N, h).

    Returns:
        (N, C), on the CPU.
    """
    logits: Tensor = model.classifier(features.to(model.classifier.weight.device)).cpu()
    return logits


class EpochTrace:
    """Measures a fine-tuning as it goes; hand it to ``fine_tune`` as ``observe``.

    The features of the training samples are compared with those at the start.
    """

    def __init__(
        self, model: LinearHeadModel, train: Labelled, dev: Labelled, *, at_most: int
    ) -> None:
        index = slice(0, at_most)
        self._train = Labelled(select_rows(train.batch, index), train.labels[index])
        self._dev = dev
        self._model = model
        self._start = {
            "train": features_and_logits(model, self._train)[0],
            "dev": features_and_logits(model, dev)[0],
        }
        self.rows: list[dict[str, Any]] = []
        self(0, model)

    def __call__(self, step: int, _model: nn.Module) -> None:
        """Add a row to ``rows``.

        Args:
            step: The number of steps so far.
            _model: The model that is trained; what is measured is the one given at the start,
                which is inside it.
        """
        row: dict[str, Any] = {"epoch": len(self.rows), "step": step}
        for name, samples in (("train", self._train), ("dev", self._dev)):
            features, logits = features_and_logits(self._model, samples)
            right = logits.argmax(dim=1) == samples.labels
            moved, relative = feature_change(self._start[name].numpy(), features.numpy())
            row |= {
                f"{name}_loss": float(nn.functional.cross_entropy(logits, samples.labels)),
                f"{name}_accuracy": 100 * float(right.double().mean()),
                f"{name}_logit_norm": float(logits.norm(dim=1).mean()),
                f"{name}_feature_change": moved,
                f"{name}_relative_change": relative,
            }
        head = self._model.classifier
        norms = head.weight.detach().norm(dim=1)
        row |= {"weight_norm": float(norms.norm()), "bias_norm": float(head.bias.detach().norm())}
        row |= {f"row_{number}": float(norm) for number, norm in enumerate(norms)}
        self.rows.append(row)
