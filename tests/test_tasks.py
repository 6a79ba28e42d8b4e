import typing

import pytest
import yaml

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.params import Prompt, load_study, make_run
from tangentlm.tasks import (
    UNRELATED_WORDS,
    Example,
    Task,
    list_tasks,
    load_task,
    probed_tasks,
    searched_label_words,
    task_of,
    with_prompt,
)
from tangentlm.tasks.prompts import encode_prompts, label_word_ids

SENTIMENT = "{text_a} It was {mask} ."
# Malladi-v1 prints no blank before the question mark, the version of ICML 2023 prints one.
ENTAILMENT = "{text_a}? {mask} , {text_b}"
PARAPHRASE = "{text_a} {mask} , {text_b}"
TABLE_2 = {
    "sst2": (SENTIMENT, ("terrible", "great")),
    "sst5": (SENTIMENT, ("terrible", "bad", "okay", "good", "great")),
    "mr": (SENTIMENT, ("terrible", "great")),
    "cr": (SENTIMENT, ("terrible", "great")),
    "mpqa": (SENTIMENT, ("terrible", "great")),
    "subj": ("{text_a} This is {mask} .", ("subjective", "objective")),
    "trec": (
        "{mask} : {text_a}",
        ("Description", "Entity", "Expression", "Human", "Location", "Number"),
    ),
    "agnews": (
        "{text_a} This article is about {mask} news.",
        ("world", "sports", "business", "tech"),
    ),
    "mnli": (ENTAILMENT, ("Yes", "Maybe", "No")),
    "snli": (ENTAILMENT, ("Yes", "Maybe", "No")),
    "qnli": (ENTAILMENT, ("Yes", "No")),
    "rte": (ENTAILMENT, ("Yes", "No")),
    "mrpc": (PARAPHRASE, ("No", "Yes")),
    "qqp": (PARAPHRASE, ("No", "Yes")),
}
BUNDLED = {"reviews", "topics", "inference"}


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TABLE_2)
def test_task_has_the_prompt_of_table_2(name):
    task = load_task(name)
    template, label_words = TABLE_2[name]
    assert task.template == template
    assert task.label_words == label_words
    assert task.num_classes == len(task.labels) == len(label_words)
    assert task.is_pair == ("{text_b}" in template)
    assert task.metric == ("f1" if name in {"mrpc", "qqp"} else "accuracy")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("mnli", "snli"), ("entailment", "neutral", "contradiction")),
        (("qnli", "rte"), ("entailment", "not entailment")),
        (("sst2", "mr", "cr", "mpqa"), ("negative", "positive")),
        (("subj",), ("subjective", "objective")),
        (("mrpc",), ("not a paraphrase", "paraphrase")),
        (("qqp",), ("different", "duplicate")),
        (("trec",), ("description", "entity", "abbreviation", "human", "location", "number")),
    ],
)
def test_labels_stand_in_the_order_of_the_data(names, labels):
    assert {load_task(name).labels for name in names} == {labels}


def test_tasks_are_the_14_of_malladi_and_the_bundled():
    assert {name for name in list_tasks() if load_task(name).bundled} == BUNDLED
    assert set(TABLE_2) | BUNDLED <= set(list_tasks())
    assert list_tasks() == sorted(list_tasks())


FROM_A_FOLDER = {"amazon", "dynasent", "semeval2016", "sst5_3way", "yelp"}
"""Tasks whose rows are on no hub in the form that is meant."""


@pytest.mark.parametrize("name", list_tasks())
def test_shipped_task_loads(name):
    task = load_task(name)
    assert task.name == name
    assert (task.bundled or task.hub is not None) != (name in FROM_A_FOLDER)
    if task.hub is not None:
        assert (task.hub.text_b is not None) == task.is_pair
        assert task.hub.values is None or len(task.hub.values) == task.num_classes


def test_fields_can_be_replaced():
    task = load_task("sst2", template="{mask} : {text_a}", max_length=32)
    assert (task.template, task.max_length) == ("{mask} : {text_a}", 32)
    assert task.label_words == load_task("sst2").label_words


HUB = {"path": "x", "text_a": "text"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": ["only"], "label_words": ["great"]}, "at least two labels"),
        ({"label_words": ["great"]}, "2 labels but 1 label words"),
        (
            {"label_words": ["great", "great"]},
            "task sst2: classes 'negative' and 'positive' have one label word, 'great'",
        ),
        ({"label_words": ["great", " great "]}, "'negative' and 'positive' have one label word"),
        ({"label_words": ["", "great"]}, "label word of class 'negative' is empty"),
        ({"label_words": ["great", " \t"]}, "label word of class 'positive' is empty"),
        ({"template": "{text_a} It was great ."}, "the template needs"),
        ({"template": "It was {mask} ."}, "the template needs"),
        ({"template": "{text_b} It was {mask} ."}, "the template needs"),
        ({"template": "{text_a} {mask} {mask}"}, "the template needs"),
        ({"template": "{text_a} {text_a} {mask}"}, "the template needs"),
        ({"template": "{text_a} {txt_b} {mask}"}, "the template needs"),
        ({"template": "{text_a} {} {mask}"}, "the template needs"),
        ({"template": "{text_a} {mask"}, "task sst2"),
        ({"metric": "acc"}, "metric = 'acc'"),
        ({"max_length": 7}, "max_length = 7"),
        ({"max_length": "long"}, "max_length = 'long'"),
        ({"templte": "{text_a} {mask}"}, "unknown parameter 'templte'; did you mean 'template'"),
        ({"hub": {"path": "x"}}, "hub.text_a is missing"),
        ({"hub": {**HUB, "lable": "y"}}, "lable'; did you mean 'label'"),
    ],
)
def test_wrong_task_is_refused(changes, match):
    refused(match, load_task, "sst2", **changes)


TIES = {
    "same": ["bad", "bad"],
    "blanks": ["bad ", "bad"],
    "empty": ["", "bad"],
    "void": ["  ", "x"],
}


@pytest.mark.parametrize("words", TIES.values(), ids=TIES)
def test_every_way_in_refuses_label_words_that_make_ties(words, root):
    plain = load_task("sst2")
    path = root / "params" / "tasks" / "sst2.yaml"
    values = {**yaml.safe_load(path.read_text()), "label_words": words}
    refused(r"class(es)? 'negative'", Task.parse, {"name": "sst2", **values}, "task sst2")
    refused(r"class(es)? 'negative'", load_task, "sst2", label_words=words)
    with pytest.raises(ValueError, match=r"class(es)? 'negative'"):
        Task(**{**plain.model_dump(), "label_words": words})
    path.write_text(yaml.safe_dump(values))
    refused(r"class(es)? 'negative'", load_task, "sst2")
    faulty = plain.model_copy(update={"label_words": tuple(words)})  # pydantic checks no copy
    refused(r"class(es)? 'negative'", with_prompt, faulty, "null")


def test_f1_of_three_classes_is_refused():
    refused("F1 is for two classes", load_task, "mnli", metric="f1")


@pytest.mark.parametrize(
    ("name", "nearest"), [("sts2", "sst2"), ("MNLI", "mnli"), ("review", "reviews")]
)
def test_unknown_task_is_refused_with_the_nearest(name, nearest):
    refused(f"unknown task '{name}'; did you mean '{nearest}'", load_task, name)


def test_field_that_is_missing_is_named():
    refused("task mine: title is missing", Task.parse, {"name": "mine"}, "task mine")


# --- other prompts --------------------------------------------------------------------------

PROMPTS = typing.get_args(Prompt)
WRITTEN = PROMPTS[:3]
"""Those that depend on no search."""
SEARCHED = ["sst2", "sst5", "mr", "cr", "mpqa", "subj", "trec", "mnli", "snli", "qnli", "rte",
            "mrpc", "qqp"]  # fmt: skip
NULL = {False: "{text_a} {mask}", True: "{text_a} {text_b} {mask}"}


@pytest.mark.parametrize("name", list_tasks())
def test_every_task_can_be_asked_in_every_way(name):
    task = load_task(name)
    assert PROMPTS == (
        "manual", "null", "unrelated", "searched", "searched-once", "published",
    )  # fmt: skip
    assert with_prompt(task, "manual") is task
    null, unrelated = with_prompt(task, "null"), with_prompt(task, "unrelated")
    assert null == task.model_copy(update={"template": NULL[task.is_pair]})
    assert null.is_pair == task.is_pair
    words = UNRELATED_WORDS[: task.num_classes]
    assert unrelated == task.model_copy(update={"label_words": words})
    assert len(words) == task.num_classes
    said = f"{task.template} {' '.join((*task.label_words, *task.labels))}".lower().split()
    assert not set(words) & set(said)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_run_s_task_is_asked_with_its_prompt(prompt):
    for experiment in ("kernel", "finetune", "natural_tasks"):
        run = make_run(experiment, {"task": "mnli", "prompt": prompt})
        assert task_of(run) == with_prompt(load_task("mnli"), prompt)
    assert task_of(make_run("kernel", {"task": "mnli"})) == load_task("mnli")


def task_of_classes(count):
    letters = tuple("abcdefghijkl"[:count])
    return Task(
        name="many", title="Many", labels=letters, template="{text_a} {mask}", label_words=letters
    )


def test_a_task_of_more_classes_than_unrelated_words_is_refused():
    most = len(UNRELATED_WORDS)
    assert with_prompt(task_of_classes(most), "unrelated").label_words == UNRELATED_WORDS
    refused(
        f"task many: only {most} unrelated label words",
        with_prompt, task_of_classes(most + 1), "unrelated",
    )  # fmt: skip
    assert with_prompt(task_of_classes(most + 1), "null").num_classes == most + 1


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("pocket")


@pytest.mark.parametrize(
    ("name", "seed", "template", "words"),
    [
        ("sst2", 21, "{text_a} A {mask} film.", ("pointless", "spectacular")),
        ("sst2", 13, "{text_a} And that is {mask}.", ("embarrassing", "exquisite")),
        ("qnli", 13, "{text_a}? {mask}, it's true, {text_b}", ("Recently", "Fortunately")),
        (
            "mnli", 13, "{text_a}. {mask} that's because {text_b}",
            ("Similarly", "Additionally", "Alternatively"),
        ),
        ("sst5", 13, "{text_a} A {mask} movie.",
         ("disgusting", "simple", "hilarious", "fascinating", "magnificent")),
    ],
)  # fmt: skip
def test_a_searched_prompt_is_that_of_its_split(name, seed, template, words):
    task = with_prompt(load_task(name), "searched", seed)
    assert (task.template, task.label_words) == (template, words)


@pytest.mark.parametrize("name", SEARCHED)
def test_every_split_of_the_paper_has_a_searched_prompt(name):
    plain = load_task(name)
    for seed in (13, 21, 42, 87, 100):
        task = with_prompt(plain, "searched", seed)
        assert task.num_classes == plain.num_classes
        assert task.is_pair == plain.is_pair
        assert task.template != plain.template or task.label_words != plain.label_words


PRINTED = {
    "sst2": ("{text_a} A {mask} one.", ("pathetic", "irresistible")),
    "qnli": ("{text_a}? {mask}. Yes, {text_b}", ("Okay", "Nonetheless")),
}
"""The top results of Table E.1 of Gao et al. (2021)."""


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("seed", [13, 42, 100, 7])
def test_a_prompt_searched_once_is_the_printed_one_for_every_split(name, seed):
    task = with_prompt(load_task(name), "searched-once", seed)
    assert (task.template, task.label_words) == PRINTED[name]


@pytest.mark.parametrize("name", list_tasks())
def test_the_published_prompt_has_a_blank_before_the_question_mark(name, tokenizer):
    task = load_task(name)
    if "{text_a}?" not in task.template:
        refused("both versions of the paper print one prompt", with_prompt, task, "published")
        return
    published = with_prompt(task, "published")
    assert published.template == "{text_a} ? {mask} , {text_b}"
    assert published == task.model_copy(update={"template": published.template})
    # To a byte-level tokenizer a mark after a blank is another token.
    rows = [
        encode_prompts(asked, tokenizer, [Example("It is small.", "It is.", 0)])["input_ids"][0]
        for asked in (task, published)
    ]
    [place] = [i for i, (one, other) in enumerate(zip(*rows, strict=True)) if one != other]
    assert [tokenizer.decode([row[place]]) for row in rows] == ["?", " ?"]


def test_searched_label_words_are_those_of_the_tasks_and_splits():
    words = searched_label_words()
    assert words == sorted(set(words))
    splits = [(load_task(name), seed) for name in SEARCHED for seed in (13, 21, 42, 87, 100)]
    tasks = [with_prompt(task, "searched", seed) for task, seed in splits]
    assert set(words) == {word for task in tasks for word in task.label_words}


def test_a_prompt_that_nobody_searched_is_refused():
    none = "task agnews: a prompt was searched for none of its splits, not for 13"
    refused(none, with_prompt, load_task("agnews"), "searched")
    others = r"searched only for the splits \[13, 21, 42, 87, 100\], not for 7"
    refused(others, with_prompt, load_task("sst2"), "searched", 7)


@pytest.mark.parametrize("prompt", WRITTEN)
@pytest.mark.parametrize("name", list_tasks())
def test_label_words_of_every_prompt_are_tokens_of_the_pocket_model(name, prompt, tokenizer):
    task = with_prompt(load_task(name), prompt)
    ids = label_word_ids(task, tokenizer)
    assert len(set(ids)) == task.num_classes
    assert [tokenizer.decode([i]).strip() for i in ids] == list(task.label_words)


@pytest.mark.parametrize("name", ["reviews", "inference", "trec", "mrpc"])
def test_a_null_prompt_is_the_texts_and_then_the_mask(name, tokenizer):
    task = with_prompt(load_task(name, max_length=24), "null")
    second = "It is not ." if task.is_pair else None
    examples = [
        Example("The old house is small .", second, 0),
        Example("So it was .", second, 1),
        Example("a very long text " * 20, second, 0),
    ]
    batch = encode_prompts(task, tokenizer, examples)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    assert lengths[2] == 24
    for row, length, place, example in zip(
        batch["input_ids"].tolist(), lengths, batch["mask_position"].tolist(), examples, strict=True
    ):
        assert row[length - 2 : length] == [tokenizer.mask_token_id, tokenizer.eos_token_id]
        assert place == length - 2
        assert row[0] == tokenizer.bos_token_id
        texts = [text for text in (example.text_a, example.text_b) if text]
        if length < 24:
            said = tokenizer.decode(row[1 : length - 2])
            assert said.split() == " ".join(texts).split()


@pytest.mark.parametrize("experiment", ["kernel", "finetune"])
def test_the_study_plans_no_searched_prompt_that_its_model_cannot_answer(experiment, tokenizer):
    def answers(task, seed):
        try:
            return bool(label_word_ids(with_prompt(load_task(task), "searched", seed), tokenizer))
        except InputError:
            return False

    tasks, seeds = ("sst2", "mr", "cr", "qnli", "rte", "qqp"), (13, 21, 42, 87, 100)
    possible = {(task, seed) for task in tasks for seed in seeds if answers(task, seed)}
    runs = [run for run in load_study("pocket") if run.experiment == experiment]
    planned = {(run.task, run.seed) for run in runs if run.prompt == "searched"}
    assert planned
    assert planned <= possible


def test_the_probe_asks_the_tasks_that_were_there_when_it_ran():
    later = {"amazon", "cb", "cola", "dynasent", "imdb", "semeval2016", "sst5_3way", "yelp"}
    assert set(list_tasks()) - set(probed_tasks()) == later
