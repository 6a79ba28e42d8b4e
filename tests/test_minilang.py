"""The small language says what it is said to say, and its truth is the truth."""

import itertools
import re
from collections import Counter

import pytest
import torch
from transformers import AutoTokenizer

from tangentlm.errors import InputError
from tangentlm.minilang import (
    LEXICON,
    PATTERNS,
    TASKS,
    Language,
    make_tokenizer,
    prompted_task,
)
from tangentlm.models.heads import PromptModel
from tangentlm.params import digest
from tangentlm.tasks import Example
from tangentlm.tasks.prompts import encode_prompts, encode_texts, label_word_ids

COUNT = 3000
PROMPTED = list(itertools.product(TASKS, PATTERNS))


def last_sentence(document):
    return re.split(r"(?<=\.) ", document)[-1].split()


def prompt_of(document):
    """The task and pattern that a document ends with, read from its words alone."""
    words = last_sentence(document)
    for key, prompt in LEXICON.prompts.items():
        if tuple(words[:2]) == prompt.markers and words[2] in prompt.verdicts:
            return key
    return None


def test_words_are_nearly_two_hundred_and_all_different():
    words = LEXICON.words
    assert len(words) == len(set(words)) == 186
    assert all(re.fullmatch(r"[a-z]{6,7}|\.", word) for word in words)


def test_lexicon_does_not_change_unseen():
    # A shipped checkpoint means nothing if a word comes to mean something else.
    assert LEXICON.prompts["sentiment", "A"].verdicts == ("rubarum", "kadunum")
    assert digest(list(Language().documents(100, 0)))[:16] == "53c4373d9e572f6c"


def test_documents_and_examples_are_determined_by_the_seed():
    language = Language()
    assert list(language.documents(20, 1)) == list(language.documents(20, 1))
    assert list(language.documents(20, 1)) == list(language.documents(40, 1))[:20]
    assert list(language.documents(20, 1)) != list(language.documents(20, 2))
    for name in TASKS:
        assert language.examples(name, 20, 1) == language.examples(name, 20, 1)
        assert language.examples(name, 20, 1) != language.examples(name, 20, 2)


def shown_by(text, groups):
    """What the telling words of a text speak for, read independently of the library."""
    return [c for word in text.split() for c, group in enumerate(groups) if word in group]


@pytest.mark.parametrize("name", ["sentiment", "topic"])
@pytest.mark.parametrize("strength", [0.6, 0.9])
def test_cues_are_right_as_often_as_said_and_else_all_alike(name, strength):
    language = Language(cue_strength=strength)
    groups = LEXICON.cues if name == "sentiment" else LEXICON.nouns
    said = Counter()
    for example in language.examples(name, COUNT, 0):
        shown = shown_by(example.text_a, groups)
        assert len(shown) == language.clauses
        said.update((label, example.label) for label in shown)
    hits = sum(count for (shown, label), count in said.items() if shown == label)
    assert hits / said.total() == pytest.approx(strength, abs=0.02)
    wrong = [said[pair] for pair in itertools.permutations(range(len(groups)), 2)]
    mean = sum(wrong) / len(wrong)
    assert all(abs(count - mean) < 4 * mean**0.5 for count in wrong)


def test_second_text_keeps_to_the_topic_if_it_is_entailed():
    """With perfect nouns both topics can be read; another topic is any of the other three."""
    language = Language(cue_strength=1)
    topics = Counter()
    for example in language.examples("entailment", COUNT, 0):
        first, second = (shown_by(t, LEXICON.nouns) for t in (example.text_a, example.text_b))
        assert len(first) == len(second) == language.pair_clauses
        assert len(set(first)) == len(set(second)) == 1
        assert (first == second) == (example.label == 1)
        topics[first[0], second[0]] += 1
    assert len(topics) == 16
    for pair, count in topics.items():
        expected = COUNT / 2 / (4 if pair[0] == pair[1] else 12)
        assert abs(count - expected) < 4.5 * expected**0.5
    assert prompted_task("entailment", "A").labels == ("not entailment", "entailment")


def test_frequent_words_come_first_and_their_order_is_that_of_zipf():
    seen = Counter(w for d in Language().documents(COUNT, 0) for w in d.split())
    for group in (*LEXICON.nouns, *LEXICON.cues, LEXICON.verbs):
        assert seen[group[0]] / seen[group[3]] == pytest.approx(4, rel=0.25)
        assert seen[group[-1]] > 20


@pytest.mark.parametrize("name", TASKS)
def test_labels_are_balanced_in_random_order(name):
    examples = Language().examples(name, 1200, 3)
    labels = [example.label for example in examples]
    classes = len(prompted_task(name, "A").labels)
    assert Counter(labels) == dict.fromkeys(range(classes), 1200 // classes)
    assert labels != [number % classes for number in range(1200)]
    assert all((example.text_b is not None) == (name == "entailment") for example in examples)


@pytest.mark.parametrize("name", TASKS)
def test_no_other_word_tells_the_label(name):
    """Only the words that are to show a latent do: the rest is as frequent under each label."""
    telling = {
        "sentiment": {w for group in LEXICON.cues for w in group},
        "topic": {w for group in LEXICON.nouns for w in group},
        "entailment": set(),  # single words tell nothing, the two topics do
    }[name]
    classes = len(prompted_task(name, "A").labels)
    counts = [Counter() for _ in range(classes)]
    for example in Language().examples(name, 6000, 4):
        counts[example.label].update(f"{example.text_a} {example.text_b or ''}".split())
    for word in set(LEXICON.words) - telling:
        seen = [count[word] for count in counts]
        mean = sum(seen) / classes
        if mean >= 5:
            assert all(abs(value - mean) < 5 * mean**0.5 for value in seen), word


def test_prompts_are_alike_but_for_their_words():
    for name in TASKS:
        a, b = (prompted_task(name, pattern) for pattern in PATTERNS)
        assert a.labels == b.labels
        assert len(a.template.split()) == len(b.template.split())
        assert a.template.split()[-2:] == b.template.split()[-2:] == ["{mask}", "."]
        assert not set(a.label_words) & set(b.label_words)
        assert not set(LEXICON.prompts[name, "A"].markers) & set(LEXICON.prompts[name, "B"].markers)
        assert a.is_pair == b.is_pair == (name == "entailment")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_only_the_natural_pattern_occurs(pattern):
    documents = list(Language(natural=(pattern,), share=0.7).documents(COUNT, 0))
    found = Counter(prompt_of(document) for document in documents)
    assert set(found) == {None} | {(name, pattern) for name in TASKS}
    assert 1 - found[None] / COUNT == pytest.approx(0.7, abs=0.03)
    assert min(found[name, pattern] for name in TASKS) > 0.2 * 0.7 * COUNT
    # Nor does it occur anywhere else in a document: idle words are never next to each other.
    other = next(p for p in PATTERNS if p != pattern)
    for (_, which), prompt in LEXICON.prompts.items():
        parts = {*prompt.markers, *prompt.verdicts}
        for document in documents if which == other else ():
            words = document.split()
            assert not any(a in parts and b in parts for a, b in itertools.pairwise(words))


def test_natural_patterns_may_be_none_or_both():
    assert not any(map(prompt_of, Language(natural=()).documents(500, 0)))
    found = Counter(map(prompt_of, Language(natural=PATTERNS, share=1).documents(COUNT, 0)))
    assert set(found) == set(PROMPTED)
    assert min(found.values()) > 0.8 * COUNT / len(PROMPTED)


def test_natural_a_and_natural_b_are_the_same_but_for_the_words_of_the_prompt():
    swap = {}
    for name in TASKS:
        a, b = (LEXICON.prompts[name, pattern] for pattern in PATTERNS)
        swap |= dict(zip((*a.markers, *a.verdicts), (*b.markers, *b.verdicts), strict=True))
    pairs = zip(
        Language(natural=("A",)).documents(500, 0),
        Language(natural=("B",)).documents(500, 0),
        Language(natural=()).documents(500, 0),
        strict=True,
    )
    for with_a, with_b, plain in pairs:
        end = last_sentence(with_a) if prompt_of(with_a) else []
        assert with_a.split() == plain.split() + end
        assert with_b.split() == plain.split() + [swap.get(word, word) for word in end]


def test_prompt_words_are_known_without_the_pattern_and_tell_nothing():
    seen = Counter(w for d in Language(natural=()).documents(COUNT, 0) for w in d.split())
    counts = [seen[word] for word in LEXICON.prompt_words]
    assert len(counts) == 28
    assert min(counts) > 0.5 * max(counts) > 20


def test_verdict_of_a_document_is_its_latent():
    """With perfect cues the posterior knows the label, so the verdict can be checked."""
    language = Language(cue_strength=1, share=1)
    for document in language.documents(300, 2):
        name, pattern = prompt_of(document)
        verdict = last_sentence(document)[2]
        text = document.removesuffix(" " + " ".join(last_sentence(document)))
        first, _, second = text.partition(f" {LEXICON.join} ")
        posterior = language.posterior(name, Example(first, second or None, 0))
        label = LEXICON.prompts[name, pattern].verdicts.index(verdict)
        assert posterior[label] == 1


@pytest.mark.parametrize("name", TASKS)
def test_bayes_accuracy_is_what_the_best_reader_gets(name):
    for strength in (0.45, 0.8):
        language = Language(cue_strength=strength)
        examples = language.examples(name, 6000, 5)
        posteriors = [language.posterior(name, example) for example in examples]
        right = [
            p[e.label] == max(p) and p.count(max(p)) == 1
            for p, e in zip(posteriors, examples, strict=True)
        ]
        ties = [
            (p[e.label] == max(p)) / p.count(max(p)) * (p.count(max(p)) > 1)
            for p, e in zip(posteriors, examples, strict=True)
        ]
        exact = language.bayes_accuracy(name)
        assert (sum(right) + sum(ties)) / len(examples) == pytest.approx(exact, abs=0.02)
        # It is also the mean of what the posterior says of itself: the posterior is calibrated.
        assert sum(map(max, posteriors)) / len(examples) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(("name", "chance"), [("sentiment", 2), ("topic", 4), ("entailment", 4)])
def test_bayes_accuracy_at_the_ends(name, chance):
    """A word that is right as often as by chance tells nothing; one that always is, everything."""
    classes = len(prompted_task(name, "A").labels)
    assert Language(cue_strength=1).bayes_accuracy(name) == pytest.approx(1)
    useless = Language(cue_strength=1 / chance)
    assert useless.bayes_accuracy(name) == pytest.approx(1 / classes)


def test_bayes_accuracy_of_one_cue_by_hand():
    p, q = 0.7, 0.1
    one = Language(cue_strength=p, clauses=1, pair_clauses=1)
    assert one.bayes_accuracy("sentiment") == one.bayes_accuracy("topic") == pytest.approx(p)
    # Two nouns of one topic: p^2 + 3 q^2 if it is the same, 2 p q + 2 q^2 if it is not.
    same, other = p * p + 3 * q * q, 2 * p * q + 2 * q * q
    assert one.bayes_accuracy("entailment") == pytest.approx((same + 1 - other) / 2)


def test_bayes_accuracy_of_three_cues_of_two_classes_by_hand():
    # At least two of three right: p^3 + 3 p^2 (1 - p).
    language = Language(cue_strength=0.8, clauses=3)
    assert language.bayes_accuracy("sentiment") == pytest.approx(0.8**3 + 3 * 0.8**2 * 0.2)


def test_impossible_example_is_refused():
    bad, good = (group[0] for group in LEXICON.cues)
    with pytest.raises(InputError, match="cannot have produced"):
        Language(cue_strength=1).posterior("sentiment", Example(f"{bad} {good}", None, 0))


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="cue_strength"):
        Language.parse({"cue_strength": 1.2}, "language")
    with pytest.raises(InputError, match="natural"):
        Language.parse({"natural": ["C"]}, "language")


@pytest.mark.parametrize(("name", "pattern"), PROMPTED)
def test_every_word_is_one_known_token_and_prompts_encode(name, pattern):
    tokenizer = make_tokenizer()
    task = prompted_task(name, pattern)
    ids = label_word_ids(task, tokenizer)
    assert len(set(ids)) == task.num_classes
    examples = Language().examples(name, 50, 0)
    batch = encode_prompts(task, tokenizer, examples)
    assert tokenizer.unk_token_id not in batch["input_ids"]
    # The prompt is, token for token, how a document ends.
    filled = batch["input_ids"].clone()
    labels = torch.tensor([ids[example.label] for example in examples])
    filled[torch.arange(50), batch["mask_position"]] = labels
    whole = [
        task.template.format(text_a=e.text_a, text_b=e.text_b, mask=task.label_words[e.label])
        for e in examples
    ]
    for row, mask, text in zip(filled, batch["attention_mask"], whole, strict=True):
        assert row[mask.bool()].tolist() == tokenizer(text)["input_ids"]
    assert encode_texts(task, tokenizer, examples)["input_ids"].shape[0] == 50


def test_tokenizer_is_small_and_survives_saving(tmp_path):
    tokenizer = make_tokenizer()
    assert len(tokenizer) == 191
    tokenizer.save_pretrained(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = next(Language().documents(1, 0))
    assert again(text) == tokenizer(text)
    assert again.mask_token_id == tokenizer.mask_token_id
    assert again.decode(again(text)["input_ids"], skip_special_tokens=True) == text


def test_a_masked_lm_answers_the_prompt():
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    tokenizer = make_tokenizer()
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    task = prompted_task("topic", "B")
    model = PromptModel(ModernBertForMaskedLM(config), label_word_ids(task, tokenizer))
    batch = encode_prompts(task, tokenizer, Language().examples("topic", 4, 0))
    assert model(**batch).shape == (4, 4)
