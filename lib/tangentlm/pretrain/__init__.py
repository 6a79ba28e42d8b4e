"""Masked-LM pre-training of small encoders from text.

The way of the data: ``corpus`` (documents) -> ``vocabulary`` (byte-level BPE) -> ``rows`` (packed,
masked batches) -> ``architecture`` (a fresh model, its parametrization) -> ``loop`` (training, with
``checkpoint``) -> ``probes`` and ``downstream`` (what the model knows) -> ``card``.
"""

from tangentlm.pretrain.architecture import new_model, parameter_groups, roles
from tangentlm.pretrain.corpus import Corpus, open_corpus
from tangentlm.pretrain.loop import Trained, held_out_loss, masked_logits, pretrain, rate_factor
from tangentlm.pretrain.probes import Filler, fillings, load_probes, minimal_pairs
from tangentlm.pretrain.rows import MaskedBatch, PackedRows, Prepared, prepare

__all__ = [
    "Corpus",
    "Filler",
    "MaskedBatch",
    "PackedRows",
    "Prepared",
    "Trained",
    "fillings",
    "held_out_loss",
    "load_probes",
    "masked_logits",
    "minimal_pairs",
    "new_model",
    "open_corpus",
    "parameter_groups",
    "prepare",
    "pretrain",
    "rate_factor",
    "roles",
]
