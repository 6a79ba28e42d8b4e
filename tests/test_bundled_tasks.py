import re
from collections import Counter

import cards
import pytest

from tangentlm.tasks import read_part

TASKS = cards.bundled_tasks()


def normalised(text):
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", text.lower()).split())


@pytest.fixture(params=TASKS, ids=lambda task: task.name)
def task(request):
    return request.param


def both_parts(task):
    return [*read_part(task, "train"), *read_part(task, "test")]


def test_three_tasks_are_bundled():
    assert [task.name for task in TASKS] == ["inference", "reviews", "topics"]


def test_there_are_enough_examples(task):
    assert len(both_parts(task)) >= 300


@pytest.mark.parametrize("part", ["train", "test"])
def test_classes_are_balanced(task, part):
    counts = Counter(row.label for row in read_part(task, part))
    assert set(counts) == set(range(task.num_classes))
    assert len(set(counts.values())) == 1


def test_no_text_stands_twice_and_no_test_text_is_in_train(task):
    texts = [normalised(cards.text_of(row)) for row in both_parts(task)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_no_two_texts_begin_alike(task):
    openings = [" ".join(normalised(row.text_a).split()[:4]) for row in both_parts(task)]
    assert [text for text, count in Counter(openings).items() if count > 1] == []


def test_texts_are_clean(task):
    for row in both_parts(task):
        for text in filter(None, (row.text_a, row.text_b)):
            assert text == " ".join(text.split())
            assert text.isascii()
            assert text.isprintable()


def test_card_states_the_facts(task):
    text = cards.card(task).read_text(encoding="utf-8")
    assert text == cards.with_facts(text, cards.facts(task))
    assert "CC0" in text
