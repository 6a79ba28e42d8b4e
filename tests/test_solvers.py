"""What all kernel solvers share: scikit-learn's contract, invariances, refusals; labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, f1_score

from solver_problems import PROPERTY, Problem
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import Kernel
from tangentlm.metrics import score
from tangentlm.solvers import (
    AsymmetricLeastSquares,
    KernelLeastSquares,
    KernelLogistic,
    KernelRowsLogistic,
    Spectrum,
    difference,
    labels_of_decision,
)

SOLVERS = {
    "least squares": KernelLeastSquares(0.01, 3.0),
    "least squares unregularised": KernelLeastSquares(0.0, 3.0),
    "logistic": KernelLogistic(0.01, 3.0),
    "asymmetric": AsymmetricLeastSquares(0.2, 0.01, 3.0),
    "asymmetric label": AsymmetricLeastSquares(0.2, 0.01, 3.0, "label"),
    "rows": KernelRowsLogistic(0.01),
}
WITHOUT_FOLDS = sorted(SOLVERS.keys() - {"rows"})
EVERY = pytest.mark.parametrize("name", SOLVERS)


class Arguments:
    """A problem with the kernels that a solver wants, samples and outputs in any order."""

    def __init__(self, name, outputs, samples=slice(None), others=slice(None), classes=None):
        p = Problem(n=15, m=5, outputs=outputs, width=60)
        classes = np.arange(outputs) if classes is None else np.array(classes)
        self.y = (np.argsort(classes)[p.y] if outputs > 1 else p.y)[samples]
        self.f0, self.f0_test = p.f0[samples][:, classes], p.f0_test[others][:, classes]
        self.samples, self.others = p.features[samples][:, classes], p.others[others][:, classes]
        sign = np.sign if name.startswith("asymmetric") else np.asarray
        self.train = np.einsum("icp,jdp->icjd", self.samples, sign(self.samples))
        if name.startswith("asymmetric"):
            self.test = np.einsum("icp,jdp->icjd", self.others, sign(self.samples))
        else:
            self.test = np.einsum("icp,jdp->icjd", self.samples, self.others)

    def fitted(self, name):
        return clone(SOLVERS[name]).fit(self.train, self.y, self.f0)

    def decision(self, name):
        return self.fitted(name).decision_function(self.test, self.f0_test)


# --- the contract of scikit-learn -----------------------------------------------------------


@EVERY
@pytest.mark.parametrize("outputs", [1, 3])
def test_estimator_of_sklearn(name, outputs):
    a = Arguments(name, outputs)
    solver = clone(SOLVERS[name])
    before = solver.get_params()
    assert solver.fit(a.train, a.y, a.f0) is solver
    assert solver.get_params() == before
    copied = clone(solver)
    assert copied.get_params() == before
    with pytest.raises(NotFittedError):
        copied.decision_function(a.test, a.f0_test)
    decision = solver.decision_function(a.test, a.f0_test)
    assert decision.shape == (5, outputs)
    predicted = solver.predict(a.test, a.f0_test)
    assert np.array_equal(predicted, labels_of_decision(decision))
    assert predicted.dtype == np.int64
    assert np.array_equal(solver.classes_, np.arange(max(outputs, 2)))


@EVERY
def test_score_of_sklearn_is_the_accuracy(name):
    a = Arguments(name, 3)
    solver = clone(SOLVERS[name])
    if "f0_scale" in solver.get_params():
        solver.set_params(f0_scale=np.inf)
    solver.fit(a.train, a.y)
    y = np.array([0, 1, 2, 0, 1])
    assert solver.score(a.test, y) == accuracy_score(y, solver.predict(a.test))


@EVERY
def test_same_fit_twice_is_the_same(name):
    a = Arguments(name, 3)
    solver = a.fitted(name)
    first = solver.decision_function(a.test, a.f0_test)
    solver.fit(a.train, a.y, a.f0)
    assert np.array_equal(solver.decision_function(a.test, a.f0_test), first)


@EVERY
def test_kernel_object_and_array_agree(name):
    a = Arguments(name, 2)
    train = Kernel(a.train, "sgd", "full", ("weight",))
    test = Kernel(a.test, "sgd", "full", ("weight",))
    solver = clone(SOLVERS[name]).fit(train, a.y, a.f0)
    assert np.array_equal(solver.decision_function(test, a.f0_test), a.decision(name))


@EVERY
def test_what_a_grid_shares_gives_the_same_fit(name):
    a = Arguments(name, 3)
    shared = SOLVERS[name].prepare(a.train)
    for _ in range(2):
        solver = clone(SOLVERS[name]).fit(a.train, a.y, a.f0, shared)
        decision = solver.decision_function(a.test, a.f0_test)
        np.testing.assert_allclose(decision, a.decision(name), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["least squares", "logistic", "asymmetric"])
def test_pretrained_logits_are_not_looked_at_with_an_infinite_scale(name):
    a = Arguments(name, 3)
    solver = clone(SOLVERS[name]).set_params(f0_scale=np.inf)
    plain = solver.fit(a.train, a.y).decision_function(a.test)
    given = solver.fit(a.train, a.y, 1e9 * a.f0).decision_function(a.test, 1e9 * a.f0_test)
    assert np.array_equal(given, plain)


# --- invariances ----------------------------------------------------------------------------


@PROPERTY
@given(
    name=st.sampled_from(WITHOUT_FOLDS),
    samples=st.permutations(range(15)),
    others=st.permutations(range(5)),
    outputs=st.sampled_from([1, 3]),
)
def test_order_of_samples_does_not_matter(name, samples, others, outputs):
    expected = Arguments(name, outputs).decision(name)[others]
    decision = Arguments(name, outputs, samples, others).decision(name)
    np.testing.assert_allclose(decision, expected, rtol=1e-6, atol=1e-8)


@PROPERTY
@given(name=st.sampled_from(WITHOUT_FOLDS), classes=st.permutations(range(3)))
def test_order_of_classes_permutes_the_outputs(name, classes):
    expected = Arguments(name, 3).decision(name)[:, classes]
    decision = Arguments(name, 3, classes=classes).decision(name)
    np.testing.assert_allclose(decision, expected, rtol=1e-6, atol=1e-8)


@PROPERTY
@given(name=st.sampled_from(["logistic", *WITHOUT_FOLDS[2:]]), exponent=st.floats(-8, 8))
def test_scale_of_the_kernel_does_not_matter(name, exponent):
    a, factor = Arguments(name, 3), 10.0**exponent
    expected = a.decision(name)
    solver = clone(SOLVERS[name]).fit(factor * a.train, a.y, a.f0)
    decision = solver.decision_function(factor * a.test, a.f0_test)
    np.testing.assert_allclose(decision, expected, rtol=1e-6, atol=1e-8)


@PROPERTY
@given(name=st.sampled_from(WITHOUT_FOLDS), factor=st.floats(0.1, 10))
def test_scale_of_f0_is_the_inverse_of_its_size(name, factor):
    a = Arguments(name, 3)
    expected = a.decision(name)
    solver = clone(SOLVERS[name]).set_params(f0_scale=3.0 * factor)
    solver.fit(a.train, a.y, factor * a.f0)
    decision = solver.decision_function(a.test, factor * a.f0_test)
    np.testing.assert_allclose(decision, expected, rtol=1e-6, atol=1e-8)


@PROPERTY
@given(
    name=st.sampled_from(["least squares", "asymmetric"]),
    shift=arrays(np.float64, (5, 3), elements=st.floats(-5, 5)),
)
def test_f0_of_other_samples_shifts_their_decision(name, shift):
    a = Arguments(name, 3)
    solver = a.fitted(name)
    moved = solver.decision_function(a.test, a.f0_test + shift)
    np.testing.assert_allclose(
        moved - solver.decision_function(a.test, a.f0_test), shift / 3, atol=1e-12
    )


@PROPERTY
@given(
    common=arrays(np.float64, (20, 1), elements=st.floats(-5, 5)),
)
def test_logistic_decision_takes_a_common_shift_of_f0_along(common):
    # The cross entropy does not see what is added to all logits of a sample.
    a = Arguments("logistic", 3)
    solver = clone(SOLVERS["logistic"]).fit(a.train, a.y, a.f0 + common[:15])
    decision = solver.decision_function(a.test, a.f0_test + common[15:])
    np.testing.assert_allclose(
        decision, a.decision("logistic") + common[15:] / 3, rtol=1e-6, atol=1e-7
    )


# --- refusals -------------------------------------------------------------------------------


FIT_REFUSALS = {
    "rectangular": (lambda s, a: s.fit(a.train[:, :, :5], a.y, a.f0), "does not fit: training"),
    "matrix": (lambda s, a: s.fit(a.train.reshape(30, 30), a.y, a.f0), r"\(N, C, M, C\)"),
    "outputs differ": (lambda s, a: s.fit(a.train[..., :1], a.y, a.f0), r"\(N, C, M, C\)"),
    "nothing": (lambda s, a: s.fit(a.train[:0, :, :0], a.y[:0], a.f0[:0]), "kernel is empty"),
    "too few labels": (lambda s, a: s.fit(a.train, a.y[:3], a.f0), "15 samples .* 3 labels"),
    "one-hot labels": (lambda s, a: s.fit(a.train, np.eye(2)[a.y], a.f0), "integers of shape"),
    "float labels": (lambda s, a: s.fit(a.train, a.y / 1.0, a.f0), "integers of shape"),
    "label too large": (lambda s, a: s.fit(a.train, a.y + 1, a.f0), "0 to 1"),
    "negative label": (lambda s, a: s.fit(a.train, a.y - 1, a.f0), "0 to 1"),
    "third label of two": (
        lambda s, a: s.fit(a.train[:, :1, :, :1], np.arange(15) % 3, a.f0[:, :1]),
        "0 to 1",
    ),
    "negative regularization": (
        lambda s, a: s.set_params(regularization=-0.1).fit(a.train, a.y, a.f0),
        "regularization must be a number >=? 0, not -0.1",
    ),
    "no number": (
        lambda s, a: s.set_params(regularization="0.1").fit(a.train, a.y, a.f0),
        "regularization must be a number >=? 0, not '0.1'",
    ),
    "nan": (
        lambda s, a: s.set_params(regularization=np.nan).fit(a.train, a.y, a.f0),
        "regularization must be a number >=? 0, not nan",
    ),
}
F0_REFUSALS = {
    "missing": (lambda s, a: s.fit(a.train, a.y), "f0_scale = 3.0 needs .* f0"),
    "shape": (
        lambda s, a: s.fit(a.train, a.y, a.f0[:, :1]),
        r"f0 has shape \(15, 1\), expected \(15, 2\)",
    ),
    "zero scale": (
        lambda s, a: s.set_params(f0_scale=0.0).fit(a.train, a.y, a.f0),
        "f0_scale .* > 0",
    ),
    "negative scale": (
        lambda s, a: s.set_params(f0_scale=-1.0).fit(a.train, a.y, a.f0),
        "f0_scale must be a number > 0, not -1.0",
    ),
    "missing on others": (
        lambda s, a: s.fit(a.train, a.y, a.f0).decision_function(a.test),
        "f0_scale = 3.0 needs .* f0",
    ),
    "shape on others": (
        lambda s, a: s.fit(a.train, a.y, a.f0).predict(a.test, a.f0),
        r"f0 has shape \(15, 2\), expected \(5, 2\)",
    ),
}


@EVERY
@pytest.mark.parametrize("refusal", FIT_REFUSALS)
def test_fit_refuses(name, refusal):
    fit, message = FIT_REFUSALS[refusal]
    with pytest.raises(InputError, match=message) as caught:
        fit(clone(SOLVERS[name]), Arguments(name, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WITHOUT_FOLDS)
@pytest.mark.parametrize("refusal", F0_REFUSALS)
def test_pretrained_logits_are_checked(name, refusal):
    use, message = F0_REFUSALS[refusal]
    with pytest.raises(InputError, match=message):
        use(clone(SOLVERS[name]), Arguments(name, 2))


@EVERY
def test_prediction_refuses_kernels_of_other_samples(name):
    a = Arguments(name, 2)
    solver = a.fitted(name)
    for kernel in (a.test[:2, :, :2], a.test[:, :1, :, :1]):
        with pytest.raises(InputError, match="does not fit"):
            solver.decision_function(kernel, a.f0_test)
    with pytest.raises(InputError, match=r"\(N, C, M, C\)"):
        solver.decision_function(a.test[:, 0, :, 0], a.f0_test)


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_kernels_are_refused_by_their_entry(name, bad):
    a = Arguments(name, 2)
    solver = a.fitted(name)
    a.test[3, 1, 2, 0] = bad
    with pytest.raises(NonFiniteError, match="entry of row 3, output 1, column 2, output 0"):
        solver.decision_function(a.test, a.f0_test)
    a.train[4, 0, 2, 1] = bad
    with pytest.raises(NonFiniteError, match="entry of row 4, output 0, column 2, output 1"):
        a.fitted(name)


@pytest.mark.parametrize("name", WITHOUT_FOLDS)
def test_non_finite_logits_are_refused_by_their_sample(name):
    a = Arguments(name, 2)
    solver = a.fitted(name)
    a.f0_test[3, 1] = np.nan
    with pytest.raises(NonFiniteError, match="f0 of sample 3, output 1 is not finite"):
        solver.predict(a.test, a.f0_test)
    a.f0[2, 0] = np.inf
    with pytest.raises(NonFiniteError, match="f0 of sample 2, output 0 is not finite"):
        a.fitted(name)


@pytest.mark.filterwarnings("ignore:overflow")
def test_overflow_of_a_prediction_is_refused():
    solver = KernelLeastSquares().fit(1e-300 * np.ones((1, 1, 1, 1)), [1])
    with pytest.raises(NonFiniteError, match="prediction of sample 0, output 0"):
        solver.decision_function(np.full((1, 1, 1, 1), 1e300))


def test_spectrum_is_of_a_square_symmetric_kernel():
    p = Problem(outputs=2)
    with pytest.raises(InputError, match="does not fit: training"):
        Spectrum.of(p.test)
    with pytest.raises(InputError, match="not symmetric"):
        Spectrum.of(p.signed_train)


# --- scores and labels ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_score_is_that_of_sklearn_in_percent(seed):
    random = np.random.default_rng(seed)
    y, predicted = random.integers(0, 2, size=(2, 30))
    assert score(y, predicted) == pytest.approx(100 * accuracy_score(y, predicted))
    assert score(y, predicted, "accuracy") == pytest.approx(100 * np.mean(y == predicted))
    assert score(y, predicted, "f1") == pytest.approx(100 * f1_score(y, predicted))
    hits = np.sum((y == 1) & (predicted == 1))
    assert score(y, predicted, "f1") == pytest.approx(200 * hits / (y.sum() + predicted.sum()))


@pytest.mark.parametrize(
    ("decision", "labels"),
    [
        ([[0.1], [-0.1], [0.0]], [1, 0, 0]),
        ([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 0, 0]),
        ([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 1.0, 1.0]], [2, 0, 1]),
    ],
)
def test_labels_of_decision(decision, labels):
    assert labels_of_decision(np.array(decision)).tolist() == labels


def test_difference():
    logits = [[1.0, 3.0], [0.5, -0.5]]
    assert difference(logits).tolist() == [[2.0], [-1.0]]
    assert difference(np.float32(logits)).dtype == np.float64


def test_unknown_metric_is_refused():
    with pytest.raises(InputError, match="unknown metric 'F1'; did you mean 'f1'"):
        score([0, 1], [0, 1], "F1")


@PROPERTY
@given(
    decision=arrays(np.float64, (7, 2), elements=st.integers(-3, 3).map(float)),
)
def test_difference_decides_like_the_two_logits(decision):
    assert np.array_equal(labels_of_decision(difference(decision)), labels_of_decision(decision))
