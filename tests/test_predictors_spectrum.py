"""Predictors of a kernel without labels, and the basis of centred outputs they are computed in."""

import numpy as np
import pytest
from scipy.special import softmax

from tangentlm.anticipate.centred import CentredKernel
from tangentlm.anticipate.spectrum import DRAWS, effective_dimension, entropy_rank, kappa
from tangentlm.errors import InputError, NonFiniteError


def problem(n=12, outputs=3, width=60, seed=0):
    """A kernel, labels and logits."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, outputs, width))
    kernel = np.einsum("icp,jdp->icjd", features, features)
    return kernel, np.arange(n) % outputs, random.normal(size=(n, outputs))


def written_out(kernel, labels, logits):
    """P K P, the centred one-hot labels and the centred logits, each with all n C rows."""
    n, outputs = kernel.shape[:2]
    P = np.kron(np.eye(n), np.eye(outputs) - 1 / outputs)
    classes, start = np.eye(outputs)[labels], np.asarray(logits)
    return P @ kernel.reshape(len(P), -1) @ P, P @ classes.ravel(), P @ start.ravel()


@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_the_basis_has_all_of_the_centred_kernel_but_its_zeros(outputs):
    kernel, labels, logits = problem(outputs=outputs)
    found = CentredKernel.of(kernel, labels, logits)
    M, classes, start = written_out(kernel, labels, logits)
    values = np.linalg.eigvalsh(M)
    np.testing.assert_allclose(values[:12], 0, atol=1e-10 * values[-1])
    np.testing.assert_allclose(found.spectrum.values, values[12:], rtol=1e-10)
    assert found.rows == 12 * (outputs - 1)
    assert found.mean_eigenvalue == pytest.approx(np.trace(M) / found.rows)
    (share,) = np.linalg.lstsq(start[:, None], classes)[0]
    assert found.share == pytest.approx(max(share, 0))
    targets = found.as_outputs(found.targets).ravel()
    np.testing.assert_allclose(targets, classes - found.share * start, atol=1e-12)
    chi = softmax(logits, axis=1) - np.eye(outputs)[labels]
    np.testing.assert_allclose(found.as_outputs(found.residual), chi, atol=1e-12)
    whole = np.linalg.eigh(M)[1][:, 12:].T @ targets
    np.testing.assert_allclose(found.projections, whole**2, rtol=1e-7, atol=1e-12)


def test_two_classes_are_half_of_their_difference():
    kernel, labels, logits = problem(outputs=2)
    w = np.array([-1.0, 1.0])
    difference = np.einsum("icjd,c,d->ij", kernel, w, w)
    found = CentredKernel.of(kernel, labels, logits)
    np.testing.assert_allclose(found.matrix, difference / 2, rtol=1e-12)


def test_the_share_of_the_logits_is_never_negative():
    kernel, labels, _ = problem()
    right = np.eye(3)[labels]
    assert CentredKernel.of(kernel, labels, 4 * right + 7).share == pytest.approx(0.25)
    np.testing.assert_allclose(CentredKernel.of(kernel, labels, 4 * right).targets, 0, atol=1e-12)
    for logits in (-right, np.full((12, 3), 3.0)):
        found = CentredKernel.of(kernel, labels, logits)
        assert found.share == 0
        np.testing.assert_array_equal(found.targets, found.classes)


def test_a_class_may_be_missing():
    kernel, labels, logits = problem()
    found = CentredKernel.of(kernel, np.where(labels == 2, 0, labels), logits)
    assert found.targets.shape == (12, 2)
    assert np.linalg.norm(found.classes, axis=1) == pytest.approx(np.full(12, np.sqrt(2 / 3)))


def test_round_off_of_float32_is_no_negative_eigenvalue():
    kernel, labels, logits = problem(outputs=2, width=3)
    values = CentredKernel.of(kernel.astype(np.float32), labels, logits).spectrum.values
    assert values.min() == 0.0
    assert (values > 1e-3 * values.max()).sum() == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(12, dtype=int)}, "all 12 labels are 0"),
        ({"labels": np.full(12, 3)}, "0 to 2"),
        ({"labels": np.zeros(11, dtype=int)}, "12 samples does not fit 11"),
        ({"logits": np.zeros((12, 2))}, "f0 has shape"),
        ({"kernel": np.zeros((12, 3, 11, 3))}, "training needs"),
        ({"kernel": np.eye(12)[:, None, :, None]}, "one output has none to centre"),
    ],
)
def test_what_is_no_kernel_with_labels_is_refused(change, message):
    kernel, labels, logits = problem()
    with pytest.raises(InputError, match=message):
        CentredKernel.of(**({"kernel": kernel, "labels": labels, "logits": logits} | change))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((4, 2, 4, 2)), "zero where outputs are centred"),
        (np.einsum("ij,cd->icjd", np.diag([1.0, 1, 1, -0.5]), np.eye(2)), "eigenvalue -0.5"),
        (np.einsum("ij,cd->icjd", np.triu(np.ones((4, 4))), np.eye(2)), "not symmetric"),
    ],
)
def test_what_has_no_spectrum_is_refused(kernel, message):
    found = CentredKernel.of(kernel, [0, 1, 0, 1], np.zeros((4, 2)))
    with pytest.raises(InputError, match=message):
        _ = found.spectrum


def test_an_entry_that_is_not_finite_is_named():
    kernel, labels, logits = problem()
    kernel[3, 1, 2, 0] = np.nan
    with pytest.raises(NonFiniteError, match="row 3, output 1"):
        CentredKernel.of(kernel, labels, logits)


def test_kappa_of_few_samples_is_the_condition_number():
    values = problem(outputs=2)[0]
    M = values.reshape(24, 24)
    assert kappa(values, 0.5) == pytest.approx(np.linalg.cond(M + 0.5 * np.eye(24)), rel=1e-9)
    share = 0.1 * np.trace(M) / 24
    expected = np.linalg.cond(M + share * np.eye(24))
    assert kappa(values, 0.1, relative=True) == pytest.approx(expected, rel=1e-9)
    assert kappa(1e6 * values, 0.1, relative=True) == pytest.approx(expected, rel=1e-9)


def test_kappa_of_many_samples_is_the_median_over_draws_of_32():
    values = problem(n=50, outputs=1, width=200)[0]
    found = []
    for draw in range(DRAWS):
        chosen = np.random.default_rng(draw).permutation(50)[:32]
        found.append(np.linalg.cond(values[chosen, 0][:, chosen, 0] + 1e-4 * np.eye(32)))
    assert kappa(values) == pytest.approx(np.median(found), rel=1e-8)
    assert kappa(values) < np.linalg.cond(values[:, 0, :, 0])


def test_ranks_of_spectra_that_are_known():
    assert entropy_rank([3.0, 0, 0]) == pytest.approx(1.0)
    assert entropy_rank(np.full(7, 0.2)) == pytest.approx(7.0)
    assert entropy_rank([2.0, 1.0, 1.0]) == pytest.approx(2**1.5)
    M = problem(outputs=2, width=5)[0].reshape(24, 24)
    degrees = np.trace(M @ np.linalg.inv(M + 0.3 * np.eye(24)))
    values = np.maximum(np.linalg.eigvalsh(M), 0)
    assert effective_dimension(values, 0.3) == pytest.approx(degrees, rel=1e-9)
    assert effective_dimension(values, 1e-6) == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "ridge", "message"),
    [
        ([1.0, -0.1], 1.0, "negative: -0.1"),
        ([0.0, 0.0], 1.0, "not all zero"),
        ([1.0, np.inf], 1.0, "finite"),
        ([[1.0]], 1.0, r"\(N,\)"),
        ([1.0], 0.0, "ridge = 0.0 must be positive"),
    ],
)
def test_what_is_no_spectrum_is_refused(values, ridge, message):
    with pytest.raises(InputError, match=message):
        effective_dimension(values, ridge)
