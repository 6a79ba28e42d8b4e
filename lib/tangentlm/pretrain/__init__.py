"""Masked-LM pre-training of small encoders from text.

The way of the data: ``corpus`` (documents) -> ``vocabulary`` (byte-level BPE) -> ``prepared``
(tokens on disk) -> ``packed_rows`` (packed, masked batches) -> ``architecture`` (a fresh model,
its parametrization, its start) -> ``loop`` (training, with ``schedule`` and ``checkpoint``) ->
``probes`` and ``downstream`` (what the model knows) -> ``card``. ``coordinate_check`` verifies the
parametrization.
"""

from tangentlm.pretrain.architecture import new_model, parameter_groups, roles
from tangentlm.pretrain.corpus import Corpus, open_corpus
from tangentlm.pretrain.loop import Trained, held_out_loss, masked_logits, pretrain
from tangentlm.pretrain.packed_rows import MaskedBatch, PackedRows
from tangentlm.pretrain.prepared import Prepared, prepare
from tangentlm.pretrain.probes import Filler, fillings, load_probes, minimal_pairs
from tangentlm.pretrain.schedule import rate_factor

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
