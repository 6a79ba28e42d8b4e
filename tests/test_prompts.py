import functools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from tangentlm.batches import select_rows, unpadded_batches
from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.tasks import Example, Task, list_tasks, load_task
from tangentlm.tasks.prompts import encode_prompts, encode_texts, label_word_ids, labels_of
from tiny import tiny_tokenizer

TOKENIZERS = ("pocket", "bytes", "words")
# The pieces of the template before and after the mask, as they have to stand in every row.
TEMPLATES = {
    "{text_a} It was {mask} .": (" It was", " ."),
    "{text_a} This article is about {mask} news.": (" This article is about", " news."),
    "{text_a} ? {mask} , {text_b}": (" ?", " ,"),
    "{text_a} {mask} , {text_b}": ("", " ,"),
    "{mask} : {text_a}": ("", " :"),
}
LONG = "the film was great and the food was terrible " * 40
SHORT = "a fine cast"


@functools.cache
def tokenizer_of(kind):
    return load_tokenizer("pocket") if kind == "pocket" else tiny_tokenizer(kind)


def make_task(template="{text_a} It was {mask} .", max_length=32, label_words=("No", "Yes")):
    return Task(
        name="toy",
        title="Toy",
        labels=[str(number) for number in range(len(label_words))],
        template=template,
        label_words=label_words,
        max_length=max_length,
    )


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def rows_of(batch):
    return [
        row[mask.bool()].tolist()
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def check_row(tokenizer, task, example, row, mask_position):
    """The prompt stands whole around the mask, the texts are cut at their ends and only so far."""
    before, after = (ids(tokenizer, piece) for piece in TEMPLATES[task.template])
    assert row.count(tokenizer.mask_token_id) == 1
    assert row[mask_position] == tokenizer.mask_token_id
    assert row[0] == tokenizer.bos_token_id
    assert row[-1] == tokenizer.eos_token_id
    left, right = row[1:mask_position], row[mask_position + 1 : -1]
    assert left[len(left) - len(before) :] == before
    assert right[: len(after)] == after
    left, right = left[: len(left) - len(before)], right[len(after) :]

    if task.template.startswith("{text_a}"):
        whole_left = ids(tokenizer, example.text_a)
        whole_right = ids(tokenizer, " " + example.text_b) if task.is_pair else []
    else:
        whole_left, whole_right = [], ids(tokenizer, " " + example.text_a)
    assert left == whole_left[: len(left)]
    assert right == whole_right[: len(right)]

    room = task.max_length - 3 - len(before) - len(after)
    assert len(left) + len(right) == min(room, len(whole_left) + len(whole_right))
    if len(left) < len(whole_left):
        assert len(left) >= len(right) - 1
    if len(right) < len(whole_right):
        assert len(right) >= len(left) - 1


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "texts", [(LONG, SHORT), (SHORT, LONG), (LONG, LONG), (SHORT, SHORT), ("", LONG), ("", "")]
)
def test_long_text_is_cut_and_the_prompt_is_not(kind, template, texts):
    tokenizer, task = tokenizer_of(kind), make_task(template)
    example = Example(*texts, 0)
    batch = encode_prompts(task, tokenizer, [example])
    (row,) = rows_of(batch)
    check_row(tokenizer, task, example, row, int(batch["mask_position"]))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_longer_text_of_a_pair_is_cut_first(kind):
    tokenizer = tokenizer_of(kind)
    task = make_task("{text_a} ? {mask} , {text_b}")
    for texts in ((LONG, SHORT), (SHORT, LONG)):
        batch = encode_prompts(task, tokenizer, [Example(*texts, 0)])
        (row,) = rows_of(batch)
        position = int(batch["mask_position"])
        left, right = row[1 : position - 1], row[position + 2 : -1]
        short, kept = (right, " " + SHORT) if texts[1] == SHORT else (left, SHORT)
        assert short == ids(tokenizer, kept)
        assert len(row) == task.max_length


@settings(derandomize=True, max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(TOKENIZERS),
    template=st.sampled_from(sorted(TEMPLATES)),
    max_length=st.integers(20, 40),
    texts=st.tuples(st.text(max_size=80), st.text(max_size=80)),
)
def test_no_text_cuts_the_prompt(kind, template, max_length, texts):
    tokenizer, task = tokenizer_of(kind), make_task(template, max_length)
    example = Example(*texts, 0)
    batch = encode_prompts(task, tokenizer, [example])
    (row,) = rows_of(batch)
    assert len(row) <= max_length
    check_row(tokenizer, task, example, row, int(batch["mask_position"]))


EXAMPLES = [
    Example("the film was great", "It was a fine film .", 0),
    Example("a dull plot .", "Maybe", 1),
    Example("", "No , it was not cheap .", 0),
    Example("It was terrible !", "", 1),
]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_short_prompt_is_tokenised_as_the_whole_string(kind, template):
    tokenizer = tokenizer_of(kind)
    batch = encode_prompts(make_task(template, max_length=64), tokenizer, EXAMPLES)
    whole = [
        template.format(text_a=e.text_a, text_b=e.text_b, mask=tokenizer.mask_token)
        for e in EXAMPLES
    ]
    assert rows_of(batch) == tokenizer(whole)["input_ids"]


def test_line_break_of_a_template_is_kept():
    template = "{text_a}\n{text_b} It was {mask} ."
    tokenizer = tokenizer_of("pocket")
    batch = encode_prompts(make_task(template), tokenizer, [Example("one", "two", 0)])
    whole = template.format(text_a="one", text_b="two", mask="<mask>")
    assert rows_of(batch) == [tokenizer(whole)["input_ids"]]


@pytest.mark.parametrize("name", list_tasks())
def test_every_task_s_prompt_fits_the_pocket_model(name):
    tokenizer, task = tokenizer_of("pocket"), load_task(name)
    examples = [Example("Good morning.", "Hello there!", 0), Example(LONG, LONG, 0)]
    batch = encode_prompts(task, tokenizer, examples)
    whole = task.template.format(
        text_a="Good morning.", text_b="Hello there!", mask=tokenizer.mask_token
    )
    assert rows_of(batch)[0] == tokenizer(whole)["input_ids"]
    assert len(rows_of(batch)[1]) == task.max_length
    assert torch.equal(
        (batch["input_ids"] == tokenizer.mask_token_id).nonzero()[:, 1], batch["mask_position"]
    )


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_rows_are_padded_on_the_right(kind):
    tokenizer = tokenizer_of(kind)
    batch = encode_prompts(make_task(), tokenizer, EXAMPLES)
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    assert tokens.shape == mask.shape
    assert batch["mask_position"].shape == (len(EXAMPLES),)
    assert bool((mask.diff(dim=1) <= 0).all())
    assert bool((tokens[mask == 0] == tokenizer.pad_token_id).all())
    assert int(mask.sum(dim=1).max()) == tokens.shape[1]
    alone = [rows_of(encode_prompts(make_task(), tokenizer, [e]))[0] for e in EXAMPLES]
    assert rows_of(batch) == alone


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_label_word_is_one_token_with_its_blank(kind):
    tokenizer = tokenizer_of(kind)
    words = ("great", "Yes", "terrible")
    tokens = label_word_ids(make_task(label_words=words), tokenizer)
    assert [tokenizer.decode([token]).strip() for token in tokens] == list(words)
    if kind != "words":
        assert [tokenizer.decode([token]) for token in tokens] == [" " + word for word in words]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        *((kind, "great terrible") for kind in TOKENIZERS),
        ("pocket", "floccinaucinihilipilification"),
        ("bytes", "Perhaps"),
        ("words", "Perhaps"),
    ],
)
def test_label_word_that_is_not_one_token_is_refused(kind, word):
    task = make_task(label_words=("great", word))
    with pytest.raises(InputError, match=f"task toy: label word '{word}'.*one token") as caught:
        label_word_ids(task, tokenizer_of(kind))
    assert "\n" not in str(caught.value)


def test_label_words_that_are_one_token_are_refused():
    lower = tiny_tokenizer("words")
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    words = ("terrible", "Great", "great")
    one = (
        "task toy: 'Great' of class '1' and 'great' of class '2' are one token of this model; "
        "each class needs a token of its own"
    )
    with pytest.raises(InputError) as caught:
        label_word_ids(make_task(label_words=words), lower)
    assert str(caught.value) == one
    copied = make_task(label_words=words[:2]).model_copy(update={"label_words": ("great", "great")})
    with pytest.raises(InputError, match="of class '0' and 'great' of class '1' are one token"):
        label_word_ids(copied, tokenizer_of("pocket"))


SPECIAL = ("a <mask> here", "a<mask>", "<s> a </s>", "<pad><mask><unk>", "<mask>")


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", SPECIAL)
def test_text_that_looks_like_a_special_token_is_text(kind, text):
    tokenizer, task = tokenizer_of(kind), make_task("{text_a} ? {mask} , {text_b}")
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    examples = [EXAMPLES[0], Example(text, SHORT, 0), Example(SHORT, text, 1)]
    prompts = encode_prompts(task, tokenizer, examples)
    plain = encode_texts(task, tokenizer, examples)
    empty = Example("", "", 0)
    for batch in (prompts, plain):
        encode_again = encode_prompts if batch is prompts else encode_texts
        (around,) = rows_of(encode_again(task, tokenizer, [empty]))
        before = rows_of(encode_again(task, tokenizer, EXAMPLES[:1]))
        assert rows_of(batch)[:1] == before  # beside it nothing changes
        for row in rows_of(batch):
            assert [token for token in row if token in special] == [
                token for token in around if token in special
            ]
    for row, position in zip(rows_of(prompts), prompts["mask_position"], strict=True):
        assert row[position] == tokenizer.mask_token_id
    if kind != "words":  # bytes tell the text, a vocabulary of words does not
        inside = [token for token in rows_of(plain)[1] if token not in special]
        assert tokenizer.decode(inside).startswith(text)


def test_special_tokens_of_a_template_stay_special():
    tokenizer = tokenizer_of("pocket")
    batch = encode_prompts(make_task("{text_a} </s> {mask}"), tokenizer, [Example("</s>", None, 0)])
    assert rows_of(batch)[0].count(tokenizer.eos_token_id) == 2


def test_mask_that_only_the_tokenizer_sees_is_refused():
    lower = tiny_tokenizer("words")
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(InputError, match="task toy, row 1: the text holds a mask"):
        encode_prompts(make_task(), lower, [EXAMPLES[0], Example("a <MASK>", None, 0)])


@pytest.mark.parametrize(
    "text", ["a\0b", "\x1b[31m", "שלום \u202eabc", "🙂\u200d", "\ufffd", "x" * 100_000]
)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_odd_texts_are_encoded(kind, text):
    task = make_task()
    for encoder in (encode_prompts, encode_texts):
        batch = encoder(task, tokenizer_of(kind), [Example(text, None, 0)])
        assert batch["input_ids"].shape[1] <= task.max_length


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prompt_that_leaves_no_room_is_refused(kind):
    tokenizer = tokenizer_of(kind)
    template = "{text_a} This article is about {mask} news and nothing else ."
    empty = encode_prompts(make_task(template, 64), tokenizer, [Example("", None, 0)])
    length = empty["input_ids"].shape[1]
    with pytest.raises(InputError, match=f"task toy: the prompt alone is longer than {length}"):
        encode_prompts(make_task(template, length), tokenizer, [Example("a film", None, 0)])
    batch = encode_prompts(make_task(template, length + 1), tokenizer, [Example(LONG, None, 0)])
    assert batch["input_ids"].shape[1] == length + 1


def test_tokenizer_without_a_mask_is_refused():
    with pytest.raises(InputError, match="no mask token"):
        encode_prompts(make_task(), SimpleNamespace(mask_token_id=None), EXAMPLES)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("template", ["{text_a} {mask}", "{text_a} {mask} {text_b}"])
def test_text_without_a_prompt(kind, template):
    tokenizer, task = tokenizer_of(kind), make_task(template)
    batch = encode_texts(task, tokenizer, [*EXAMPLES, Example(LONG, LONG, 0)])
    rows = rows_of(batch)
    pairs = [e.text_b for e in EXAMPLES] if task.is_pair else None
    assert rows[:-1] == tokenizer([e.text_a for e in EXAMPLES], pairs)["input_ids"]
    assert len(rows[-1]) == task.max_length
    assert set(batch) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pads", [True, False])
def test_rows_are_padded_on_the_right_whatever_the_tokenizer_says(pads, side):
    tokenizer = tiny_tokenizer("bytes")
    tokenizer.padding_side = side
    if not pads:
        tokenizer.pad_token = None
    batch = encode_texts(make_task("{text_a} {mask}"), tokenizer, EXAMPLES)
    rows = tokenizer([example.text_a for example in EXAMPLES])["input_ids"]
    longest = max(map(len, rows))
    filling = tokenizer.pad_token_id if pads else 0
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    for row, tokens, mask in zip(
        rows, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True
    ):
        assert tokens == [*row, *[filling] * (longest - len(row))]
        assert mask == [1] * len(row) + [0] * (longest - len(row))


def test_labels_of_keeps_the_order():
    assert labels_of(EXAMPLES).tolist() == [0, 1, 0, 1]


@pytest.fixture
def batch():
    lengths = torch.tensor([3, 7, 5, 4])
    places = torch.arange(9)
    return {
        "input_ids": torch.arange(36).reshape(4, 9),
        "attention_mask": (places < lengths[:, None]).long(),
        "mask_position": lengths - 1,
        "weight": torch.arange(24.0).reshape(4, 3, 2),
    }


@pytest.mark.parametrize(
    ("index", "width"),
    [
        (torch.tensor([0, 3]), 4),
        (torch.tensor([3, 0]), 4),
        (torch.tensor([1]), 7),
        (torch.tensor([False, False, True, False]), 5),
        (slice(2, None), 5),
        (slice(None), 7),
    ],
)
def test_select_rows_cuts_padding_and_nothing_else(batch, index, width):
    rows = select_rows(batch, index)
    assert torch.equal(rows["input_ids"], batch["input_ids"][index][:, :width])
    assert torch.equal(rows["attention_mask"], batch["attention_mask"][index][:, :width])
    assert torch.equal(rows["attention_mask"].sum(1), batch["attention_mask"][index].sum(1))
    assert torch.equal(rows["mask_position"], batch["mask_position"][index])
    assert torch.equal(rows["weight"], batch["weight"][index])


def test_select_rows_keeps_inner_and_left_padding(batch):
    batch["attention_mask"] = batch["attention_mask"].flip(1)
    rows = select_rows(batch, slice(None))
    assert rows["input_ids"].shape == (4, 9)


def test_select_rows_without_a_mask_cuts_nothing(batch):
    del batch["attention_mask"]
    assert select_rows(batch, torch.tensor([0]))["input_ids"].shape == (1, 9)


def test_select_no_rows(batch):
    assert select_rows(batch, slice(0, 0))["input_ids"].shape[0] == 0


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_unpadded_batches_are_all_rows_in_groups_of_one_length(batch_size):
    lengths = torch.tensor([3, 7, 3, 4, 3, 7])
    batch = {
        "input_ids": torch.arange(54).reshape(6, 9),
        "attention_mask": (torch.arange(9) < lengths[:, None]).long(),
    }
    groups = list(unpadded_batches(batch, batch_size))
    assert sorted(torch.cat(groups).tolist()) == list(range(6))
    for group in groups:
        assert 0 < len(group) <= batch_size
        assert bool(select_rows(batch, group)["attention_mask"].all())


def test_unpadded_batches_without_a_mask_keep_the_order():
    groups = unpadded_batches({"input": torch.zeros(5, 2)}, 2)
    assert [group.tolist() for group in groups] == [[0, 1], [2, 3], [4]]


def test_no_rows_are_no_batches():
    assert list(unpadded_batches({"input": torch.zeros(0, 2)}, 2)) == []
