"""Predictors of a kernel with labels against autograd, an ODE, scikit-learn and refits."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import KernelCenterer

from tangentlm.anticipate.centred import CentredKernel
from tangentlm.anticipate.labels import (
    RIDGES,
    best_ridges,
    common_time,
    evidence,
    gradient_norm,
    linearised_loss,
    target_alignment,
)
from tangentlm.errors import InputError
from test_predictors_spectrum import problem, written_out

CONSTANT = (1 + np.log(2 * np.pi)) / 2


def centred(**options):
    return CentredKernel.of(*problem(**options))


@pytest.mark.parametrize("outputs", [2, 4])
def test_gradient_norm_is_that_of_autograd(outputs):
    random = np.random.default_rng(1)
    features = random.normal(size=(8, outputs, 30))
    labels, start = np.arange(8) % outputs, random.normal(size=(8, outputs))
    weight = torch.zeros(30, dtype=torch.float64, requires_grad=True)
    logits = torch.from_numpy(features) @ weight + torch.from_numpy(start)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    (gradient,) = torch.autograd.grad(loss, weight)
    kernel = np.einsum("icp,jdp->icjd", features, features)
    found = gradient_norm(CentredKernel.of(kernel, labels, start))
    assert found == pytest.approx(float(gradient @ gradient), rel=1e-10)


@pytest.mark.parametrize("outputs", [2, 3])
def test_linearised_loss_is_that_of_gradient_flow(outputs):
    kernel, labels, logits = problem(outputs=outputs, width=10)
    found = CentredKernel.of(kernel, labels, logits)
    M, classes, start = written_out(kernel, labels, logits)
    flow = solve_ivp(
        lambda _, f: -M @ (f - classes) / 12, (0, 2.0), found.share * start,
        t_eval=[0.0, 0.1, 2.0], rtol=1e-9, atol=1e-12,
    )  # fmt: skip
    for time, f in zip(flow.t, flow.y.T, strict=True):
        expected = np.sum((f - classes) ** 2) / 12
        assert linearised_loss(found, time) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InputError, match="time = -1"):
        linearised_loss(found, -1)


def test_a_common_time_is_that_of_steps_which_do_not_diverge():
    kernel = centred(width=10)
    steps, rate = 50, kernel.samples / kernel.spectrum.values[-1]
    f = np.zeros(kernel.rows)
    for _ in range(steps):
        f -= rate * kernel.matrix @ (f - kernel.targets.ravel()) / kernel.samples
    time = common_time(kernel, steps)
    assert time == pytest.approx(rate * steps)
    # Descent with steps is a little faster than the flow, and has little left of less.
    left = np.sum((f - kernel.targets.ravel()) ** 2) / kernel.samples
    assert left <= linearised_loss(kernel, time) < linearised_loss(kernel, 0.0)
    with pytest.raises(InputError, match="steps = 0"):
        common_time(kernel, 0)


def test_alignment_of_two_classes_is_that_of_centred_kernels():
    kernel, labels, logits = problem(outputs=2)
    found = CentredKernel.of(kernel, labels, logits)
    wanted = found.targets @ found.targets.T
    one, other = (KernelCenterer().fit_transform(k) for k in (found.matrix.copy(), wanted))
    expected = np.sum(one * other) / np.linalg.norm(one) / np.linalg.norm(other)
    assert target_alignment(found) == pytest.approx(expected, rel=1e-10)


def test_alignment_of_more_classes_is_over_all_pairs_of_outputs():
    kernel, labels, logits = problem(outputs=4)
    found = CentredKernel.of(kernel, labels, logits)
    M, classes, start = written_out(kernel, labels, logits)
    H = np.kron(np.eye(12) - 1 / 12, np.eye(4))
    t = H @ (classes - found.share * start)
    inner = H @ M @ H
    expected = t @ inner @ t / np.linalg.norm(inner) / (t @ t)
    assert target_alignment(found) == pytest.approx(expected, rel=1e-10)


def test_alignment_is_one_where_the_kernel_is_the_targets():
    labels = np.arange(9) % 3
    T = np.eye(3)[labels] - 1 / 3
    kernel = np.einsum("ic,jd->icjd", T, T)
    assert target_alignment(CentredKernel.of(kernel, labels, np.zeros((9, 3)))) == pytest.approx(1)
    alike = np.einsum("ij,cd->icjd", np.ones((9, 9)), np.eye(3))
    with pytest.raises(InputError, match="kernel are the same for all samples"):
        target_alignment(CentredKernel.of(alike, labels, np.zeros((9, 3))))


@pytest.mark.parametrize("width", [3, 20])
@pytest.mark.parametrize("ridge", [0.05, 2.0])
def test_evidence_is_that_of_scikit_learn_at_the_likeliest_scale(width, ridge):
    random = np.random.default_rng(2)
    X, t = random.normal(size=(12, width)), random.normal(size=12)

    def log_likelihood(log_scale):
        scale = float(np.exp(log_scale))
        kernel = ConstantKernel(scale) * DotProduct(1e-12) + WhiteKernel(scale * ridge)
        process = GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(X, t)
        return process.log_marginal_likelihood(process.kernel_.theta)

    best = minimize_scalar(lambda s: -log_likelihood(s), bounds=(-12, 12), method="bounded")
    values, vectors = np.linalg.eigh(X @ X.T)
    found = evidence(values, (vectors.T @ t) ** 2, ridge)
    assert 12 * (found - CONSTANT) == pytest.approx(-best.fun, rel=1e-8)


def test_a_kernel_that_explains_the_targets_has_more_evidence():
    labels = np.arange(20) % 2
    random = np.random.default_rng(0)
    X = random.normal(size=(20, 5))
    noise, signal = (
        np.einsum("ij,cd->icjd", F @ F.T, np.eye(2))
        for F in (X, np.column_stack([X, 3 * (2 * labels - 1)]))
    )
    worse, better = (
        best_ridges(CentredKernel.of(K, labels, np.zeros((20, 2)))) for K in (noise, signal)
    )
    assert better.evidence > worse.evidence + 0.5
    assert better.loo_error < worse.loo_error / 2
    assert better.gcv < worse.gcv / 2
    assert better.loo_accuracy == 1.0 > worse.loo_accuracy


@pytest.mark.parametrize("outputs", [2, 3])
def test_each_criterion_takes_its_own_best_ridge(outputs):
    kernel, labels, logits = problem(n=15, outputs=outputs, width=25)
    found = CentredKernel.of(kernel, labels, logits)
    M, classes, start = written_out(kernel, labels, logits)
    targets = classes - found.share * start
    rows = np.arange(15 * outputs).reshape(15, outputs)
    errors, accuracies, gcvs, evidences = [], [], [], []
    for ridge in RIDGES:
        added = ridge * np.trace(M) / found.rows
        residual = np.empty((15, outputs))
        for i in range(15):
            kept = np.delete(rows, i, axis=0).ravel()
            fit = KernelRidge(alpha=added, kernel="precomputed")
            fit.fit(M[np.ix_(kept, kept)], targets[kept])
            residual[i] = targets[rows[i]] - fit.predict(M[np.ix_(rows[i], kept)])
        errors.append((residual**2).sum() / 15)
        predicted = (classes.reshape(15, -1) - residual).argmax(axis=1)
        accuracies.append((predicted == labels).mean())
        # In an orthonormal basis of the centred outputs, by its definition.
        Q = np.linalg.qr(np.eye(outputs) - 1 / outputs)[0][:, : outputs - 1]
        B = np.kron(np.eye(15), Q)
        m, t = B.T @ M @ B, B.T @ targets
        left = np.eye(len(t)) - m @ np.linalg.inv(m + added * np.eye(len(t)))
        gcvs.append(np.mean((left @ t) ** 2) / np.mean(np.diag(left)) ** 2)
        G = np.linalg.inv(m + added * np.eye(len(t)))
        N = len(t)
        evidences.append(-np.log(t @ G @ t / N) / 2 + np.linalg.slogdet(G)[1] / (2 * N))
    best = best_ridges(found)
    assert best.loo_error == pytest.approx(min(errors), rel=1e-7)
    assert best.loo_accuracy == pytest.approx(accuracies[int(np.argmin(errors))])
    assert best.gcv == pytest.approx(min(gcvs), rel=1e-7)
    assert best.evidence == pytest.approx(max(evidences), rel=1e-7)


def test_no_criterion_knows_a_factor_before_the_kernel():
    kernel, labels, logits = problem(width=20)
    one, other = (best_ridges(CentredKernel.of(s * kernel, labels, logits)) for s in (1.0, 1e5))
    assert other.loo_error == pytest.approx(one.loo_error, rel=1e-8)
    assert other.gcv == pytest.approx(one.gcv, rel=1e-8)
    assert other.evidence == pytest.approx(one.evidence, rel=1e-8)
    assert other.loo_accuracy == one.loo_accuracy


def test_what_is_refused():
    with pytest.raises(InputError, match="ridges must be positive"):
        best_ridges(centred(), (0.0, 1.0))
    with pytest.raises(InputError, match="ridges must be positive"):
        best_ridges(centred(), ())
    with pytest.raises(InputError, match=r"ridge = 0\.0 does not"):
        evidence(np.array([0.0, 1.0]), np.ones(2), 0.0)
    with pytest.raises(InputError, match="targets are zero"):
        evidence(np.ones(2), np.zeros(2), 1.0)
