"""Models from packages: what is fetched, checked and kept, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tangentlm.errors import InputError
from tangentlm.models import packages
from tangentlm.models.checkpoints import add_models, load_pretrained, model_kind
from tangentlm.params import KernelRun
from tangentlm.studies.identity import identity
from tiny import tiny_config, tiny_tokenizer
from toy_text import tokenizer_of

NAME, VERSION, INSIDE = "tiny-weights", "0.1.0", "tiny_weights/model/model.safetensors"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a model in it, where pip finds it without a network; its weights' hash."""
    model = tmp_path / "made"
    AutoModel.from_config(tiny_config("bert")).save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    info = f"tiny_weights-{VERSION}.dist-info"
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (model / "beside.py").write_text("raise RuntimeError('imported')\n")
    with zipfile.ZipFile(shelf / f"tiny_weights-{VERSION}-py3-none-any.whl", "w") as archive:
        for file in sorted(model.iterdir()):
            archive.write(file, f"tiny_weights/model/{file.name}")
        archive.writestr("tiny_weights/__init__.py", "raise RuntimeError('imported')\n")
        about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
        archive.writestr(f"{info}/METADATA", about + "Requires-Dist: no-such-compiler\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("TANGENTLM_CACHE", str(tmp_path / "cache"))
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def described(root, wheel):
    """A function that writes the file of the only model in a package, with changes."""
    models = root / "params" / "models"
    for file in models.glob("*.yaml"):
        if "package:" in file.read_text():
            file.unlink()

    def write(**changes):
        package = {
            "name": NAME, "version": VERSION, "weights": INSIDE, "sha256": wheel,
            "licence": "Apache-2.0", "made": "By a test.", **changes,
        }  # fmt: skip
        values = {"about": "A test's.", "kind": "encoder", "package": package}
        (models / "tiny.yaml").write_text(yaml.safe_dump(values))

    write()
    return write


def left(tmp_path: Path) -> list[str]:
    cache = tmp_path / "cache"
    return [str(path) for path in cache.rglob("*") if path.is_file()] if cache.exists() else []


def test_a_model_is_fetched_once_and_whole(described, tmp_path, monkeypatch):
    ((name, folder),) = add_models(["tiny"])
    assert name == "tiny"
    facts = json.loads((folder / "provenance.json").read_text())
    assert (facts["name"], facts["version"], facts["licence"]) == (NAME, VERSION, "Apache-2.0")
    assert not list(folder.rglob("*.py"))
    assert "tiny_weights" not in sys.modules
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "scratch is left"
    assert model_kind("tiny") == "encoder"
    same = AutoModel.from_pretrained(tmp_path / "made").state_dict()
    loaded = load_pretrained("tiny").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in same.items())
    # Once it is there, neither pip nor a network is asked for.
    monkeypatch.setattr(packages, "_download", lambda *_: pytest.fail("downloaded again"))
    assert list(add_models()) == [("tiny", folder)]


def test_a_model_that_is_not_here_names_the_command(described):
    with pytest.raises(InputError, match="tangentlm models add tiny"):
        load_pretrained("tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "has the SHA-256 .*, not 0000"),
        ({"weights": "tiny_weights/model.gguf"}, "holds no tiny_weights/model.gguf"),
        ({"version": "9.9.9"}, "tiny-weights==9.9.9 cannot be downloaded: .*9.9.9"),
        ({"name": "no-such-weights"}, "no-such-weights==0.1.0 cannot be downloaded"),
    ],
)
def test_a_package_that_is_not_as_described_leaves_nothing(described, tmp_path, changes, message):
    described(**changes)
    with pytest.raises(InputError, match=message) as refused:
        list(add_models(["tiny"]))
    assert "\n" not in str(refused.value)
    assert not left(tmp_path)


def test_a_damaged_wheel_is_refused(described, tmp_path, monkeypatch):
    def download(_, scratch):
        (scratch / "x.whl").write_bytes(b"PK half a file")
        return scratch / "x.whl"

    monkeypatch.setattr(packages, "_download", download)
    with pytest.raises(InputError, match="the wheel is damaged"):
        list(add_models(["tiny"]))
    assert not left(tmp_path)


def test_no_room_is_one_clear_line(described, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(InputError, match=r"model tiny cannot be added to .*No space left"):
        list(add_models(["tiny"]))
    assert not left(tmp_path)


def test_an_interrupted_download_leaves_no_model(described, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "_write_provenance", lambda *_: (_ for _ in ()).throw(KeyError))
    with pytest.raises(KeyError):
        list(add_models(["tiny"]))
    assert not left(tmp_path)
    with pytest.raises(InputError, match="tangentlm models add tiny"):
        load_pretrained("tiny")


def test_only_models_in_packages_can_be_added(described):
    with pytest.raises(InputError, match=r"pocket comes in no package.*those that do: tiny"):
        list(add_models(["pocket"]))
    with pytest.raises(InputError, match="unknown model 'tinny'; did you mean 'tiny'"):
        list(add_models(["tinny"]))


def test_the_identity_of_a_run_knows_the_weights_before_they_are_here(described):
    run = KernelRun(task="reviews", model="tiny", head="linear")
    before = identity(run)
    assert not before.unknown
    described(sha256="1" * 64)
    assert identity(run).differences(before) == ["other model"]


def test_what_a_killed_process_left_goes_with_time(described, tmp_path):
    models = tmp_path / "cache" / "models"
    old, fresh = models / ".tiny-killed", models / ".tiny-going-on"
    for scratch in (old, fresh):
        scratch.mkdir(parents=True)
        (scratch / "half.whl").write_bytes(b"half")
    long_ago = time.time() - 2 * 86_400
    os.utime(old, (long_ago, long_ago))
    list(add_models(["tiny"]))
    assert not old.exists()
    assert fresh.exists()


def test_a_quantised_file_becomes_plain_weights(tmp_path):
    weights, expected = written_gguf(tmp_path)
    packages._convert(weights, None, tmp_path / "ready")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ready")
    assert not hasattr(model.config, "quantization_config")
    for name, values in expected.items():
        assert torch.equal(model.state_dict()[name], torch.tensor(values)), name
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ready")
    text = "the old dog saw the red house"
    reference = tokenizer_of()(text, add_special_tokens=False)["input_ids"]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == reference


def written_gguf(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Llama of one layer in 4-bit blocks (Q4_1), and what its weights are once dequantised."""
    core = json.loads(tokenizer_of().backend_tokenizer.to_str())["model"]
    tokens = sorted(core["vocab"], key=core["vocab"].get)
    width, random = 32, np.random.default_rng(0)
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in core["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    matrices = {
        "token_embd": (len(tokens), width),
        "blk.0.ffn_gate": (2 * width, width),
        "blk.0.ffn_up": (2 * width, width),
        "blk.0.ffn_down": (width, 2 * width),
        **{f"blk.0.attn_{part}": (width, width) for part in ("q", "k", "v", "output")},
    }
    quantised = {}
    for name, shape in matrices.items():
        values = random.standard_normal(shape, dtype=np.float32)
        blocks = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
        quantised[name] = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q4_1)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, {
        "model.embed_tokens.weight": quantised["token_embd"],
        "model.layers.0.mlp.down_proj.weight": quantised["blk.0.ffn_down"],
        "model.layers.0.self_attn.o_proj.weight": quantised["blk.0.attn_output"],
    }
