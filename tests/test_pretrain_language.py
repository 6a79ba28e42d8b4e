"""Masked rows of the generated language, and what training makes of their padding."""

from __future__ import annotations

import pytest
import torch

from tangentlm.minilang import LEXICON, Language, make_tokenizer
from tangentlm.pretrain import loop, new_model, parameter_groups, pretrain
from tangentlm.pretrain.language import LanguageRows
from tangentlm.pretrain.loop import held_out_loss, loss_of
from tangentlm.pretrain.packed_rows import MaskedBatch, step_seed
from toy_text import tiny_recipe

CPU = torch.device("cpu")
LENGTH = 64
TOKENIZER = make_tokenizer()
VERDICTS = sorted({word for prompt in LEXICON.prompts.values() for word in prompt.verdicts})
SPECIAL = torch.tensor(TOKENIZER.all_special_ids)


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """The same numbers on every machine."""
    monkeypatch.setattr(loop, "has_bfloat16", lambda _device: False)


def rows_of(language=None, length=LENGTH, seed=0, masked_verdicts=0.8):
    return LanguageRows(language or Language(), TOKENIZER, length, seed, masked_verdicts)


def same(one, other):
    fields = ("input_ids", "masked", "targets", "attention_mask")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)


def originals(batch):
    """The rows before anything was masked."""
    rows = batch.input_ids.clone()
    rows[batch.masked] = batch.targets
    return rows


# --- what a batch holds ---------------------------------------------------------------------


def test_a_batch_depends_on_seed_and_step_alone():
    rows = rows_of(seed=3)
    first = rows.batch(5, 8, 0.2)
    torch.manual_seed(1)
    rows.batch(6, 8, 0.2)
    assert same(first, rows.batch(5, 8, 0.2))
    assert same(first, rows_of(seed=3).batch(5, 8, 0.2))
    assert not torch.equal(first.targets, rows.batch(6, 8, 0.2).targets)
    assert not torch.equal(first.targets, rows_of(seed=4).batch(5, 8, 0.2).targets)


@pytest.mark.parametrize("natural", [("A",), ("B",), ("A", "B"), ()])
def test_the_documents_are_those_of_the_language(natural):
    language = Language(natural=natural)
    for seed, step in ((0, 0), (0, 7), (9, 7)):
        batch = rows_of(language, seed=seed).batch(step, 16, 0.3)
        texts = [" ".join(t.split()) for t in language.documents(16, step_seed(seed, step))]
        found = TOKENIZER.batch_decode(originals(batch), skip_special_tokens=True)
        assert [" ".join(text.split()) for text in found] == texts


def test_targets_are_what_stood_at_the_masks():
    language, batch = Language(), rows_of().batch(2, 16, 0.3)
    assert (batch.input_ids[batch.masked] == TOKENIZER.mask_token_id).all()
    assert not (batch.input_ids[~batch.masked] == TOKENIZER.mask_token_id).any()
    # Told apart from the texts alone, word by word: <s> stands before the first.
    expected = [
        word
        for row, text in zip(batch.masked, language.documents(16, step_seed(0, 2)), strict=True)
        for word, masked in zip(text.split(), row[1:].tolist(), strict=False)
        if masked
    ]
    assert TOKENIZER.convert_ids_to_tokens(batch.targets) == expected


def test_every_row_is_one_document_padded_on_the_right():
    batch = rows_of().batch(0, 32, 0.2)
    lengths = [len(text.split()) + 2 for text in Language().documents(32, step_seed(0, 0))]
    assert batch.attention_mask.sum(dim=1).tolist() == lengths
    assert batch.input_ids.shape == batch.masked.shape == (32, max(lengths))
    assert len(set(lengths)) > 3
    for ids, mask, length in zip(batch.input_ids, batch.attention_mask, lengths, strict=True):
        assert mask.tolist() == [1] * length + [0] * (max(lengths) - length)
        assert ids[0] == TOKENIZER.bos_token_id
        assert ids[length - 1] == TOKENIZER.eos_token_id
        assert (ids[length:] == TOKENIZER.pad_token_id).all()


@pytest.mark.parametrize("share", [0.2, 0.999])
def test_only_words_are_masked(share):
    for step in range(10):
        batch = rows_of(masked_verdicts=0.999).batch(step, 16, share)
        assert not torch.isin(batch.targets, SPECIAL).any()
        assert (batch.attention_mask[batch.masked] == 1).all()


def test_no_document_of_the_language_is_cut():
    rows = rows_of()
    assert max(rows.batch(step, 64, 0.2).input_ids.shape[1] for step in range(10)) <= LENGTH
    assert rows.length == LENGTH


def test_a_document_that_is_too_long_is_cut_and_ended():
    batch = rows_of(length=20).batch(0, 8, 0.2)
    assert batch.input_ids.shape == (8, 20)
    assert (batch.input_ids[:, -1] == TOKENIZER.eos_token_id).all()
    assert not batch.masked[:, [0, -1]].any()


# --- how much is masked ---------------------------------------------------------------------


@pytest.mark.parametrize(("share", "masked_verdicts"), [(0.2, 0.8), (0.15, 0.15), (0.5, 0.1)])
def test_verdicts_and_other_words_are_masked_as_often_as_said(share, masked_verdicts):
    verdicts = torch.tensor(TOKENIZER.convert_tokens_to_ids(VERDICTS))
    rows = rows_of(masked_verdicts=masked_verdicts)
    seen = {True: [0, 0], False: [0, 0]}
    for step in range(60):
        batch = rows.batch(step, 16, share)
        ids = originals(batch)
        words = ~torch.isin(ids, SPECIAL)
        for verdict in (True, False):
            those = words & (torch.isin(ids, verdicts) == verdict)
            seen[verdict][0] += int((those & batch.masked).sum())
            seen[verdict][1] += int(those.sum())
    for expected, (masked, total) in ((masked_verdicts, seen[True]), (share, seen[False])):
        assert total > 800
        assert abs(masked / total - expected) < 4 * (expected * (1 - expected) / total) ** 0.5


def test_the_verdicts_of_both_prompts_are_masked_wherever_they_stand():
    """In a language without prompts they stand in idle clauses alone."""
    rows = rows_of(Language(natural=()), masked_verdicts=0.999)
    found = set()
    for step in range(60):
        batch = rows.batch(step, 32, 1e-9)
        words = TOKENIZER.convert_ids_to_tokens(batch.targets)
        assert len([word for word in words if word not in VERDICTS]) <= 1  # the one that must be
        found.update(words)
    assert set(VERDICTS) <= found


@pytest.mark.parametrize("size", [1, 4])
def test_at_least_one_word_is_masked(size):
    rows = rows_of(masked_verdicts=1e-9)
    for step in range(20):
        batch = rows.batch(step, size, 1e-9)
        assert len(batch.targets) == batch.masked.sum() == 1
        assert not torch.isin(batch.targets, SPECIAL).any()


def test_there_is_no_end_of_documents():
    rows = rows_of()
    assert rows.count > 10**9
    assert len(rows.batch(10**9, 2, 0.2).input_ids) == 2


# --- training on padded rows ----------------------------------------------------------------

ARCHITECTURES = ("modernbert", "bert", "roberta")


def recipe_of(architecture):
    positions = {"modernbert": 64, "bert": 64, "roberta": 66}[architecture]
    settings = {**tiny_recipe(architecture).settings, "max_position_embeddings": positions}
    return tiny_recipe(
        architecture, settings=settings, vocabulary=len(TOKENIZER), length=LENGTH, steps=6
    )


def alone(batch):
    """Every row of a batch as a batch of its own, without padding; those with a mask."""
    for ids, masked, mask in zip(batch.input_ids, batch.masked, batch.attention_mask, strict=True):
        length = int(mask.sum())
        if masked.any():
            yield ids[None, :length], masked[None, :length]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loss_of_padded_rows_is_that_of_the_rows_alone(architecture):
    model = new_model(recipe_of(architecture), TOKENIZER, 0).eval()
    batch = rows_of().batch(0, 8, 0.3)
    assert (batch.attention_mask == 0).any()
    with torch.no_grad():
        logits = torch.cat([model(input_ids=ids).logits[masked] for ids, masked in alone(batch)])
        log_p = logits.log_softmax(dim=1)[range(len(logits)), batch.targets]
        loss = loss_of(model, batch, CPU)
    assert float(loss) == pytest.approx(-float(log_p.mean()), rel=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_gives_no_gradient(architecture):
    recipe = recipe_of(architecture)
    batch = rows_of().batch(0, 4, 0.3)
    more = torch.cat([batch.input_ids, torch.full((4, 5), TOKENIZER.pad_token_id)], dim=1)
    nothing = torch.zeros(4, 5, dtype=torch.long)
    wider = MaskedBatch(
        more,
        torch.cat([batch.masked, nothing.bool()], dim=1),
        batch.targets,
        torch.cat([batch.attention_mask, nothing], dim=1),
    )
    gradients = []
    for some in (batch, wider):
        model = new_model(recipe, TOKENIZER, 0).eval()
        loss_of(model, some, CPU).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_held_out_loss_and_training_take_padded_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "HELD_OUT_BATCHES", 3)
    recipe, rows, held_out = recipe_of("modernbert"), rows_of(), rows_of(seed=99)
    model = new_model(recipe, TOKENIZER, 0)
    groups = parameter_groups(model, recipe, TOKENIZER, "standard")
    trained = pretrain(model, groups, rows, held_out, recipe, tmp_path, progress=False)
    assert trained.state.step == 6
    losses, right = [], []
    with torch.no_grad():
        for step in range(3):
            batch = held_out.batch(step, recipe.batch_size, recipe.masked)
            logits = torch.cat(
                [model(input_ids=ids).logits[masked] for ids, masked in alone(batch)]
            )
            losses.append(torch.nn.functional.cross_entropy(
                logits, batch.targets, reduction="none"))  # fmt: skip
            right.append(logits.argmax(dim=1) == batch.targets)
    expected = float(torch.cat(losses).mean()), float(torch.cat(right).double().mean())
    assert held_out_loss(model, held_out, recipe, CPU) == pytest.approx(expected, rel=1e-5)
    assert trained.held_out_loss == pytest.approx(expected[0], rel=1e-5)
