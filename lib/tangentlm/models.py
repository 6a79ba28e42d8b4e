"""Models that map a batch to (N, C) logits, made from any masked language model.

Two heads: ``"prompt"`` reads the logits of the label words at the mask (prompt-based
fine-tuning, Section 2 of Malladi-v1), ``"linear"`` is a linear layer on the first token
(standard fine-tuning). Nothing here depends on the architecture: the body is whatever the
checkpoint calls its base model, and the masked-LM head runs on one position only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import RUN_PREFIX, Strict, named_file, names, project_root, read_yaml
from tangentlm.prompts import (
    Batch,
    encode_prompts,
    encode_texts,
    label_word_ids,
    select_rows,
    unpadded_batches,
)
from tangentlm.tasks import Task


class Checkpoint(Strict):
    """Where a pre-trained model is: a folder of the project, or an id and revision of the hub."""

    about: str
    folder: str | None = None
    hub: str | None = None
    revision: str | None = None


class LabelWordDecoder(nn.Module):
    """The rows of a masked-LM decoder that belong to the label words.

    It shares the decoder's parameters (and so stays tied to the embedding where the decoder is),
    but multiplies C rows instead of the whole vocabulary.
    """

    def __init__(self, decoder: nn.Linear, word_ids: list[int]) -> None:
        super().__init__()
        self.weight = decoder.weight
        self.bias = decoder.bias
        self.register_buffer("word_ids", torch.tensor(word_ids), persistent=False)
        self.word_ids: Tensor

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of the label words.

        Args:
            hidden: (..., h).

        Returns:
            (..., C).
        """
        bias = None if self.bias is None else self.bias[self.word_ids]
        return nn.functional.linear(hidden, self.weight[self.word_ids], bias)


class PromptModel(nn.Module):
    """The logits of the label words at the mask: f(s) = Phi^T h_[MASK](s), shape (N, C)."""

    def __init__(self, masked_lm: Any, word_ids: list[int]) -> None:
        super().__init__()
        masked_lm.set_output_embeddings(
            LabelWordDecoder(masked_lm.get_output_embeddings(), word_ids)
        )
        self.masked_lm = masked_lm
        self.num_classes = len(word_ids)

    def forward(self, input_ids: Tensor, mask_position: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the label words.

        Args:
            input_ids: (N, T).
            mask_position: (N,), where each row's mask is.
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        rows = torch.arange(len(input_ids), device=input_ids.device)

        def keep_mask(_module: nn.Module, _args: object, output: Any) -> Any:
            # The head is applied position by position, so only the mask's position is needed.
            hidden = output.last_hidden_state
            output.last_hidden_state = hidden[rows, mask_position].unsqueeze(1)
            return output

        hook = self.masked_lm.base_model.register_forward_hook(keep_mask)
        try:
            logits = self.masked_lm(input_ids=input_ids, **inputs).logits
        finally:
            hook.remove()
        return logits.squeeze(1)


class LinearHeadModel(nn.Module):
    """A linear layer on the first token: f(s) = Gamma h_[CLS](s) + b, shape (N, C)."""

    def __init__(self, masked_lm: Any, num_classes: int) -> None:
        super().__init__()
        self.body = masked_lm.base_model
        self.classifier = nn.Linear(masked_lm.config.hidden_size, num_classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        self.num_classes = num_classes

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        hidden = self.body(input_ids=input_ids, **inputs).last_hidden_state
        return self.classifier(hidden[:, 0])


def list_models() -> list[str]:
    """The names of the models in ``params/models``.

    Returns:
        Sorted names.
    """
    return names("model")


def checkpoint_location(name: str) -> tuple[str, str | None]:
    """The folder or hub id of a model, and its revision.

    Args:
        name: A name of ``params/models``, ``run:<study>/<run>`` for what a pre-training run made,
            or a folder that holds a model.

    Returns:
        A path or hub id, and a revision or ``None``.

    Raises:
        InputError: If there is no such model, or its folder holds none.
    """
    if name in list_models():
        checkpoint = Checkpoint.parse(read_yaml(named_file("model", name)), f"model {name}")
        if checkpoint.folder is None and checkpoint.hub is None:
            raise InputError(f"model {name}: needs a folder or a hub id")
        if checkpoint.folder is None:
            return str(checkpoint.hub), checkpoint.revision
        folder = project_root() / checkpoint.folder
    elif name.startswith(RUN_PREFIX):
        study, _, run = name.removeprefix(RUN_PREFIX).partition("/")
        runs = project_root() / "runs" / study
        folder = next(runs.glob(f"*/{run}/model"), runs / run)
        if not folder.is_dir():
            raise InputError(f"model {name}: pre-train it first (make study STUDY={study})")
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        raise unknown_name("model", name, list_models())
    if not (folder / "config.json").is_file():
        raise InputError(f"model {name}: no config.json in {folder}")
    return str(folder), None


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model.

    Args:
        name: As for ``load_model``.

    Returns:
        A tokenizer of transformers.
    """
    from transformers import AutoTokenizer

    location, revision = checkpoint_location(name)
    return _load(name, "a tokenizer", AutoTokenizer.from_pretrained, location, revision=revision)


def _load(name: str, what: str, loader: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a loader of transformers returns; whatever it raises becomes one clear line."""
    try:
        return loader(*args, **options)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {name} cannot be loaded as {what}: {first}") from error


def load_masked_lm(name: str) -> Any:
    """A masked language model in float32 whose decoder is loaded and tied to its embedding.

    A decoder left at its random initialisation makes every prompted result worthless without
    any error, so a checkpoint that lacks a head parameter is refused.

    Args:
        name: As for ``load_model``.

    Returns:
        A masked-LM of transformers, in eval mode, with eager attention (forward-mode
        differentiation is not implemented for fused attention).

    Raises:
        InputError: If the checkpoint is no masked-LM with a loaded, tied decoder.
    """
    from transformers import AutoModelForMaskedLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    location, revision = checkpoint_location(name)
    model, info = _load(
        name,
        "a masked-LM",
        AutoModelForMaskedLM.from_pretrained,
        location,
        revision=revision,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    check_masked_lm(model, name, set(info["missing_keys"]))
    return model.eval()


def check_masked_lm(model: Any, name: str, missing: set[str]) -> None:
    """Refuse a masked-LM whose decoder is not tied to the embedding, or was not loaded.

    Args:
        model: A masked-LM of transformers.
        name: Its name, for the message.
        missing: The names of parameters that the checkpoint lacked.

    Raises:
        InputError: If the decoder is absent, untied, or a parameter was not in the checkpoint.
    """
    decoder = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    if decoder is None or embedding is None:
        raise InputError(f"model {name}: no LM head; a masked-LM with a tied decoder is needed")
    # A tied decoder is filled from the embedding, so its own weight may rightly be missing.
    tied = decoder.weight is embedding.weight
    named = model.named_parameters(remove_duplicate=False)
    shared = {key for key, value in named if value is embedding.weight}
    loaded = tied and not shared <= missing
    lacking = sorted(missing - shared if loaded else missing)
    if lacking:
        raise InputError(
            f"model {name}: the checkpoint has no {lacking[0]} "
            f"({len(lacking)} missing), so its LM head would be random"
        )
    if not tied:
        raise InputError(f"model {name}: the LM head's decoder is not tied to the embedding")


def load_model(
    name: str, task: Task, head: Literal["prompt", "linear"] = "prompt"
) -> PromptModel | LinearHeadModel:
    """A model of a task: ``model(**batch) -> (N, C)`` logits, in eval mode.

    Args:
        name: A name of ``params/models``, or a folder that holds a masked-LM.
        task: The task, which gives the label words or the number of classes.
        head: ``"prompt"``: label-word logits at the mask; ``"linear"``: a linear layer, at
            zero, on the first token.

    Returns:
        The model.

    Raises:
        InputError: If the model is unknown or unfit, or a label word is not one token.
    """
    if head == "linear":
        return LinearHeadModel(load_masked_lm(name), task.num_classes).eval()
    word_ids = label_word_ids(task, load_tokenizer(name))
    return PromptModel(load_masked_lm(name), word_ids).eval()


def encode(task: Task, tokenizer: Any, examples: Any, head: str = "prompt") -> Batch:
    """The batch that a model with this head reads.

    Args:
        task: The task.
        tokenizer: The model's tokenizer.
        examples: N examples.
        head: ``"prompt"`` or ``"linear"``.

    Returns:
        Tensors with leading axis N.
    """
    encoder = encode_prompts if head == "prompt" else encode_texts
    return encoder(task, tokenizer, examples)


@torch.no_grad()
def logits_of(model: nn.Module, batch: Mapping[str, Tensor], batch_size: int = 64) -> Tensor:
    """The logits of many rows, computed in batches of rows of one length.

    Args:
        model: ``model(**batch) -> (N, C)``.
        batch: Tensors with leading axis N.
        batch_size: Rows at a time.

    Returns:
        (N, C), on the CPU, in the rows' order.
    """
    device = next(model.parameters()).device
    logits: Tensor | None = None
    for index in unpadded_batches(batch, batch_size):
        rows = {name: tensor.to(device) for name, tensor in select_rows(batch, index).items()}
        part = model(**rows).cpu()
        if logits is None:
            logits = part.new_zeros(len(next(iter(batch.values()))), part.shape[1])
        logits[index] = part
    if logits is None:
        raise InputError("no rows to compute logits of")
    return logits


def pick_device(name: str) -> torch.device:
    """The device of a run.

    Args:
        name: ``"auto"`` (a GPU where there is one), ``"cpu"`` or ``"cuda"``.

    Returns:
        The device.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda', but this machine has no GPU that torch can use")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
