"""Choosing hyperparameters on dev, for every solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from solver_problems import Problem
from tangentlm.errors import InputError
from tangentlm.metrics import score
from tangentlm.solvers import (
    AsymmetricLeastSquares,
    KernelLeastSquares,
    KernelLogistic,
    KernelRowsLogistic,
    asymmetric,
    select,
    spectrum,
)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("seed", range(4))
def test_select_picks_the_best_point(seed, metric):
    p = Problem(n=12, m=16, outputs=1, width=20, seed=seed)
    strengths, scales = (0.0, 0.01, 0.1, 1.0), (0.5, 2.0, np.inf)
    chosen = select(
        p.train, p.y, p.test, p.y_test, f0_train=p.f0, f0_dev=p.f0_test,
        regularization=strengths, f0_scale=scales, metric=metric,
    )  # fmt: skip
    points = {}
    for strength, scale in itertools.product(strengths, scales):
        solver = KernelLeastSquares(strength, scale).fit(p.train, p.y, p.f0)
        decision = solver.decision_function(p.test, p.f0_test)
        loss = float(np.mean((decision[:, 0] - (2 * p.y_test - 1)) ** 2))
        points[strength, scale] = score(p.y_test, decision[:, 0] > 0, metric), -loss
    assert len(chosen.table) == len(points)
    for row in chosen.table:
        points_there, loss_there = points[row["regularization"], row["f0_scale"]]
        assert row["dev_score"] == points_there
        assert row["dev_loss"] == pytest.approx(-loss_there)
        assert 0 < row["rank"] <= p.n
    best = max(points, key=points.__getitem__)
    assert (chosen.solver.regularization, chosen.solver.f0_scale) == best
    assert chosen.dev_score == points[best][0]
    again = KernelLeastSquares(*best).fit(p.train, p.y, p.f0)
    np.testing.assert_allclose(chosen.solver.alpha_, again.alpha_, rtol=1e-8, atol=1e-12)


def test_ties_in_the_score_go_to_the_smaller_loss():
    # Every regularisation classifies rightly; the more of it, the further from the targets.
    y = np.array([0, 1, 0, 1])
    features = np.where(y == 1, 1.0, -1.0)[:, None] * np.ones((4, 1))
    kernel = np.einsum("ip,jp->ij", features, features)[:, None, :, None]
    for strengths in [(0.0, 0.1, 1.0), (1.0, 0.1, 0.0)]:
        chosen = select(kernel, y, kernel, y, regularization=strengths, f0_scale=(np.inf,))
        assert [row["dev_score"] for row in chosen.table] == [100.0] * 3
        assert chosen.solver.regularization == 0.0


def test_multi_class_select_uses_one_hot_targets():
    p = Problem(outputs=3)
    chosen = select(p.train, p.y, p.train, p.y, regularization=(0.0,), f0_scale=(np.inf,))
    assert chosen.dev_score == 100.0
    assert chosen.table[0]["dev_loss"] == pytest.approx(0.0, abs=1e-18)


def test_empty_grid_is_refused():
    p = Problem(outputs=1)
    with pytest.raises(InputError, match="grid"):
        select(p.train, p.y, p.test, p.y_test, regularization=(), f0_scale=(np.inf,))


TABLE_3 = {
    "regularization": (0.0, 0.001, 0.01, 0.1, 1.0),
    "f0_scale": (10.0, 100.0, 1000.0, 10000.0, np.inf),
    "gamma": (0.01, 0.1, 1.0, 10.0),
}
SOLVERS = {
    "least squares": (KernelLeastSquares(), ("regularization", "f0_scale"), "rank"),
    "logistic": (KernelLogistic(), ("regularization", "f0_scale"), "iterations"),
    "rows": (KernelRowsLogistic(), ("regularization",), "strength"),
    "asymmetric": (AsymmetricLeastSquares(), ("regularization", "gamma", "f0_scale"), "rank"),
}


@pytest.mark.parametrize("case", SOLVERS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_default_grid_is_that_of_the_paper(case, outputs):
    solver, names, diagnostic = SOLVERS[case]
    p = Problem(n=15, m=7, outputs=outputs, width=60, seed=1)
    kernels = (p.train, p.test) if case != "asymmetric" else (p.signed_train, p.signed_test)
    chosen = select(
        kernels[0], p.y, kernels[1], p.y_test, f0_train=p.f0, f0_dev=p.f0_test, solver=solver
    )
    tried = {name: TABLE_3[name] for name in names}
    if case == "logistic":
        tried["regularization"] = TABLE_3["regularization"][1:]
    points = [tuple(row[name] for name in names) for row in chosen.table]
    assert sorted(points) == sorted(itertools.product(*tried.values()))
    assert set(chosen.table[0]) == {*names, "dev_score", "dev_loss", diagnostic}
    # The best point, and its numbers from a fit of its own.
    best = max(chosen.table, key=lambda row: (row["dev_score"], -row["dev_loss"]))
    point = {name: best[name] for name in names}
    alone = type(solver)(**point).fit(kernels[0], p.y, p.f0)
    decision = alone.decision_function(kernels[1], p.f0_test)
    assert {name: getattr(chosen.solver, name) for name in names} == point
    predicted = alone.predict(kernels[1], p.f0_test)
    assert chosen.dev_score == best["dev_score"] == score(p.y_test, predicted)
    assert best["dev_loss"] == pytest.approx(alone.loss(decision, p.y_test), rel=1e-6)


def test_losses_are_those_that_the_solvers_minimise():
    decision, y = np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([1, 0])
    assert KernelLeastSquares().loss(decision, y) == pytest.approx((0 + 1 + 0 + 1) / 4)
    assert AsymmetricLeastSquares().loss(decision, y) == pytest.approx((1 + 1 + 0 + 4) / 4)
    entropy = (np.log1p(np.exp(-2.0)) + np.log(2)) / 2
    assert KernelLogistic().loss(decision, y) == pytest.approx(entropy)
    binary = np.log1p(np.exp([0.0, -2.0, -1.0, 1.0])).mean()
    assert KernelRowsLogistic().loss(decision, y) == pytest.approx(binary)
    assert KernelLogistic().loss(decision[:, 1:], y) == pytest.approx(
        np.log1p(np.exp([-2.0, 1.0])).mean()
    )


def test_hyperparameters_outside_the_grid_are_those_of_the_solver():
    p = Problem(outputs=1, n=10)
    solver = AsymmetricLeastSquares(f0_as="label")
    chosen = select(
        p.signed_train, p.y, p.signed_test, p.y_test, f0_train=p.f0, f0_dev=p.f0_test,
        solver=solver, regularization=(0.1,), gamma=(0.5,), f0_scale=(2.0, 4.0),
    )  # fmt: skip
    assert len(chosen.table) == 2
    assert chosen.solver.f0_as == "label"
    assert chosen.solver is not solver
    assert not hasattr(solver, "beta_")
    # With this reading every f0 scale has a system of its own.
    for row in chosen.table:
        alone = AsymmetricLeastSquares(0.5, 0.1, row["f0_scale"], "label")
        decision = alone.fit(p.signed_train, p.y, p.f0).decision_function(p.signed_test, p.f0_test)
        assert row["dev_loss"] == pytest.approx(alone.loss(decision, p.y_test), rel=1e-9)


@pytest.mark.parametrize(
    ("module", "name", "solver", "calls"),
    [
        (spectrum, "eigh", KernelLeastSquares(), 1),
        (spectrum, "eigh", KernelLogistic(), 1),
        (asymmetric, "svd", AsymmetricLeastSquares(), 5),
    ],
    ids=["least squares", "logistic", "asymmetric"],
)
def test_grid_decomposes_the_kernel_no_more_than_it_must(monkeypatch, module, name, solver, calls):
    p = Problem(outputs=1, n=10)
    counted = []
    decompose = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: counted.append(1) or decompose(*a, **k))
    kernels = (p.train, p.test) if calls == 1 else (p.signed_train, p.signed_test)
    select(kernels[0], p.y, kernels[1], p.y_test, f0_train=p.f0, f0_dev=p.f0_test, solver=solver)
    assert len(counted) == calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regularisation": (0.1,)}, "unknown hyperparameter .* did you mean 'regularization'"),
        ({"gamma": (0.1,)}, "unknown hyperparameter of KernelLeastSquares 'gamma'"),
        ({"solver": KernelRowsLogistic(), "f0_scale": (1.0,)}, "KernelRowsLogistic 'f0_scale'"),
        ({"regularization": 0.1}, "sequence of values, not 0.1"),
        ({"metric": "F1"}, "unknown metric 'F1'; did you mean 'f1'"),
        ({"f0_scale": (10.0,)}, "needs .* f0"),
        ({"solver": KernelLogistic(), "regularization": (0.0,)}, "regularization .* > 0"),
        ({"y_dev": [0, 1]}, "does not fit 2 labels"),
        ({"y_dev": [0, 1, 2, 1, 0]}, "0 to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_select_refuses(arguments, message):
    p = Problem(outputs=1)
    arguments = {"y_dev": p.y_test, "f0_scale": (np.inf,), **arguments}
    if isinstance(arguments.get("solver"), KernelRowsLogistic):
        p = Problem(outputs=1, n=12)
    with pytest.raises(InputError, match=message):
        select(p.train, p.y, p.test, **arguments)
