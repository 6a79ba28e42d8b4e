import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import (
    checkpoint_location,
    list_models,
    load_checkpoint,
    load_masked_lm,
    load_tokenizer,
)
from tangentlm.models.few_shot import every_test_row, few_shot
from tangentlm.models.heads import load_model
from tangentlm.models.logits import logits_of, pick_device
from tangentlm.params import make_run
from tangentlm.tasks import list_tasks, load_task
from tangentlm.tasks.prompts import encode, label_word_ids
from tiny import (
    ARCHITECTURES,
    save_tiny,
    tiny_config,
    tiny_examples,
    tiny_task,
    tiny_tokenizer,
)

HEADS = ("prompt", "linear")


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of a tiny model for each architecture."""
    root = tmp_path_factory.mktemp("models")
    return {arch: save_tiny(root / arch, arch) for arch in ARCHITECTURES}


@pytest.fixture
def copy(folders, tmp_path):
    """A function that gives a copy of a tiny model's folder, to be broken."""

    def make(arch="roberta"):
        for source in Path(folders[arch]).iterdir():
            (tmp_path / source.name).write_bytes(source.read_bytes())
        return tmp_path

    return make


def plain_masked_lm(folder):
    return AutoModelForMaskedLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def batch_of(folder, task, head="prompt"):
    return encode(task, load_tokenizer(folder), tiny_examples(task.is_pair), head)


def label_word_logits(plain, batch, word_ids):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    rows = torch.arange(len(batch["input_ids"]))
    return plain(**inputs).logits[rows, batch["mask_position"]][:, word_ids]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_prompt_logits_are_those_of_the_whole_vocabulary_at_the_mask(folders, arch, pair):
    folder, task = folders[arch], tiny_task(pair)
    batch = batch_of(folder, task)
    word_ids = label_word_ids(task, load_tokenizer(folder))
    model = load_model(folder, task)
    with torch.no_grad():
        expected = label_word_logits(plain_masked_lm(folder), batch, word_ids)
        logits = model(**batch)
    assert logits.shape == (len(batch["input_ids"]), task.num_classes)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert not model.training


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_padding_does_not_change_logits(folders, arch, head):
    task = tiny_task()
    model = load_model(folders[arch], task, head)
    if head == "linear":
        torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
    batch = batch_of(folders[arch], task, head)
    padded = dict(batch)
    for name, value in (("input_ids", tiny_tokenizer().pad_token_id), ("attention_mask", 0)):
        padded[name] = torch.nn.functional.pad(batch[name], (0, 5), value=value)
    length = int(batch["attention_mask"][0].sum())
    alone = {name: tensor[:1] for name, tensor in batch.items()}
    alone |= {name: alone[name][:, :length] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        logits = model(**batch)
        torch.testing.assert_close(model(**padded), logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(model(**alone), logits[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_linear_head_reads_the_first_token(folders, arch, pair):
    task = tiny_task(pair)
    model = load_model(folders[arch], task, "linear")
    batch = batch_of(folders[arch], task, "linear")
    with torch.no_grad():
        assert torch.equal(model(**batch), torch.zeros(len(batch["input_ids"]), task.num_classes))
        generator = torch.Generator().manual_seed(0)
        for parameter in model.classifier.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        first = plain_masked_lm(folders[arch]).base_model(**batch).last_hidden_state[:, 0]
        expected = first @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(model(**batch), expected, atol=1e-5, rtol=0)
    assert model.classifier.weight.shape == (task.num_classes, 16)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_decoder_stays_tied(folders, arch):
    masked_lm = load_model(folders[arch], tiny_task()).masked_lm
    decoder, embedding = masked_lm.get_output_embeddings(), masked_lm.get_input_embeddings()
    assert decoder.weight is embedding.weight
    names = [name for name, value in masked_lm.named_parameters() if value is embedding.weight]
    assert len(names) == 1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradient_of_a_label_word_s_logit_is_the_plain_model_s(folders, arch):
    folder, task = folders[arch], tiny_task()
    batch = {name: tensor[:2] for name, tensor in batch_of(folder, task).items()}
    word_ids = label_word_ids(task, load_tokenizer(folder))
    model, plain = load_model(folder, task), plain_masked_lm(folder)
    model(**batch)[:, 1].sum().backward()
    label_word_logits(plain, batch, word_ids)[:, 1].sum().backward()
    wrapped = dict(model.masked_lm.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None and parameter.grad.any() and "decoder.bias" not in name:
            torch.testing.assert_close(wrapped[name].grad, parameter.grad, atol=1e-5, rtol=1e-4)
    ours = model.masked_lm.get_input_embeddings().weight.grad
    theirs = plain.get_input_embeddings().weight.grad
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert theirs[word_ids[1]].abs().max() > 0.1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_no_hook_outlives_a_forward(folders, arch):
    task = tiny_task()
    model = load_model(folders[arch], task)
    batch = batch_of(folders[arch], task)
    model(**batch)
    with pytest.raises(IndexError):
        model(**{**batch, "mask_position": batch["mask_position"] + 1000})
    body = model.masked_lm.base_model
    assert not body._forward_hooks
    assert body(input_ids=batch["input_ids"]).last_hidden_state.shape[1] > 1


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_untied_decoder_is_refused(tmp_path, arch, head):
    folder = save_tiny(tmp_path, arch, tie=False)
    refused("not tied to the embedding", load_model, folder, tiny_task(), head)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_encoder_without_a_head_is_for_linear_heads(tmp_path, arch):
    AutoModel.from_config(tiny_config(arch)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    folder = str(tmp_path)
    refused("has no language-model head; use head = 'linear'", load_model, folder, tiny_task())
    refused("the checkpoint has no .*random", load_masked_lm, folder)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    for pooling, read in {
        "first": lambda hidden: hidden[:, 0],
        "mean": lambda hidden: torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)]),
        "last": lambda hidden: torch.stack([hidden[0, 3], hidden[1, 1]]),
    }.items():
        model = load_model(folder, tiny_task(), "linear", pooling)
        with torch.no_grad():
            hidden = model.body(input_ids=ids, attention_mask=mask).last_hidden_state
            torch.testing.assert_close(
                model.features(ids, attention_mask=mask), read(hidden), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_encoder_that_lacks_a_parameter_is_refused(tmp_path, arch):
    AutoModel.from_config(tiny_config(arch)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[next(name for name in weights if "embeddings" in name)]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused("the checkpoint has no .*the encoder", load_model, str(tmp_path), tiny_task(), "linear")


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("roberta", "lm_head.dense.weight"),
        ("bert", "cls.predictions.transform.LayerNorm.weight"),
        ("distilbert", "vocab_transform.bias"),
        ("albert", "predictions.dense.weight"),
        ("modernbert", "head.norm.weight"),
        ("roberta", "roberta.encoder.layer.1.output.dense.weight"),
        ("roberta", "roberta.embeddings.word_embeddings.weight"),
        ("bert", "bert.embeddings.word_embeddings.weight"),
        ("distilbert", "distilbert.embeddings.word_embeddings.weight"),
        ("albert", "albert.embeddings.word_embeddings.weight"),
        ("modernbert", "model.embeddings.tok_embeddings.weight"),
    ],
)
def test_checkpoint_that_lacks_a_parameter_is_refused(copy, arch, name):
    folder = copy(arch)
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused("the checkpoint has no", load_model, str(folder), tiny_task())


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: (f / "model.safetensors").unlink(), id="no weights"),
        pytest.param(lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), id="bad weights"),
        pytest.param(lambda f: change_config(f, hidden_size=32), id="other size"),
        pytest.param(lambda f: change_config(f, model_type="nope"), id="unknown type"),
        pytest.param(lambda f: change_config(f, model_type="gpt2"), id="no masked-LM"),
        pytest.param(lambda f: (f / "config.json").write_text("{"), id="bad config"),
    ],
)
def test_damaged_folder_is_refused(copy, damage, head):
    folder = copy()
    damage(folder)
    refused(r"^model .* cannot be loaded", load_model, str(folder), tiny_task(), head)


@pytest.mark.parametrize("call", [checkpoint_location, load_tokenizer, load_masked_lm])
def test_folder_without_a_model_is_refused(tmp_path, call):
    refused("no config.json in", call, str(tmp_path))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("name", "nearest"), [("pokcet", "pocket"), ("roberta_base", "roberta-base")]
)
def test_unknown_model_is_refused_with_the_nearest(name, nearest, head):
    refused(
        f"unknown model '{name}'; did you mean '{nearest}'", load_model, name, tiny_task(), head
    )


@pytest.mark.parametrize("head", HEADS)
def test_hub_out_of_reach_is_refused(own_models, head):
    own_models("far", about="Nowhere.", hub="no-such-owner/no-such-model")
    refused("^model far cannot be loaded", load_model, "far", tiny_task(), head)


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A function that writes a file of ``params/models`` in a project of one's own."""
    (tmp_path / "params" / "models").mkdir(parents=True)
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))

    def write(name, **values):
        (tmp_path / "params" / "models" / f"{name}.yaml").write_text(yaml.safe_dump(values))

    return write


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"about": "Nothing."}, "model mine: needs one of folder, hub and package"),
        ({"folder": "x"}, "model mine: about is missing"),
        ({"about": "A typo.", "foldr": "x"}, "unknown parameter 'foldr'; did you mean 'folder'"),
        ({"about": "Gone.", "folder": "gone"}, "model mine: no config.json in .*gone"),
    ],
)
def test_wrong_model_file_is_refused(own_models, values, match):
    own_models("mine", **values)
    refused(match, checkpoint_location, "mine")


def test_model_file_gives_hub_id_and_revision(own_models):
    own_models("mine", about="Far.", hub="owner/model", revision="abc")
    assert list_models() == ["mine"]
    assert checkpoint_location("mine") == ("owner/model", "abc")


def test_label_word_of_two_tokens_is_refused(folders):
    task = tiny_task(label_words=("terrible", "magnificent"))
    refused("label word 'magnificent' is", load_model, folders["roberta"], task)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_model_is_loaded_in_single_precision_and_plain_attention(folders, arch):
    model = load_masked_lm(folders[arch])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_logits_do_not_depend_on_batch_size_or_order(folders, arch, head):
    task = tiny_task()
    model = load_model(folders[arch], task, head)
    if head == "linear":
        torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
    batch = batch_of(folders[arch], task, head)
    with torch.no_grad():
        expected = model(**batch)
    for batch_size in (1, 4, 64):
        logits = logits_of(model, batch, batch_size)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = {name: tensor[order] for name, tensor in batch.items()}
    torch.testing.assert_close(logits_of(model, shuffled, 2), expected[order], atol=1e-5, rtol=0)


def test_logits_of_a_batch_without_a_mask():
    model = torch.nn.Linear(3, 2)
    x = torch.arange(15.0).reshape(5, 3)
    torch.testing.assert_close(logits_of(model, {"input": x}, 2), model(x).detach())


@pytest.mark.parametrize("head", HEADS)
def test_logits_of_no_rows_are_refused(folders, head):
    task = tiny_task()
    batch = {name: tensor[:0] for name, tensor in batch_of(folders["bert"], task, head).items()}
    model = load_model(folders["bert"], task, head)
    refused("no rows", logits_of, model, batch)


def test_device():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        refused("no GPU", pick_device, "cuda")


BUNDLED = ("pocket", "pocket-s", "pocket-xs")
MEBIBYTE = 2**20


@pytest.mark.parametrize("model", BUNDLED)
@pytest.mark.parametrize("name", list_tasks())
def test_label_words_of_every_task_are_tokens_of_the_bundled_models(name, model):
    task = load_task(name)
    assert len(set(label_word_ids(task, load_tokenizer(model)))) == task.num_classes


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_model_reads_reviews(name):
    task = load_task("reviews")
    model = load_model(name, task)
    masked_lm = model.masked_lm
    assert masked_lm.get_output_embeddings().weight is masked_lm.get_input_embeddings().weight
    examples = tiny_examples(count=3)
    batch = encode(task, load_tokenizer(name), examples)
    logits = logits_of(model, batch)
    assert logits.shape == (3, 2)
    expected = label_word_logits(
        plain_masked_lm(checkpoint_location(name)[0]),
        batch,
        label_word_ids(task, load_tokenizer(name)),
    )
    torch.testing.assert_close(logits, expected.detach(), atol=1e-4, rtol=0)


def test_bundled_models_are_small():
    def size(name):
        return sum(path.stat().st_size for path in Path(checkpoint_location(name)[0]).iterdir())

    assert size("pocket") < 25 * MEBIBYTE
    assert size("pocket-s") + size("pocket-xs") < 6 * MEBIBYTE
    masked_lm = plain_masked_lm(checkpoint_location("pocket")[0])
    assert sum(parameter.numel() for parameter in masked_lm.parameters()) <= 12_000_000


def test_every_model_says_what_it_is_not():
    without = [name for name in list_models() if not load_checkpoint(name).limits]
    assert not without


def test_every_test_row_is_more_than_what_a_run_scores():
    run = make_run("kernel", {"task": "reviews", "model": "pocket-xs", "k": 2, "test_size": 5})
    shots = few_shot(run)
    everything = every_test_row(run, shots)
    assert len(everything) == 160
    logits = logits_of(shots.model, everything.batch)
    scored = logits_of(shots.model, shots.part("test").batch)
    torch.testing.assert_close(logits[:5], scored, rtol=1e-4, atol=1e-4)
    assert torch.equal(everything.labels[:5], shots.part("test").labels)
