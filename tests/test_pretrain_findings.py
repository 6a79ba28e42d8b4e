"""What is found out about a pre-trained model: fillings, minimal pairs, tasks, and its card."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tangentlm import figures
from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_masked_lm, load_tokenizer
from tangentlm.models.heads import load_model
from tangentlm.models.logits import logits_of
from tangentlm.params import read_yaml
from tangentlm.pretrain import Filler, fillings, load_probes, minimal_pairs
from tangentlm.pretrain import downstream as downstream_module
from tangentlm.pretrain.card import Findings, save_masked_lm, write_card
from tangentlm.pretrain.downstream import MaskFeatures, downstream
from tangentlm.pretrain.probes import FIELD, MinimalPairs, Probes, probes_file
from tangentlm.pretrain.vocabulary import train_tokenizer
from tangentlm.tasks import at_most_per_class, load_task, read_part
from tangentlm.tasks.prompts import encode
from tiny import tiny_masked_lm, tiny_tokenizer
from toy_text import SETTINGS, fresh, tiny_recipe, tokenizer_of

BUNDLED = ("inference", "reviews", "topics")
PROBES = load_probes()


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


# --- the sentences --------------------------------------------------------------------------


def test_there_are_ten_open_sentences_and_ten_kinds_of_twenty_pairs():
    assert len(PROBES.fillings) == len(set(PROBES.fillings)) == 10
    assert len(PROBES.pairs) == 10
    assert {len(pairs.items) for pairs in PROBES.pairs.values()} == {20}
    sentences = [item[0] for pairs in PROBES.pairs.values() for item in pairs.items]
    assert len(set(sentences)) == 200


@pytest.mark.parametrize("kind", PROBES.pairs)
def test_a_word_is_as_often_right_as_wrong(kind):
    items = PROBES.pairs[kind].items
    assert Counter(right for _, right, _ in items) == Counter(wrong for _, _, wrong in items)
    assert all(right != wrong for _, right, wrong in items)


def test_a_gap_stands_after_a_blank():
    # A word's token has its leading blank, so a sentence cannot begin with the gap.
    for pairs in PROBES.pairs.values():
        assert all(f" {FIELD}" in sentence for sentence, _, _ in pairs.items)
    assert all(f" {FIELD}" in sentence for sentence in PROBES.fillings)


def test_words_are_those_of_the_pairs():
    expected = {w for pairs in PROBES.pairs.values() for item in pairs.items for w in item[1:]}
    assert sorted(expected) == PROBES.words
    assert {"true", "false", "is", "himself"} <= expected
    assert all(isinstance(word, str) for word in PROBES.words)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fillings": ["no gap"]}, "probes: fillings .*'no gap' needs one {mask}"),
        ({"fillings": ["{mask} and {mask}"]}, "needs one {mask}"),
        ({"pairs": {"kind": {"about": "x", "items": [["no gap", "a", "b"]]}}}, "'no gap' needs"),
        ({"pairs": {"kind": {"about": "x", "items": [["{mask}", "a"]]}}}, "pairs.kind.items"),
        ({"pairs": {"kind": {"about": "x", "items": [["{mask}", True, "b"]]}}}, "pairs.kind"),
        ({"pairs": {"kind": {"about": "x", "items": []}}}, "pairs.kind.items"),
        ({"filings": []}, "unknown parameter 'filings'; did you mean 'fillings'"),
    ],
)
def test_wrong_probes_are_refused(change, match):
    refused(match, Probes.parse, {**read_yaml(probes_file()), **change}, "probes")


# --- filling gaps ---------------------------------------------------------------------------


class Preferring(torch.nn.Module):
    """A masked-LM whose logits at every position are the same few words, the first the most."""

    def __init__(self, words, size):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(size))
        for rank, word in enumerate(words):
            self.logits.data[word] = 10.0 - rank

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))


WORDS = ("is", "are", "himself", "herself", "great")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(lambda: ["the dog is here"], 330, WORDS, max_length=64)


def preferring(tokenizer, *words):
    ids = [tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in words]
    return Filler(Preferring(ids, len(tokenizer)), tokenizer)


@pytest.mark.parametrize("architecture", ["modernbert", "roberta"])
def test_log_probabilities_are_those_at_the_gap(architecture):
    tokenizer = tokenizer_of()
    model = fresh(tiny_recipe(architecture)).eval()
    sentence = "the old dog {mask} the red house."
    found = Filler(model, tokenizer).log_probabilities(sentence)
    assert found.shape == (len(tokenizer),)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    before = tokenizer("the old dog", add_special_tokens=False)["input_ids"]
    after = tokenizer(" the red house.", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[0, *before, 4, *after, 2]])
    expected = model(ids).logits[0, 1 + len(before)].log_softmax(dim=0)
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad


@pytest.mark.parametrize("sentence", ["{mask} is here", "here it is {mask}", "a  {mask}  b"])
def test_a_gap_may_stand_anywhere(tokenizer, sentence):
    found = preferring(tokenizer, "great").log_probabilities(sentence)
    assert int(found.argmax()) == tokenizer.convert_tokens_to_ids("Ġgreat")


def test_fillings_are_the_likeliest_words_with_their_probabilities(tokenizer):
    filler = preferring(tokenizer, "great", "is", "himself")
    sentences = ("It was {mask}.", "We {mask} it")
    table = fillings(filler, sentences, count=2)
    weight = {word: math.exp(10 - rank) for rank, word in enumerate(("great", "is", "himself"))}
    total = sum(weight.values()) + len(tokenizer) - 3
    great, second = (f"{weight[word] / total:.2f}" for word in ("great", "is"))
    assert table["fillings"].tolist() == [f"great ({great}), is ({second})"] * 2
    assert table["sentence"].tolist() == ["It was ____.", "We ____ it"]


def test_a_word_of_several_tokens_is_refused(tokenizer):
    filler = preferring(tokenizer, "great")
    assert filler.token("himself") == tokenizer.convert_tokens_to_ids("Ġhimself")
    refused(r"'unhappily' is \d+ tokens of this model, not one", filler.token, "unhappily")
    pairs = {"kind": MinimalPairs(about="x", items=(("It {mask}.", "is", "unhappily"),))}
    refused("'unhappily'", minimal_pairs, filler, pairs)


def test_minimal_pairs_count_what_is_preferred(tokenizer):
    filler = preferring(tokenizer, "is", "herself")  # all other words are equally unlikely
    pairs = {
        "agreement": MinimalPairs(
            about="x",
            items=(("It {mask}.", "is", "are"), ("We {mask}.", "are", "is"), *[
                ("He {mask}.", "is", "are")] * 2),
        ),
        "reflexive": MinimalPairs(about="x", items=(("She sees {mask}.", "himself", "herself"),)),
        "ties": MinimalPairs(about="x", items=(("She sees {mask}.", "himself", "great"),)),
    }  # fmt: skip
    table = minimal_pairs(filler, pairs)
    assert table.to_dict("records") == [
        {"phenomenon": "agreement", "pairs": 4, "right": 3, "accuracy": 75.0},
        {"phenomenon": "reflexive", "pairs": 1, "right": 0, "accuracy": 0.0},
        {"phenomenon": "ties", "pairs": 1, "right": 0, "accuracy": 0.0},
    ]


@pytest.mark.parametrize("turn", [1, -1])
def test_one_who_knows_the_frequencies_alone_gets_half_of_the_pairs(turn):
    words = PROBES.words[::turn]
    tokens = {word: number for number, word in enumerate(words)}
    scores = -torch.arange(len(words), dtype=torch.float32)
    filler = SimpleNamespace(token=tokens.get, log_probabilities=lambda _: scores)
    assert (minimal_pairs(filler, PROBES.pairs)["accuracy"] == 50).all()


# --- tasks ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny model in a folder, which knows the label words of the bundled tasks."""
    tasks = [load_task(name) for name in BUNDLED]
    words = sorted({word for task in tasks for word in task.label_words})
    texts = [example.text_a for task in tasks for example in read_part(task, "train")]
    tokenizer = train_tokenizer(lambda: texts, 600, words, max_length=128)
    settings = SETTINGS["modernbert"] | {"max_position_embeddings": 128, "initializer_range": 0.2}
    from tangentlm.pretrain import new_model

    model = new_model(tiny_recipe(settings=settings), tokenizer, 0).eval()
    folder = tmp_path_factory.mktemp("models") / "mine"
    save_masked_lm(model, tokenizer, folder)
    return str(folder)


def of_class(examples):
    return np.array([example.label for example in examples])


def test_features_are_what_the_label_words_are_read_from(model_folder):
    task = load_task("reviews")
    model = load_model(model_folder, task)
    batch = encode(task, load_tokenizer(model_folder), read_part(task, "test")[:9])
    features = logits_of(MaskFeatures(model), batch)
    assert features.shape == (9, 16)
    decoder = model.masked_lm.get_output_embeddings()
    torch.testing.assert_close(decoder(features), logits_of(model, batch), rtol=1e-5, atol=1e-5)


def test_a_row_a_task(model_folder, tmp_path):
    table = downstream(model_folder, BUNDLED, k=8, seeds=(13, 21), test_size=40)
    assert table["task"].tolist() == list(BUNDLED)
    assert table["test"].tolist() == [40] * 3
    assert table["seeds"].tolist() == [2] * 3
    for name, row in zip(BUNDLED, table.itertuples(), strict=True):
        task = load_task(name)
        test = at_most_per_class(read_part(task, "test"), task, 40, 0)[:40]
        labels = of_class(test)
        counts = Counter(labels.tolist())
        assert row.majority == 100 * max(counts.values()) / 40
        model, tokenizer = load_model(model_folder, task), load_tokenizer(model_folder)
        logits = logits_of(model, encode(task, tokenizer, test)).numpy()
        assert row.zero_shot == pytest.approx(100 * (logits.argmax(1) == labels).mean())
        centred = logits - logits.mean(axis=0)
        assert row.calibrated == pytest.approx(100 * (centred.argmax(1) == labels).mean())
        assert 0 <= row.probe <= 100


def test_the_probe_is_logistic_regression_on_few_examples(model_folder, monkeypatch):
    # With one penalty to choose from, the probe is a plain regression.
    monkeypatch.setattr(downstream_module, "_INVERSE_PENALTIES", (0.01,))
    task, seeds = load_task("topics"), (13, 42, 87)
    (row,) = downstream(model_folder, ["topics"], k=6, seeds=seeds, test_size=60).itertuples()
    model, tokenizer = load_model(model_folder, task), load_tokenizer(model_folder)
    features = MaskFeatures(model)
    test = at_most_per_class(read_part(task, "test"), task, 60, 0)[:60]
    scores = []
    for seed in seeds:
        train = at_most_per_class(read_part(task, "train"), task, 6, seed)
        assert set(Counter(of_class(train).tolist()).values()) == {6}
        x, x_test = (logits_of(features, encode(task, tokenizer, e)) for e in (train, test))
        scaler = StandardScaler().fit(x)
        regression = LogisticRegression(C=0.01, max_iter=2000)
        regression.fit(scaler.transform(x), of_class(train))
        scores.append(100 * regression.score(scaler.transform(x_test), of_class(test)))
    assert row.probe == pytest.approx(np.mean(scores), abs=1e-9)
    assert row.probe_std == pytest.approx(np.std(scores, ddof=1), abs=1e-9)
    assert row.probe_std > 0


def test_one_sample_has_no_spread(model_folder):
    (row,) = downstream(model_folder, ["reviews"], k=8, seeds=(13,), test_size=20).to_dict(
        "records"
    )
    assert row["seeds"] == 1
    assert pd.isna(row["probe_std"])


def write_rows(folder, task, count):
    place = folder / task.name
    place.mkdir(parents=True)
    rows = [
        {"text_a": f"a text of number {i}", "text_b": "another", "label": i % task.num_classes}
        for i in range(count)
    ]
    for part in ("train", "test"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"{part}.jsonl").write_text(lines, encoding="utf-8")


def test_a_task_whose_data_is_not_at_hand_is_left_out(model_folder, tmp_path, monkeypatch):
    names = ["sst2", "reviews", "mr"]
    options = {"k": 4, "seeds": (13, 21), "test_size": 10}
    assert downstream(model_folder, names, **options)["task"].tolist() == ["reviews"]
    assert downstream(model_folder, ["mr"], **options).empty
    data = tmp_path / "data"
    write_rows(data, load_task("reviews"), 20)
    assert downstream(model_folder, names, **options, data=data)["task"].tolist() == ["reviews"]
    assert downstream(model_folder, ["topics"], **options, data=data).empty
    monkeypatch.setenv("TANGENTLM_DATA", str(tmp_path / "nowhere"))
    assert downstream(model_folder, ["mr", "reviews"], **options)["task"].tolist() == ["reviews"]


# --- the folder of a model ------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["modernbert", "roberta", "bert"])
def test_a_saved_model_is_in_half_precision_and_loads_again(tmp_path, architecture):
    model = fresh(tiny_recipe(architecture)).eval()
    before = copy.deepcopy(model.state_dict())
    save_masked_lm(model, tokenizer_of(), tmp_path / "a" / "model")
    assert model.state_dict().keys() == before.keys()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name])
    stored = load_file(tmp_path / "a" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(tensor.numel() for tensor in stored.values()) == count  # tied ones once
    loaded = load_masked_lm(str(tmp_path / "a" / "model"))
    for name, parameter in loaded.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name].half().float())
    tokenizer = load_tokenizer(str(tmp_path / "a" / "model"))
    text = "it was <mask>, the old dog."
    assert tokenizer(text)["input_ids"] == tokenizer_of()(text)["input_ids"]
    assert tokenizer.model_max_length == 64


# --- the card -------------------------------------------------------------------------------

METRICS = {
    "parameters": 1234567,
    "parametrization": "mup",
    "vocabulary": 8192,
    "corpus_tokens": 20_000_000,
    "epoch_tokens": 20_000_000,
    "held_out_tokens": 110_000,
    "tokens": 50_000_000,
    "steps": 24414,
    "precision": "bfloat16",
    "seed": 13,
    "held_out_loss": 2.5,
    "held_out_accuracy": 0.4321,
    "training_seconds": 9000.0,
    "machine": "2 threads of a processor",
}
PAIRS = pd.DataFrame(
    [
        {"phenomenon": name, "pairs": 20, "right": right, "accuracy": 5.0 * right}
        for name, right in {"agreement": 20, "polarity": 14, "reflexive": 15, "verbs": 3}.items()
    ]
)
FILLED = pd.DataFrame({"sentence": ["It was ____."], "fillings": ["great (0.31), good (0.20)"]})
TASKS = pd.DataFrame(
    [
        {"task": "reviews", "test": 100, "majority": 50.0, "zero_shot": 60.0,
         "calibrated": 62.0, "probe": 70.25,
         "probe_std": 2.04, "seeds": 5, "k": 64},
        {"task": "topics", "test": 1000, "majority": 25.0, "zero_shot": 26.0,
         "calibrated": 35.0, "probe": 55.0,
         "probe_std": 1.5, "seeds": 5, "k": 64},
    ]
)  # fmt: skip


def card(tmp_path, **changes):
    values = {"metrics": METRICS, "fillings": FILLED, "pairs": PAIRS, "tasks": TASKS, **changes}
    recipe = tiny_recipe(depth=4, width=64, head_width=16, masked=0.15, warmup=0.05)
    path = write_card("pocket-w64", recipe, "books and news", Findings(**values), tmp_path)
    assert path == tmp_path / "README.md"
    return path.read_text(encoding="utf-8")


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    "stated",
    [
        "# pocket-w64: a small masked language model",
        "| architecture | modernbert, 4 layers, width 64, 4 head(s), feed-forward 96 |",
        "| parameters | 1,234,567, embedding and decoder tied |",
        "| parametrization | mup |",
        "| tokenizer | byte-level BPE, 8,192 entries",
        "| longest row in training | 16 tokens |",
        "books and news; 20,000,000 tokens, and 110,000 held out",
        "50,000,000 tokens seen (2.50 epochs), in 24,414 steps of 4 rows of 16 tokens",
        "15 % of the tokens masked",
        "peak rate 0.003, warm-up 5 % and decay 90 % of the budget",
        "bfloat16, seed 13",
        f"2.500 nats a masked token of held-out text (perplexity {math.exp(2.5):.1f})",
        "43.2 % guessed right",
        "2.5 hours on 2 threads of a processor",
        "| polarity | 20 | 14 | 70 |",
        r"| It was \_\_\_\_. | great (0.31), good (0.20) |",
        "| reviews | 100 | 50.0 | 60.0 | 62.0 | 70.2 (2.0) |",
        "| topics | 1000 | 25.0 | 26.0 | 35.0 | 55.0 (1.5) |",
        "mean over 5 samples",
    ],
)
def test_a_card_states_what_was_measured(tmp_path, stated):
    assert stated in flat(card(tmp_path))


@pytest.mark.parametrize(
    ("seconds", "stated"), [(90, "1.5 minutes"), (3599, "60.0 minutes"), (5400, "1.5 hours")]
)
def test_a_card_says_how_long_it_took(tmp_path, seconds, stated):
    assert f"**Time**: {stated} on" in card(
        tmp_path, metrics=METRICS | {"training_seconds": seconds}
    )


def test_a_card_begins_with_what_the_hub_reads(tmp_path):
    _, header, _ = card(tmp_path).split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "bsd-3-clause"
    assert "modernbert" in values["tags"]


def test_a_card_says_what_is_better_than_chance(tmp_path):
    # Of 20, 15 right ones have a one-sided p of 2.1 %, 14 one of 5.8 %; 3 are worse than chance.
    text = flat(card(tmp_path))
    assert "in 2: agreement; reflexive. It is not in 2: polarity; verbs." in text
    # 60 of 100 against a half have a p of 2.8 %, 260 of 1000 against a quarter one of 24 %.
    assert "beats the majority class (binomial test, 5 %) on 1 of 2 tasks: reviews." in text


@pytest.mark.parametrize(
    ("right", "stated"),
    [(20, "in 4: agreement; polarity; reflexive; verbs. It is not in 0: none."),
     (9, "in 0: none. It is not in 4: agreement; polarity; reflexive; verbs.")],
)  # fmt: skip
def test_a_card_says_none_where_there_is_none(tmp_path, right, stated):
    assert stated in flat(card(tmp_path, pairs=PAIRS.assign(right=right)))


def test_a_card_without_tasks_says_so(tmp_path):
    text = card(tmp_path, tasks=pd.DataFrame())
    assert "Accuracy on the tasks: not measured." in text
    assert "Zero-shot" not in text
    assert "## Intended use and limits" in text


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_card_of_one_sample_has_no_spread(tmp_path, missing):
    text = card(tmp_path, tasks=TASKS.assign(probe_std=missing, seeds=1))
    assert "| reviews | 100 | 50.0 | 60.0 | 62.0 | 70.2 |" in text
    assert "mean over 1 sample" in flat(text)


def test_tables_of_a_card_have_as_many_cells_in_every_row(tmp_path):
    table: list[int] = []
    for line in [*card(tmp_path).splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.count("|"))
        elif table:
            assert len(table) > 2
            assert len(set(table)) == 1
            table = []


# --- the curve ------------------------------------------------------------------------------


def test_the_curve_is_the_loss_over_the_tokens():
    table = pd.DataFrame(
        {"tokens": [1e6, 2e6, 3e6], "loss": [6.0, 4.0, 3.5], "held_out_loss": [None, 4.2, None]}
    ).astype(float)
    (axes,) = figures.pretraining_curve(table, 5.5).axes
    training, held_out, chance = axes.lines
    assert np.array_equal(training.get_xydata(), [[1, 6.0], [2, 4.0], [3, 3.5]])
    np.testing.assert_array_equal(held_out.get_xydata(), [[1, np.nan], [2, 4.2], [3, np.nan]])
    assert held_out.get_linestyle() == "None"
    assert list(chance.get_ydata()) == [5.5, 5.5]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["training", "held out", "word frequencies alone"]
    assert "million tokens" in axes.get_xlabel()
    assert "nats" in axes.get_ylabel()


def test_the_curve_may_be_over_steps():
    table = pd.DataFrame({"step": [5.0, 10.0], "loss": [6.0, 4.0]})
    (axes,) = figures.pretraining_curve(table, over="step").axes
    (training,) = axes.lines
    assert np.array_equal(training.get_xydata(), [[5, 6.0], [10, 4.0]])
    assert axes.get_xlabel() == "step"


@pytest.mark.parametrize("columns", [{"tokens": [1e6], "loss": [6.0]}, {}])
def test_the_curve_of_a_short_training(columns):
    # Without a point yet, or without a held-out loss.
    (axes,) = figures.pretraining_curve(pd.DataFrame(columns), 5.5).axes
    assert list(axes.lines[-1].get_ydata()) == [5.5, 5.5]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "held out" not in labels
    assert ("training" in labels) is bool(columns)


def test_a_filler_of_a_model_with_words_for_pieces():
    tokenizer = tiny_tokenizer("words")
    filler = Filler(tiny_masked_lm("bert", kind="words"), tokenizer)
    found = filler.log_probabilities("the film was {mask} and dull")
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
