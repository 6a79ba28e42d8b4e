"""Where a pre-trained masked language model is, how it is loaded, and what makes it unfit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import RUN_PREFIX, Strict, named_file, names, project_root, read_yaml


class Checkpoint(Strict):
    """Where a pre-trained model is: a folder of the project, or an id and revision of the hub."""

    about: str
    folder: str | None = None
    hub: str | None = None
    revision: str | None = None


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
    import torch
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
