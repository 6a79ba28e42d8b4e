"""Causal language models: exact kernels of every shape, with rows padded on either side."""

from __future__ import annotations

import pytest
import torch
import transformers as tf

from tangentlm.errors import InputError
from tangentlm.kernels import entk, reference_entk
from tangentlm.models import heads
from tangentlm.models.checkpoints import load_tokenizer, model_kind
from tangentlm.models.few_shot import few_shot
from tangentlm.models.heads import CausalPromptModel, load_model
from tangentlm.models.parts import last_layer
from tangentlm.tasks import for_causal_model
from tangentlm.tasks.prompts import encode_prompts, encode_texts, label_word_ids
from tiny import tiny_examples, tiny_task, tiny_tokenizer

VOCABULARY = 40
COMMON = {
    "vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    "initializer_range": 0.2, "attn_implementation": "eager",
}  # fmt: skip
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "max_position_embeddings": 32,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}
SHAPES = {
    "llama": lambda **c: tf.LlamaConfig(**COMMON, **SIZES, **GROUPED, **c),
    "qwen3": lambda **c: tf.Qwen3Config(**COMMON, **SIZES, **GROUPED, head_dim=8, **c),
    "gemma3": lambda **c: tf.Gemma3TextConfig(
        **COMMON, **SIZES, **GROUPED, head_dim=8, sliding_window=4, **c
    ),
    "gpt2": lambda **c: tf.GPT2Config(
        **COMMON, n_embd=16, n_layer=2, n_head=2, n_positions=32, **c
    ),
    "gpt_neox": lambda **c: tf.GPTNeoXConfig(**COMMON, **SIZES, **c),
    "opt": lambda **c: tf.OPTConfig(
        **COMMON,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=24,
        word_embed_proj_dim=16,
        max_position_embeddings=32,
        **c,
    ),
    "mixtral": lambda **c: tf.MixtralConfig(
        **COMMON, **SIZES, **GROUPED, num_local_experts=3, num_experts_per_tok=2, **c
    ),
}


def model_of(shape: str, tied: bool = True) -> CausalPromptModel:
    return CausalPromptModel(plain_model(shape, tied), [7, 9, 11]).eval()


def plain_model(shape: str, tied: bool = True):
    torch.manual_seed(0)
    lm = tf.AutoModelForCausalLM.from_config(
        SHAPES[shape](tie_word_embeddings=tied),
        attn_implementation="eager",
        **({"experts_implementation": "eager"} if shape == "mixtral" else {}),
    )
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return lm.eval()


def batch_of(side: str, lengths: tuple[int, ...] = (9, 5, 7)) -> dict[str, torch.Tensor]:
    """Prompts of different lengths, padded on one side."""
    longest = max(lengths)
    generator = torch.Generator().manual_seed(1)
    ids, mask = torch.ones(2, len(lengths), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        start = longest - length if side == "left" else 0
        ids[row, start : start + length] = torch.randint(12, 40, (length,), generator=generator)
        mask[row, start : start + length] = 1
    last = mask.cumsum(dim=1).argmax(dim=1)
    return {"input_ids": ids, "attention_mask": mask, "mask_position": last}


def alone(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    used = batch["attention_mask"][row].bool()
    ids = batch["input_ids"][row][used][None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mask_position": torch.tensor([ids.shape[1] - 1]),
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_on_either_side_changes_no_logit(shape, side):
    model, batch = model_of(shape), batch_of(side)
    with torch.no_grad():
        together = model(**batch)
        one_by_one = torch.cat([model(**alone(batch, row)) for row in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("formula", ["sgd", "signgd", "asymmetric-signgd"])
def test_kernels_are_those_of_autograd_in_double_precision(shape, side, formula):
    model, batch = model_of(shape), batch_of(side)
    kernel = entk(model, batch, formula=formula, precision="float64", progress=False)
    expected = reference_entk(model.double(), batch, formula=formula)
    torch.testing.assert_close(
        torch.from_numpy(kernel.values), torch.as_tensor(expected), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("shape", ["llama", "qwen3", "gpt2", "gpt_neox", "opt"])
def test_no_parameter_needs_autograd(shape):
    kernel = entk(model_of(shape), batch_of("right"), progress=False)
    assert not kernel.cost.by_autograd


def test_an_untied_head_has_a_gradient_of_its_own():
    model, batch = model_of("llama", tied=False), batch_of("right")
    kernel = entk(model, batch, precision="float64", by="parameter", progress=False)
    expected = reference_entk(model.double(), batch)
    torch.testing.assert_close(torch.from_numpy(kernel.values), torch.as_tensor(expected))
    assert any("lm_head" in name or name.endswith("_embeddings.weight") for name in kernel.groups)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_are_those_of_the_plain_model_after_the_last_token(shape, side):
    model, batch = model_of(shape), batch_of(side)
    plain = plain_model(shape)
    with torch.no_grad():
        for row, logits in enumerate(model(**batch)):
            whole = plain(input_ids=alone(batch, row)["input_ids"]).logits[0, -1]
            torch.testing.assert_close(logits, whole[[7, 9, 11]], rtol=1e-4, atol=1e-5)


# --- from a folder to a few-shot problem -----------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A tiny Llama that a user saved, with a tokenizer that happens to have a mask token."""
    place = tmp_path_factory.mktemp("llama")
    tokenizer = tiny_tokenizer()
    config = tf.LlamaConfig(**{**COMMON, "vocab_size": len(tokenizer)}, **SIZES, **GROUPED)
    tf.LlamaForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


CAUSAL = tiny_task(causal="Review: {text_a}\nIt was {mask}")


def test_a_row_ends_where_the_label_word_comes_next(folder):
    assert model_kind(folder) == "causal"
    tokenizer, examples = load_tokenizer(folder), tiny_examples()
    task = for_causal_model(CAUSAL)
    batch = encode_prompts(task, tokenizer, examples)
    ends = tokenizer("It was", add_special_tokens=False)["input_ids"]
    for row, used, last in zip(*batch.values(), strict=True):
        assert int(last) == int(used.sum()) - 1
        assert row[: int(last) + 1].tolist()[-len(ends) :] == ends
    model = load_model(folder, task)
    plain = tf.AutoModelForCausalLM.from_pretrained(folder)
    words = label_word_ids(task, tokenizer)
    with torch.no_grad():
        logits = plain(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        rows = torch.arange(len(examples))
        expected = logits[rows, batch["mask_position"]][:, words]
        torch.testing.assert_close(model(**batch), expected, rtol=1e-4, atol=1e-5)


def test_a_task_without_a_causal_template_is_refused():
    with pytest.raises(InputError, match=r"has no template for causal models; give it 'causal'"):
        for_causal_model(tiny_task())
    ends_so = tiny_task(template="{text_a} {mask}")
    assert for_causal_model(ends_so) is ends_so


def test_a_causal_template_has_to_end_with_the_mask():
    with pytest.raises(ValueError, match="has to end with"):
        tiny_task(causal="{mask} : {text_a}")


def test_a_pair_without_a_mark_between_is_two_lines(folder):
    tokenizer = load_tokenizer(folder)
    task, examples = tiny_task(pair=True), tiny_examples(pair=True)
    marked = encode_texts(task, tokenizer, examples)
    tokenizer.backend_tokenizer.post_processor = None
    lines = encode_texts(task, tokenizer, examples)
    one = tokenizer(f"{examples[0].text_a}\n{examples[0].text_b}", add_special_tokens=False)
    assert lines["input_ids"][0][lines["attention_mask"][0].bool()].tolist() == one["input_ids"]
    assert marked["input_ids"].shape[1] > lines["input_ids"].shape[1]


@pytest.mark.parametrize("head", ["prompt", "linear"])
def test_a_few_shot_problem_of_a_bundled_task(folder, head, monkeypatch):
    monkeypatch.setattr(heads, "label_word_ids", lambda *_: [5, 6])
    shots = few_shot("reviews", k=2, test_size=4, model=folder, head=head, device="cpu")
    train = shots.part("train")
    kernel = entk(shots.model, train.batch, precision="float64", progress=False)
    expected = reference_entk(shots.model.double(), train.batch)
    torch.testing.assert_close(torch.from_numpy(kernel.values), torch.as_tensor(expected))
    assert all(isinstance(text, str) for text in shots.texts(3))
    if head == "prompt":
        assert all(text.endswith("found it") for text in shots.texts(3))


def test_shuffled_labels_are_the_same_labels_in_another_order():
    given = few_shot("reviews", k=8, test_size=10, device="cpu", model="pocket-xs")
    other = few_shot(
        "reviews", k=8, test_size=10, device="cpu", model="pocket-xs", labels="shuffled"
    )
    for part in ("train", "dev"):
        before, after = given.part(part).labels, other.part(part).labels
        assert not torch.equal(before, after)
        assert torch.equal(before.sort().values, after.sort().values)
    assert torch.equal(given.part("test").labels, other.part("test").labels)
    assert torch.equal(given.batch["input_ids"], other.batch["input_ids"])


def test_the_last_layer_of_a_causal_model(folder):
    model = load_model(folder, for_causal_model(CAUSAL))
    names = last_layer(model)
    assert names
    assert all(".layers.1." in name for name in names)
    rows = encode_prompts(for_causal_model(CAUSAL), load_tokenizer(folder), tiny_examples())
    kernel = entk(model, rows, parameters=names, progress=False)
    assert set(kernel.parameters) == set(names)
