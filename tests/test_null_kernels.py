"""Kernels that know less than the eNTK: of a part of a model, or of no gradient at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from tangentlm.errors import InputError
from tangentlm.kernels import bag_of_words_kernel, constant_kernel, entk
from tangentlm.models.few_shot import few_shot
from tangentlm.models.logits import logits_of
from tangentlm.models.parts import embedding, head, last_layer, parameters_of, untie
from tangentlm.params import KernelRun
from tangentlm.solvers import KernelLeastSquares, select


@pytest.fixture
def shots():
    return few_shot("topics", k=1, test_size=2, model="pocket-xs", device="cpu")


def run(**parameters):
    return KernelRun.parse({"task": "reviews", **parameters}, "run")


def kernel(shots, names=None, batch=None):
    model, rows = shots.model.double(), batch or shots.part("train").batch
    return entk(model, rows, parameters=names, precision="float64", progress=False).values


def test_an_untied_decoder_gives_the_same_logits_and_other_gradients(shots):
    usual = shots.part("train").batch
    word = shots.model.masked_lm.get_output_embeddings().word_ids[0]
    ids = usual["input_ids"].clone()
    ids[0, 1] = word  # a text with a label word in it
    with_word = {**usual, "input_ids": ids}
    tied, tied_with_word = kernel(shots), kernel(shots, batch=with_word)
    before = logits_of(shots.model, shots.batch)  # in float64
    untie(shots.model)
    torch.testing.assert_close(logits_of(shots.model, shots.batch), before)
    untied = kernel(shots)
    untie(shots.model)  # once more changes nothing
    np.testing.assert_array_equal(kernel(shots), untied)
    # The two differ where a label word stands in a text: its row is embedding and decoder at once.
    np.testing.assert_allclose(untied, tied, rtol=1e-9)
    differs = np.abs(kernel(shots, batch=with_word) - tied_with_word) > 1e-6
    assert differs[0].any()
    assert not differs[1:, :, 1:].any()


def test_the_parts_of_a_model_are_apart_and_the_rest_is_its_layers(shots):
    parts = {part: parameters_of(shots.model, part) for part in ("embedding", "head", "last")}
    every = [name for name, _ in shots.model.named_parameters()]
    others = [name for name in every if name not in {*parts["embedding"], *parts["head"]}]
    assert set(parts["last"]) < set(others)
    assert not set(parts["embedding"]) & set(parts["head"])
    total = sum(kernel(shots, names) for names in (parts["embedding"], parts["head"], others))
    np.testing.assert_allclose(total, kernel(shots), rtol=1e-9, atol=1e-9 * np.abs(total).max())
    assert parameters_of(shots.model, "all") is None


def test_the_head_s_kernel_is_that_of_autograd(shots):
    names = parameters_of(shots.model, "head")
    found = kernel(shots, names)
    batch = shots.part("train").batch
    gradients = []
    for row in range(len(batch["input_ids"])):
        one = {name: values[row : row + 1] for name, values in batch.items()}
        for logit in shots.model(**one)[0]:
            wanted = [shots.model.get_parameter(name) for name in names]
            parts = torch.autograd.grad(logit, wanted, retain_graph=True)
            gradients.append(torch.cat([part.flatten() for part in parts]))
    matrix = torch.stack(gradients)
    size = math.isqrt(found.size)
    np.testing.assert_allclose(found.reshape(size, size), (matrix @ matrix.T).numpy(), rtol=1e-9)


def test_a_linear_head_has_parts_too():
    shots = few_shot("reviews", k=2, test_size=2, model="pocket-xs", head="linear", device="cpu")
    assert head(shots.model) == ["classifier.weight", "classifier.bias"]
    assert embedding(shots.model)[0] == "body.embeddings.tok_embeddings.weight"
    assert last_layer(shots.model)[0].startswith("body.layers.3.")


def test_the_bag_of_words_is_the_cosine_of_scikit_learn(shots):
    batch = shots.batch
    rows = [
        row[used.bool()]
        for row, used in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    texts = [" ".join(f"t{token}" for token in row.tolist()) for row in rows]
    counts = CountVectorizer(token_pattern=r"\S+").fit_transform(texts)
    train, test = shots.parts["train"], shots.parts["test"]
    found = bag_of_words_kernel(shots.part("train").batch, shots.part("test").batch, outputs=3)
    expected = cosine_similarity(counts[train], counts[test])
    for output in range(3):
        np.testing.assert_allclose(found.values[:, output, :, output], expected)
    assert not found.values[:, 0, :, 1].any()


def test_a_constant_kernel_learns_how_often_a_label_comes_and_no_more(shots):
    batch = {"input_ids": torch.zeros(6, 2)}
    values = constant_kernel(batch).values
    solver = KernelLeastSquares(regularization=0.0).fit(values, [1, 1, 1, 1, 0, 0])
    decision = solver.decision_function(constant_kernel(batch, {"input_ids": torch.ones(3, 5)}))
    np.testing.assert_allclose(decision, np.full((3, 1), 2 / 6))  # the mean of -1 and +1


@pytest.mark.parametrize(
    ("parameters", "method"),
    [
        ({"formula": "constant"}, "constant"),
        ({"formula": "bag-of-words"}, "bag-of-words"),
        ({"layers": "head"}, "sgd-head-alone"),
        ({"layers": "embedding"}, "sgd-embedding-alone"),
        ({"layers": "last"}, "sgd-last-layer"),
        ({"decoder": "untied", "solver": "every"}, "sgd-untied-every"),
    ],
)
def test_controls_have_names_of_their_own(parameters, method):
    assert run(**parameters).method == method


def test_usual_runs_are_what_they_were():
    assert not {"layers", "decoder"} & set(run().deciding())
    assert run(layers="head").deciding()["layers"] == "head"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"formula": "constant", "layers": "last"}, "reads no gradient"),
        ({"formula": "bag-of-words", "decoder": "untied"}, "kernels of gradients"),
        ({"head": "linear", "decoder": "untied"}, "kernels of gradients"),
        ({"formula": "constant", "adaptation": "lora"}, "adaptation = 'full' only"),
        ({"layers": "head", "adaptation": "lora"}, "layers = 'head' is for"),
        ({"formula": "asymmetric-signgd", "solver": "every"}, "not for asymmetric-signgd"),
    ],
)
def test_what_cannot_be_is_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        run(**parameters)


def test_centred_targets_sum_to_zero():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((9, 3, 40))
    values = np.einsum("icp,jdp->icjd", gradients, gradients)
    labels = np.arange(9) % 3
    usual = KernelLeastSquares().fit(values, labels).decision_function(values)
    centred = KernelLeastSquares(centred=True).fit(values, labels).decision_function(values)
    np.testing.assert_allclose(usual, np.eye(3)[labels], atol=1e-8)
    np.testing.assert_allclose(centred, np.eye(3)[labels] - 1 / 3, atol=1e-8)
    chosen = select(
        values, labels, values, labels, solver=KernelLeastSquares(centred=True), f0_scale=(np.inf,)
    )
    assert chosen.solver.centred
    two = np.einsum("icp,jdp->icjd", gradients[:, :1], gradients[:, :1])
    classes = (labels > 0).astype(int)
    for centre in (False, True):  # -1 and +1 are centred already
        fitted = KernelLeastSquares(centred=centre).fit(two, classes)
        np.testing.assert_allclose(fitted.decision_function(two)[:, 0], 2 * classes - 1)
