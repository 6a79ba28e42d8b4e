"""What is measured on: models of RoBERTa-base's or SmolLM2's shape, and samples of real lengths.

The weights are random, as neither time nor memory depends on them. The lengths are evenly spaced
quantiles of a task's real prompted lengths (``lengths.py``), so that a few samples and many have
about the same mean length; the tokens are random.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from machine import Memory, fresh, product_rate
from tangentlm.batches import Batch, select_rows
from tangentlm.kernels import Kernel, entk
from tangentlm.models.heads import CausalPromptModel, PromptModel

Result = TypeVar("Result")
Row = dict[str, Any]
"""One row of a results file."""

_BASE = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_TINY = {**_BASE, "vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2,
         "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip
_SMOLLM2 = {"vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
            "max_position_embeddings": 8192, "tie_word_embeddings": True}  # fmt: skip
_TINY_SMOLLM2 = {**_SMOLLM2, "vocab_size": 500, "hidden_size": 36, "num_hidden_layers": 2,
                 "intermediate_size": 64}  # fmt: skip
_START, _END, _MASK, _FIRST_WORD = 0, 2, 4, 10
_PROMPT_END = 3
"""The mask, a full stop and the end of the row."""


@dataclass(frozen=True)
class Setting:
    """How large the benchmark is, and where it runs.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        quick: A tiny model, to see that everything works.
        divide: Every number of samples is divided by this.
    """

    device: str = "cpu"
    quick: bool = False
    divide: int = 1

    @property
    def product_size(self) -> int:
        """The size of the matrix products that measure the machine's rate."""
        return 256 if self.quick else 2048

    @property
    def memory(self) -> int | None:
        """The budget of a kernel: the default on a CPU, half of the memory of a GPU."""
        if self.device == "cpu":
            return None
        return torch.cuda.get_device_properties(0).total_memory // 2

    def size(self, count: int) -> int:
        """A number of samples.

        Args:
            count: That of the full benchmark.

        Returns:
            That of this one.
        """
        return max(count // self.divide, 2)

    def apart(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function in a process of its own, whose memory tells what the function takes.

        A tiny model tells nothing, and a GPU counts its memory itself: then it is called here.

        Args:
            function: A function of a module.
            *args: Its arguments.

        Returns:
            What it returns.
        """
        here = self.quick or self.device == "cuda"
        return function(*args) if here else fresh(function, *args)


def build_model(setting: Setting, classes: int = 2) -> PromptModel:
    """A prompted masked-LM with a tied decoder and random weights.

    Args:
        setting: The device, and whether the model is a tiny one.
        classes: The number of label words.

    Returns:
        The model, in eval mode.
    """
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    shape = _TINY if setting.quick else _BASE
    # Forward-mode differentiation, which the reference method needs, wants eager attention.
    masked_lm = RobertaForMaskedLM(RobertaConfig(**shape, attn_implementation="eager"))
    words = list(range(_FIRST_WORD, _FIRST_WORD + classes))
    return PromptModel(masked_lm, words).eval().to(setting.device)


def build_causal_model(setting: Setting) -> CausalPromptModel:
    """A causal LM of SmolLM2-135M's shape with a tied decoder, two label words and random weights.

    Args:
        setting: The device, and whether the model is a tiny one.

    Returns:
        The model, in eval mode.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = _TINY_SMOLLM2 if setting.quick else _SMOLLM2
    lm = LlamaForCausalLM(LlamaConfig(**shape, attn_implementation="eager"))
    return CausalPromptModel(lm, [_FIRST_WORD, _FIRST_WORD + 1]).eval().to(setting.device)


def real_lengths(task: str, part: str, count: int) -> list[int]:
    """Evenly spaced quantiles of a task's prompted lengths.

    Args:
        task: A task with a file of lengths.
        part: ``"train"`` or ``"test"``.
        count: How many.

    Returns:
        Numbers of tokens, the smallest first.
    """
    path = Path(__file__).parent / f"{task}_lengths.json"
    counts = json.loads(path.read_text(encoding="utf-8"))[part]
    every = np.repeat([int(length) for length in counts], list(counts.values()))
    chosen: list[int] = every[((np.arange(count) + 0.5) * len(every) / count).astype(int)].tolist()
    return chosen


def random_samples(lengths: list[int], vocabulary: int, seed: int) -> Batch:
    """Samples of random tokens, padded on the right, with a mask before the end.

    Args:
        lengths: The number of tokens of each.
        vocabulary: The size of the vocabulary.
        seed: Of the tokens.

    Returns:
        What ``PromptModel`` reads.
    """
    generator = torch.Generator().manual_seed(seed)
    length = torch.tensor(lengths)
    used = torch.arange(int(length.max())) < length[:, None]
    ids = torch.randint(_FIRST_WORD, vocabulary, used.shape, generator=generator)
    row = torch.arange(len(lengths))
    ids[:, 0] = _START
    ids[row, length - _PROMPT_END] = _MASK
    ids[row, length - 1] = _END
    ids[~used] = 1
    return {"input_ids": ids, "attention_mask": used.long(), "mask_position": length - _PROMPT_END}


class Bench:
    """A model, its samples, and the measurement of a kernel of theirs.

    Attributes:
        setting: How large, and where.
        model: The model.
    """

    def __init__(
        self, setting: Setting, task: str = "sst2", classes: int = 2, causal: bool = False
    ) -> None:
        self.setting = setting
        self.task = task
        self.outputs = "difference" if classes == 2 else "full"
        self.causal = causal
        self.model = build_causal_model(setting) if causal else build_model(setting, classes)
        self._memory = Memory(setting.device)
        few = self.of_length(8, 2, seed=0)
        entk(self.model, few, outputs=self.outputs, progress=False)  # What is slow only once.

    @property
    def weights(self) -> dict[str, int]:
        """The entries of every weight matrix but the embeddings."""
        named = self.model.named_parameters()
        return {n: p.numel() for n, p in named if p.ndim == 2 and "embeddings" not in n}

    def real(self, part: str, count: int) -> Batch:
        """Samples of a task's real lengths.

        Args:
            part: ``"train"`` or ``"test"``.
            count: How many.

        Returns:
            The samples.
        """
        lengths = real_lengths(self.task, part, count)
        return self._samples(lengths, seed=1 if part == "train" else 2)

    def of_length(self, length: int, count: int, seed: int) -> Batch:
        """Samples of one length.

        Args:
            length: The number of tokens.
            count: How many.
            seed: Of the tokens.

        Returns:
            The samples.
        """
        return self._samples([length] * count, seed)

    def _samples(self, lengths: list[int], seed: int) -> Batch:
        vocabulary = self.model.masked_lm.config.vocab_size
        samples = random_samples(lengths, vocabulary, seed)
        if self.causal:  # the last token is read, whatever it is
            samples["mask_position"] = samples["attention_mask"].sum(dim=1) - 1
        return {name: tensor.to(self.setting.device) for name, tensor in samples.items()}

    def measure(self, rows: Batch, columns: Batch, **options: Any) -> tuple[Row, Kernel]:
        """A kernel, and what it cost beside what the machine can do.

        Args:
            rows: N samples.
            columns: M samples.
            **options: Of ``entk``.

        Returns:
            The row for a results file, and the kernel.
        """
        setting = self.setting
        options = {"outputs": self.outputs, "memory": setting.memory, **options}
        precision = options.setdefault("precision", "float32")
        before = product_rate(precision, setting.device, setting.product_size)
        kernel = entk(self.model, rows, columns, **options)
        after = product_rate(precision, setting.device, setting.product_size)
        cost = kernel.cost
        assert cost is not None
        row = {
            "rows": len(kernel.values),
            "columns": kernel.values.shape[2],
            "formula": kernel.formula,
            "precision": precision,
            "seconds": cost.seconds,
            "tflop": cost.flops / 1e12,
            "gflops": cost.flops / cost.seconds / 1e9,
            "product_gflops_before": before,
            "product_gflops_after": after,
            "share_of_rate": cost.flops / cost.seconds / 1e9 / max(before, after),
            "factors_gib": cost.peak_bytes / 2**30,
        }
        return row, kernel

    def memory_gib(self) -> float:
        """The most memory that this process took beyond the model; for a fresh process only."""
        return self._memory.growth()


def first(batch: Batch, count: int) -> Batch:
    """The first rows of a batch, without padding that only others need."""
    return select_rows(batch, slice(0, count))
