"""Pre-training text: documents, the tokenizer, packed rows and their masks."""

from __future__ import annotations

import lzma
import math
import os
import shutil
from collections import Counter

import datasets
import numpy as np
import pytest
import torch

from tangentlm.errors import InputError
from tangentlm.params import project_root
from tangentlm.pretrain import PackedRows, load_probes, open_corpus, prepare, vocabulary
from tangentlm.pretrain import prepared as prepared_module
from tangentlm.pretrain.corpus import CORPUS_VARIABLE, HELD_OUT, is_held_out
from tangentlm.pretrain.packed_rows import join, unigram_loss
from tangentlm.pretrain.vocabulary import (
    SPECIAL_TOKENS,
    label_words_of_all_tasks,
    train_tokenizer,
)
from tangentlm.tasks import list_tasks, load_task, read_part
from toy_text import WORDS, encoded, packed, sentences, tokenizer_of

TEXTS = ["a first line", "the second, longer line", "Ünïcode – the third"]


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def _no_corpus(monkeypatch):
    monkeypatch.delenv(CORPUS_VARIABLE, raising=False)


def write(folder, **files):
    """Files of lines; a name that ends with ``_xz`` is compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        text = "".join(f"{line}\n" for line in lines).encode()
        if name.endswith("_xz"):
            (folder / f"{name[:-3]}.txt.xz").write_bytes(lzma.compress(text))
        else:
            (folder / f"{name}.txt").write_bytes(text)
    return folder


# --- corpus ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["part", "part_xz"])
def test_a_document_is_a_line_that_is_not_blank(tmp_path, name):
    write(tmp_path, **{name: [TEXTS[0], "", "   ", f"  {TEXTS[1]}\t ", TEXTS[2]]})
    assert list(open_corpus(tmp_path).documents()) == TEXTS


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    write(tmp_path, b_xz=TEXTS[1:2], c=TEXTS[2:], a=TEXTS[:1])
    (tmp_path / "notes.md").write_text("no text of the corpus")
    corpus = open_corpus(tmp_path)
    assert corpus.source == "a.txt, b.txt.xz, c.txt"
    for _ in range(2):  # it can be read again
        assert list(corpus.documents()) == TEXTS


def test_blanks_inside_a_document_are_single(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\t two\r\n  three   four")
    assert list(open_corpus(tmp_path).documents()) == ["one two", "three four"]


def test_the_variable_names_the_corpus_and_the_parameter_goes_first(tmp_path, monkeypatch):
    one, other = write(tmp_path / "1", a=TEXTS[:1]), write(tmp_path / "2", a=TEXTS[1:])
    monkeypatch.setenv(CORPUS_VARIABLE, str(one))
    assert list(open_corpus().documents()) == TEXTS[:1]
    assert list(open_corpus(str(other)).documents()) == TEXTS[1:]


@pytest.mark.parametrize("empty", [None, ""])
def test_where_nothing_is_named_the_variable_is(empty, monkeypatch):
    monkeypatch.setenv(CORPUS_VARIABLE, "")
    refused(f"no corpus: set {CORPUS_VARIABLE}", open_corpus, empty)


def test_a_folder_that_is_no_corpus_is_refused_by_its_name(tmp_path):
    refused("the corpus folder .*/nowhere does not exist", open_corpus, tmp_path / "nowhere")
    (tmp_path / "page.html").write_text("text")
    refused(r"the corpus folder .* has no \.txt or \.txt\.xz file", open_corpus, tmp_path)
    refused("does not exist", open_corpus, tmp_path / "page.html")


def test_broken_utf_8_is_named_with_its_line(tmp_path):
    write(tmp_path, a=TEXTS)
    lines = b"".join(f"line {number}\n".encode() for number in range(1, 5))
    (tmp_path / "b.txt").write_bytes(lines + b"caf\xe9\nline 6\n")
    documents = open_corpus(tmp_path).documents()
    refused(r"b\.txt cannot be read after line 4: .*utf-8", list, documents)


@pytest.mark.parametrize("left", [0.6, 0.0])
def test_a_broken_archive_is_named_with_its_line(tmp_path, left):
    lines = [f"{number} {np.random.default_rng(number).bytes(40).hex()}" for number in range(2000)]
    path = write(tmp_path, a_xz=lines) / "a.txt.xz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))] or b"this is no archive")
    read = []
    with pytest.raises(InputError, match=r"a\.txt\.xz cannot be read after line \d+") as caught:
        read.extend(open_corpus(tmp_path).documents())
    number = int(str(caught.value).split("after line ")[1].split(":")[0])
    assert (number > 500) is (left > 0)
    assert number < 2000


def test_the_checksum_is_of_the_content_and_not_of_the_place(tmp_path):
    first = open_corpus(write(tmp_path / "1", a=TEXTS, b_xz=TEXTS))
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    os.utime(tmp_path / "2" / "a.txt", (0, 0))
    assert open_corpus(tmp_path / "2").checksum == first.checksum
    assert len(first.checksum) == 64
    others = [
        write(tmp_path / "3", a=[*TEXTS, "more"], b_xz=TEXTS),
        write(tmp_path / "4", a=TEXTS, b_xz=TEXTS[:2]),
        write(tmp_path / "5", a=TEXTS),
        write(tmp_path / "6", a=TEXTS[::-1], b_xz=TEXTS),
    ]
    checksums = {open_corpus(folder).checksum for folder in others}
    assert len(checksums | {first.checksum}) == 5


def test_a_file_that_is_changed_in_place_has_another_checksum(tmp_path):
    first = open_corpus(write(tmp_path, a=["one"])).checksum
    assert open_corpus(write(tmp_path, a=["one", "two"])).checksum != first


def test_one_document_in_two_hundred_is_held_out_by_its_text_alone():
    texts = [f"document {number} of many" for number in range(20_000)]
    held_out = [text for text in texts if is_held_out(text)]
    assert HELD_OUT == 200
    assert abs(len(held_out) - 100) < 40  # four standard deviations
    assert [text for text in reversed(texts) if is_held_out(text)] == held_out[::-1]
    assert not any(is_held_out(text) for text in texts[:100] if text not in held_out)


def test_the_bundled_corpus_is_the_training_texts_of_the_bundled_tasks():
    tasks = [load_task(name) for name in ("inference", "reviews", "topics")]
    corpus = open_corpus("bundled")
    documents = Counter(corpus.documents())
    trained = Counter(
        " ".join(text.split())
        for task in tasks
        for row in read_part(task, "train")
        for text in (row.text_a, row.text_b)
        if text
    )
    assert documents == trained
    tested = {row.text_a for task in tasks for row in read_part(task, "test")}
    assert not tested & documents.keys()
    assert any(is_held_out(text) for text in documents)
    assert corpus.checksum == open_corpus("bundled").checksum
    assert len(corpus.checksum) == 64


# --- corpora of the hub ---------------------------------------------------------------------


class Table(list):
    """What ``load_dataset`` returns, as far as it is used."""

    column_names = ("text", "meta")


@pytest.fixture
def hub(monkeypatch):
    """A hub with four data sets; what was asked of it is kept."""
    there = {
        ("wikitext", "wikitext-103-raw-v1"),
        ("owner/name", "configuration"),
        ("owner/name", None),
        ("plain", None),
    }
    asked = []

    def load_dataset(path, configuration=None, *, split):
        asked.append((path, configuration))
        assert split == "train"
        if (path, configuration) not in there:
            raise FileNotFoundError(f"{path} is not there\nat all")
        return Table({"text": text} for text in [f"text of {path}", "", " more\nof it "])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize(
    ("name", "path", "configuration"),
    [
        ("plain", "plain", None),
        ("wikitext/wikitext-103-raw-v1", "wikitext", "wikitext-103-raw-v1"),
        ("owner/name/configuration", "owner/name", "configuration"),
        ("owner/name", "owner/name", None),
    ],
)
def test_a_name_of_the_hub_is_a_data_set_and_its_configuration(hub, name, path, configuration):
    corpus = open_corpus(f"hub:{name}")
    assert not hub  # nothing is loaded before it is read
    assert corpus.source == name
    assert list(corpus.documents()) == [f"text of {path}", "more of it"]
    assert hub[-1] == (path, configuration)


def test_corpora_of_the_hub_differ_in_their_checksum(hub):
    checksums = {open_corpus(f"hub:{name}").checksum for name in ("plain", "owner/name", "other")}
    assert len(checksums) == 3
    assert open_corpus("hub:plain").checksum in checksums


@pytest.mark.parametrize("name", ["plian", "owner/nmae", "owner/name/x"])
def test_a_corpus_that_is_not_on_the_hub_is_refused(hub, name):
    refused(f"corpus {name}: cannot be loaded from the hub .*is not there", list,
            open_corpus(f"hub:{name}").documents())  # fmt: skip


def test_a_data_set_without_text_is_refused(monkeypatch):
    table = Table()
    table.column_names = ["sentence", "label"]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    refused("corpus x has no column 'text', only .*'sentence'", list,
            open_corpus("hub:x").documents())  # fmt: skip


# --- the tokenizer --------------------------------------------------------------------------


def pieces(tokenizer, text):
    return tokenizer.tokenize(text)


def test_special_tokens_have_the_first_ids():
    tokenizer = tokenizer_of()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert list(SPECIAL_TOKENS.values()) == tokens
    assert tokenizer.convert_tokens_to_ids(tokens) == [0, 1, 2, 3, 4]
    names = ("bos", "pad", "eos", "unk", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4]
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 2)


def test_a_demanded_word_is_one_token_with_its_blank():
    words = ("antidisestablishment", "Paris", "xylophone", *WORDS)
    tokenizer = train_tokenizer(lambda: sentences(50), 400, words)
    plain = train_tokenizer(lambda: sentences(50), 400)
    for word in words:
        assert pieces(tokenizer, f"it was {word}.")[-2] == f"Ġ{word}"
        assert len(pieces(plain, f" {word}")) > 1


def test_a_word_is_one_token_however_often_other_words_stand_in_the_text(monkeypatch):
    # What is first tried is too little against this text, so it is tried again with more.
    monkeypatch.setattr(vocabulary, "_FIRST_REPEATS", 2)
    texts = sentences(300)
    assert len(pieces(tokenizer_of(), " zebra")) > 1
    tokenizer = train_tokenizer(lambda: texts, 275, ("zebra",))
    assert pieces(tokenizer, " zebra") == ["Ġzebra"]


def test_the_vocabulary_has_the_size_that_was_asked_for():
    for size in (290, 330):
        assert len(train_tokenizer(lambda: sentences(200), size, WORDS)) == size


def test_the_mask_takes_the_blank_before_it():
    tokenizer = tokenizer_of()
    ids = tokenizer("it was <mask>.", add_special_tokens=False)["input_ids"]
    assert ids == tokenizer("it was<mask>.", add_special_tokens=False)["input_ids"]
    filled = tokenizer("it was great.", add_special_tokens=False)["input_ids"]
    (at,) = [number for number, token in enumerate(ids) if token == tokenizer.mask_token_id]
    assert [*ids[:at], filled[at], *ids[at + 1 :]] == filled


def test_rows_begin_and_end_with_their_tokens():
    tokenizer = tokenizer_of()
    ids = tokenizer("the old dog")["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert 0 not in ids[1:]
    pair = tokenizer("the old dog", "my cat")["input_ids"]
    assert pair[:1] + pair[-1:] == [0, 2]
    assert pair.count(2) == 3  # as RoBERTa has it, two between the texts


@pytest.mark.parametrize("text", ["plain", "Ünïcode – ≠ 漢字 🙂", "<s> and <mask> in a text"])
def test_every_text_can_be_read_back(text):
    tokenizer = tokenizer_of()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    if "<" not in text:
        assert tokenizer.decode(ids) == text


def test_a_vocabulary_that_is_too_small_for_the_words_is_refused():
    words = ("wonderful", "xylophone")
    refused("a vocabulary of 268 is too small to hold '(wonderful|xylophone)' as one token",
            train_tokenizer, lambda: sentences(20), 268, words)  # fmt: skip


def test_a_vocabulary_that_is_too_small_is_refused_before_the_text_is_read():
    def never():
        pytest.fail("the text was read")

    refused("too small", train_tokenizer, never, 300, load_probes().words)


def test_the_same_text_gives_the_same_tokenizer():
    one, other = (train_tokenizer(lambda: sentences(200), 330, WORDS) for _ in range(2))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
    different = train_tokenizer(lambda: TEXTS * 9, 330, WORDS)
    assert different.get_vocab() != one.get_vocab()


def test_label_words_are_those_of_every_task():
    words = label_words_of_all_tasks()
    assert words == sorted(set(words))
    for name in list_tasks():
        assert set(load_task(name).label_words) <= set(words)


# --- packed rows ----------------------------------------------------------------------------


def epoch_of(rows, number):
    """The bodies of the rows of an epoch, without their <s>."""
    return rows.rows(number * rows.count, rows.count)[:, 1:]


def test_documents_are_joined_with_their_ends():
    documents = join([np.array([7, 8, 2], dtype=np.uint16), np.array([9, 2], dtype=np.uint16)])
    assert documents.tokens.tolist() == [7, 8, 2, 9, 2]
    assert documents.ends.tolist() == [3, 5]
    assert documents.in_order(np.array([1, 0])).tolist() == [9, 2, 7, 8, 2]
    assert join([]).tokens.tolist() == []


def test_an_epoch_has_every_token_once_but_for_the_remainder():
    tokenizer = tokenizer_of()
    documents = encoded(sentences(60), tokenizer)
    rows = PackedRows(documents, tokenizer, 16, seed=0)
    assert rows.count == len(documents.tokens) // 15
    remainder = len(documents.tokens) - 15 * rows.count
    whole = Counter(documents.tokens.tolist())
    for number in range(3):
        seen = Counter(epoch_of(rows, number).flatten().tolist())
        assert not seen - whole
        assert (whole - seen).total() == remainder < 15


def test_documents_stand_whole_in_an_epoch():
    # With a length that leaves no remainder, every document can be found in the joined rows.
    parts = [np.array([*range(10 * n + 10, 10 * n + 16), 2], dtype=np.uint16) for n in range(9)]
    rows = PackedRows(join(parts), tokenizer_of(), 64, seed=3)
    assert rows.count == 1
    body = epoch_of(rows, 0)[0].tolist()
    assert sorted(body[at : at + 7] for at in range(0, 63, 7)) == [part.tolist() for part in parts]


def test_an_epoch_reads_a_part_as_often_as_it_is_told():
    parts = [np.array([*range(10 * n + 10, 10 * n + 16), 2], dtype=np.uint16) for n in range(9)]
    documents = join(parts, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    rows = PackedRows(documents, tokenizer_of(), 64, seed=3, passes=[2, 0, 1])
    assert rows.count == 1
    body = epoch_of(rows, 0)[0].tolist()
    seen = sorted(body[at : at + 7] for at in range(0, 63, 7))
    assert seen == sorted(part.tolist() for part in [*parts[:3], *parts[:3], *parts[6:]])


def test_once_is_what_is_read_where_nothing_is_said():
    documents = encoded(sentences(60), tokenizer_of())
    rows = [PackedRows(documents, tokenizer_of(), 16, 0, passes) for passes in (None, [1])]
    assert torch.equal(*(epoch_of(each, 1) for each in rows))


def test_a_corpus_left_out_as_a_whole_is_refused():
    documents = encoded(sentences(60), tokenizer_of())
    with pytest.raises(InputError, match="0 tokens, not one row of 16"):
        PackedRows(documents, tokenizer_of(), 16, 0, passes=[0])


def test_the_parts_of_a_corpus_are_its_files(text, root):
    assert text.parts == ("a", "b")
    assert text.passes({"b": 3}) == [1, 3]
    with pytest.raises(InputError, match="unknown part of the corpus 'books'; known: a, b"):
        text.passes({"books": 2})
    prepared = prepare(text, SIZE, 64, progress=False)
    counted = Counter(part for part, line in text.documents_by_part() if not is_held_out(line))
    assert Counter(prepared.train.parts.tolist()) == counted == {0: counted[0], 1: counted[1]}


def test_a_row_starts_with_the_start_token():
    rows = packed(length=12)
    batch = rows.rows(3, 7)
    assert batch.shape == (7, 12)
    assert batch.dtype == torch.int64
    assert (batch[:, 0] == 0).all()
    assert (batch[:, 1:] != 0).all()


def test_rows_do_not_stand_as_they_were_packed():
    # Rows of one long document would otherwise come one after another.
    parts = [np.array([*range(5, 305)], dtype=np.uint16)]
    rows = PackedRows(join(parts), tokenizer_of(), 11, seed=0)
    first = epoch_of(rows, 0)[:, 0]
    assert sorted(first.tolist()) == list(range(5, 305, 10))
    assert first.tolist() != sorted(first.tolist())


def test_orders_differ_between_epochs_and_seeds_and_repeat():
    one, same, other = packed(seed=1), packed(seed=1), packed(seed=2)
    assert torch.equal(epoch_of(one, 0), epoch_of(same, 0))
    assert torch.equal(epoch_of(one, 1), epoch_of(same, 1))
    assert not torch.equal(epoch_of(one, 0), epoch_of(one, 1))
    assert not torch.equal(epoch_of(one, 0), epoch_of(other, 0))
    assert torch.equal(epoch_of(one, 0), epoch_of(same, 0))  # again, after another epoch


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_rows_go_on_over_the_end_of_an_epoch(size):
    rows = packed()
    wanted = torch.cat([epoch_of(rows, number) for number in range(1000 // rows.count + 2)])
    first = rows.count - 2
    taken = rows.rows(first, size)
    assert torch.equal(taken[:, 1:], wanted[first : first + size])


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5])
def test_every_row_has_the_same_number_of_masks_and_none_at_the_start(share):
    rows = packed(length=21)
    for step in range(5):
        batch = rows.batch(step, 8, share)
        original = rows.rows(8 * step, 8)
        assert batch.input_ids.shape == batch.masked.shape == (8, 21)
        assert (batch.masked.sum(dim=1) == max(round(share * 20), 1)).all()
        assert not batch.masked[:, 0].any()
        assert (batch.input_ids[batch.masked] == 4).all()
        assert torch.equal(batch.input_ids[~batch.masked], original[~batch.masked])
        assert torch.equal(batch.targets, original[batch.masked])


def test_every_position_but_the_first_is_masked_as_often():
    rows = packed(length=21)
    often = sum(rows.batch(step, 8, 0.2).masked.sum(dim=0) for step in range(250))
    # 2000 rows, each with 4 of 20 positions: 400 a position, standard deviation 18.
    assert often[0] == 0
    assert (often[1:] - 400).abs().max() < 5 * math.sqrt(2000 * 0.2 * 0.8)


def test_a_batch_depends_on_seed_and_step_alone():
    torch.manual_seed(1)
    rows = packed(seed=5)
    backwards = {step: rows.batch(step, 4, 0.2) for step in (9, 2, 0)}
    torch.manual_seed(2)
    again = packed(seed=5)
    for step, batch in backwards.items():
        other = again.batch(step, 4, 0.2)
        assert torch.equal(batch.input_ids, other.input_ids)
        assert torch.equal(batch.masked, other.masked)
        assert torch.equal(batch.targets, other.targets)
    assert not torch.equal(packed(seed=6).batch(2, 4, 0.2).masked, backwards[2].masked)
    assert not torch.equal(backwards[0].masked, backwards[2].masked)


def test_batches_leave_the_random_numbers_alone():
    rows = packed()
    before = torch.get_rng_state()
    rows.batch(3, 4, 0.2)
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_of_an_epoch_are_others_in_the_next():
    rows = packed()
    batches = [rows.batch(epoch * rows.count, 1, 0.2).masked for epoch in range(6)]
    assert len({tuple(masked.flatten().tolist()) for masked in batches}) > 1


def test_too_little_text_for_a_row_is_refused():
    tokenizer = tokenizer_of()
    documents = encoded(["the old dog"], tokenizer)
    count = len(documents.tokens)
    assert PackedRows(documents, tokenizer, count + 1, 0).count == 1
    refused(f"the text has {count} tokens, not one row of {count + 2}",
            PackedRows, documents, tokenizer, count + 2, 0)  # fmt: skip


def test_word_frequencies_give_the_loss_of_the_unigram_model():
    train = join([np.array([5, 5, 5, 6], dtype=np.uint16)])
    held_out = join([np.array([5, 6, 7], dtype=np.uint16)])
    # Counts with one more each, of 8 tokens: 5 has 4 of 12, 6 has 2, every other one.
    expected = -(math.log(4 / 12) + math.log(2 / 12) + math.log(1 / 12)) / 3
    assert unigram_loss(train, held_out, 8) == pytest.approx(expected, rel=1e-12)


# --- a corpus, prepared ---------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of its own: what is prepared is written there."""
    folder = tmp_path / "project"
    folder.mkdir()
    for linked in ("params", "assets"):
        (folder / linked).symlink_to(project_root() / linked)
    monkeypatch.setenv("TANGENTLM_ROOT", str(folder))
    monkeypatch.setattr(vocabulary, "_FIRST_REPEATS", 100)  # enough for so short a text
    return folder


SIZE = 2000


@pytest.fixture
def text(tmp_path):
    return open_corpus(write(tmp_path / "corpus", a=sentences(400), b_xz=sentences(400, seed=1)))


def test_a_corpus_is_prepared_once(root, text, monkeypatch, capsys):
    first = prepare(text, SIZE, 64, progress=False)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(prepared_module, "train_tokenizer", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(prepared_module, "_encode", lambda *_, **__: pytest.fail("encoded"))
    again = prepare(text, SIZE, 64)
    for part in ("train", "held_out"):
        one, other = getattr(first, part), getattr(again, part)
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.ends, other.ends)
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    (kept,) = (root / "runs" / ".corpora").iterdir()
    assert kept.name == first.checksum == again.checksum


def test_a_prepared_corpus_is_its_documents(root, text):
    prepared = prepare(text, SIZE, 64, progress=False)
    tokenizer = prepared.tokenizer
    assert tokenizer.model_max_length == 64
    texts = list(text.documents())
    for documents, kept in (
        (prepared.train, [t for t in texts if not is_held_out(t)]),
        (prepared.held_out, [t for t in texts if is_held_out(t)]),
    ):
        expected = encoded(kept, tokenizer)
        assert kept
        assert np.array_equal(documents.tokens, expected.tokens)
        assert np.array_equal(documents.ends, expected.ends)
    for word in {*load_probes().words, *label_words_of_all_tasks()}:
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1
    reference = tokenizer_of()
    assert tokenizer.padding_side == reference.padding_side == "right"
    ids = tokenizer("It was <mask>.")["input_ids"]
    assert ids == tokenizer("It was<mask>.")["input_ids"]


@pytest.mark.parametrize("change", ["text", "vocabulary", "length", "words"])
def test_what_a_tokenizer_depends_on_prepares_anew(root, text, tmp_path, monkeypatch, change):
    prepare(text, SIZE, 64, progress=False)
    size, length = SIZE, 64
    if change == "text":
        text = open_corpus(write(tmp_path / "other", a=sentences(900, seed=3)))
    elif change == "vocabulary":
        size = SIZE - 100
    elif change == "length":
        length = 32
    else:
        monkeypatch.setattr(prepared_module, "label_words_of_all_tasks", lambda: ["quixotic"])
    prepared = prepare(text, size, length, progress=False)
    assert len(list((root / "runs" / ".corpora").iterdir())) == 2
    assert prepared.tokenizer.model_max_length == length
    assert ("Ġquixotic" in prepared.tokenizer.get_vocab()) is (change == "words")


def test_what_was_half_prepared_leaves_nothing(root, text, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared_module, "_encode", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(text, SIZE, 64, progress=False)
    assert list((root / "runs" / ".corpora").iterdir()) == []
    assert len(prepare(text, SIZE, 64, progress=False).train.ends)


def test_two_processes_may_prepare_one_corpus(root, text, monkeypatch):
    encode = prepared_module._encode

    def slower(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(prepared_module, "_encode", encode)
            prepare(text, SIZE, 64, progress=False)
        return encode(*arguments)

    monkeypatch.setattr(prepared_module, "_encode", slower)
    prepared = prepare(text, SIZE, 64, progress=False)
    assert [path.name for path in (root / "runs" / ".corpora").iterdir()] == [prepared.checksum]


def test_a_text_of_which_nothing_is_held_out_is_refused(root, tmp_path):
    lines = [line for line in sentences(300) if not is_held_out(line)]
    corpus = open_corpus(write(tmp_path / "corpus", a=lines))
    for _ in range(2):
        refused(r"corpus a\.txt: no document for the part held-out", prepare, corpus, SIZE, 64,
                progress=False)  # fmt: skip


def test_the_tokenizer_of_a_start_is_taken(root, text, tmp_path):
    start = str(tmp_path / "start")
    tokenizer_of().save_pretrained(start)
    (tmp_path / "start" / "config.json").write_text('{"model_type": "bert"}')
    size = len(tokenizer_of())
    taken = prepare(text, size, 64, start=start, progress=False)
    assert taken.tokenizer.get_vocab() == tokenizer_of().get_vocab()
    assert taken.checksum != prepare(text, SIZE, 64, progress=False).checksum
    kept = [document for document in text.documents() if not is_held_out(document)]
    assert np.array_equal(taken.train.tokens, encoded(kept, tokenizer_of()).tokens)
    with pytest.raises(InputError, match=f"vocabulary is {size + 1}, that of .*, {size}$"):
        prepare(text, size + 1, 64, start=start, progress=False)
