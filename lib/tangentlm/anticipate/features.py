"""Predictors that know a model's features and the labels, and no kernel.

They compare models and tasks; within one model they are the same for every choice of layers that
LoRA is put on. Each is larger where it promises more. Features are (n, d), labels (n,); classes
that have no sample count as absent.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneOut, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tangentlm.anticipate.labels import evidence
from tangentlm.errors import InputError
from tangentlm.solvers.checks import as_labels, check_finite

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

NEIGHBOURS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The weights of the loss that the probe's inner cross-validation tries."""
DISTORTION = 1e-4
"""TransRate's epsilon."""
_PARC_DIMENSIONS, _GBC_DIMENSIONS = 32, 64
_FOLDS, _INNER_FOLDS = 5, 3
_NOISE = 1e-5
"""Singular values below this share of the largest are round-off of float32."""
_SEARCH = np.logspace(-6, 6, 49)


def probe_accuracy(features: ArrayLike, labels: ArrayLike) -> float:
    """The cross-validated accuracy of logistic regression on standardised features.

    Five stratified folds, in each of which three inner ones choose the penalty; fewer where the
    second largest class is smaller than that.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        A share of the samples, 0 to 1.

    Raises:
        InputError: If shapes do not fit, or not two classes have three samples.
    """
    X, y = _checked(features, labels)
    count = int(np.sort(np.bincount(y))[-2])
    outer = min(_FOLDS, count)
    inner = min(_INNER_FOLDS, count - -(-count // outer))
    if inner < 2:
        raise InputError("cross-validation needs three samples of two classes at least")
    probe = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": list(STRENGTHS)},
        cv=StratifiedKFold(inner),
    )
    folds = StratifiedKFold(outer, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # Classes with fewer samples than folds are left out of some; that is no harm here.
        warnings.filterwarnings("ignore", "The least populated class")
        return float(cross_val_score(probe, X, y, cv=folds).mean())


def neighbour_accuracy(features: ArrayLike, labels: ArrayLike) -> float:
    """The leave-one-out accuracy of the five nearest neighbours by cosine.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        A share of the samples, 0 to 1.

    Raises:
        InputError: If shapes do not fit or there is one class.
    """
    X, y = _checked(features, labels)
    rule = KNeighborsClassifier(min(NEIGHBOURS, len(y) - 1), metric="cosine")
    return float(cross_val_score(rule, X, y, cv=LeaveOneOut()).mean())


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """LogME: the log of the maximum evidence of a linear model, a sample (You et al. 2021).

    Each class is a regression y_c = F w + noise with w ~ Normal(0, I / alpha) and noise
    ~ Normal(0, 1 / beta); the evidence p(y_c | F, alpha, beta) is maximised over alpha
    and beta and averaged over classes. The maximum over beta at a fixed alpha / beta is
    ``evidence`` with M = F F^T, so one number is left to search: the best of a grid from 1e-6 to
    1e6 mean eigenvalues, refined. Their code iterates to a stationary point instead.

    Args:
        features: F, (n, d).
        labels: (n,).

    Returns:
        The mean of log p(y_c) / n over classes.

    Raises:
        InputError: If shapes do not fit, there is one class, or all features are zero.
    """
    X, y = _checked(features, labels)
    values, vectors = eigh(X @ X.T, driver="evd")
    values, unit = np.maximum(values, 0.0), float(np.mean(values))
    if not unit > 0:
        raise InputError("all features are zero")
    found = [
        _largest_evidence(values, (vectors.T @ (y == c)) ** 2, unit * _SEARCH) for c in np.unique(y)
    ]
    return float(np.mean(found) - (1 + np.log(2 * np.pi)) / 2)


def _largest_evidence(values: Array, projections: Array, ridges: Array) -> float:
    tried = [evidence(values, projections, ridge) for ridge in ridges]
    best = int(np.argmax(tried))
    around = np.log(ridges[[max(best - 1, 0), min(best + 1, len(ridges) - 1)]])
    refined = minimize_scalar(
        lambda log: -evidence(values, projections, np.exp(log)), bounds=around, method="bounded"
    )
    return max(tried[best], -float(refined.fun))


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """The H-score with shrinkage: tr(S_a^-1 (1 - a) cov(E[f | y])).

    H = tr(cov(f)^-1 cov(E[f | y])) (Bao et al. 2019) with the covariance of the
    features shrunk by Ledoit and Wolf's a towards a multiple of the identity, and that of the
    class means by as much (Ibrahim et al. 2021). Covariances are divided by n.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        From 0 to the number of classes less one.

    Raises:
        InputError: If shapes do not fit, there is one class, or all features are the same.
    """
    X, y = _centred(features, labels)
    shrunk, share = ledoit_wolf(X, assume_centered=True)
    means = _class_means(X, y)[y]
    return float((1 - share) * np.trace(np.linalg.solve(shrunk, means.T @ means)) / len(y))


def trans_rate(features: ArrayLike, labels: ArrayLike) -> float:
    """TransRate: R(Z) - sum_c (n_c / n) R(Z_c), with the coding rate R (Huang et al. 2022).

    R(Z) = log det(I + Z^T Z / (n epsilon)) / 2, of features Z that are centred and scaled to
    tr Z^T Z = 1, so that no factor before them counts. Their code weighs all classes alike.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        An estimate of the mutual information of features and labels.

    Raises:
        InputError: If shapes do not fit, there is one class, or all features are the same.
    """
    X, y = _centred(features, labels)
    Z = X / np.linalg.norm(X)
    within = sum((y == c).mean() * _coding_rate(Z[y == c]) for c in np.unique(y))
    return float(_coding_rate(Z) - within)


def _coding_rate(Z: Array) -> float:
    values = np.linalg.svd(Z, compute_uv=False)
    return float(np.log1p(values**2 / (len(Z) * DISTORTION)).sum() / 2)


def parc(features: ArrayLike, labels: ArrayLike) -> float:
    """PARC: do samples of one class have features that correlate? (Bolya et al. 2021).

    Spearman's correlation, over all pairs of samples, of 1 - Pearson's correlation of their
    features and the same of their one-hot labels. As in their code, the features are the first 32
    principal components, standardised.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        From -1 to 1 (they print 100 times as much).

    Raises:
        InputError: If shapes do not fit, there is one class, or the features have one dimension.
    """
    X, y = _centred(features, labels)
    scaled = StandardScaler().fit_transform(_principal(X, _PARC_DIMENSIONS))
    if scaled.shape[1] < 2:
        raise InputError("features of one dimension have no correlation from sample to sample")
    pairs = np.triu_indices(len(y), 1)
    # Of one-hot labels the distance has two values, the larger for different classes.
    different = (y[:, None] != y)[pairs]
    return float(spearmanr(1 - np.corrcoef(scaled)[pairs], different).statistic)


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """The Gaussian Bhattacharyya coefficient: how little classes overlap (Pandy et al. 2022).

    GBC = -sum exp(-D_bc) over ordered pairs of classes b != c, D_bc the Bhattacharyya distance of
    normal distributions with the classes' means and spherical covariances v_b I and v_c I:
    D = |m_b - m_c|^2 / (8 v) + (d / 2) log(v / sqrt(v_b v_c)), v = (v_b + v_c) / 2. Of the first 64
    principal components. Their code has the logarithm once, not d times, where it is spherical.

    Args:
        features: (n, d).
        labels: (n,).

    Returns:
        At most 0, which it is where no two classes overlap.

    Raises:
        InputError: If shapes do not fit, there is one class, or all features are the same.
    """
    X, y = _centred(features, labels)
    reduced = _principal(X, _GBC_DIMENSIONS)
    means = _class_means(reduced, y)
    # A class of one sample has no variance of its own.
    least = 1e-4 * float((reduced**2).mean())
    own = np.array([((reduced[y == c] - means[c]) ** 2).mean() for c in range(len(means))])
    own = np.maximum(own, least)
    shared = (own[:, None] + own) / 2
    apart = ((means[:, None] - means) ** 2).sum(axis=2) / (8 * shared)
    width = np.log(shared / np.sqrt(np.outer(own, own))) * reduced.shape[1] / 2
    overlap = np.exp(-apart - width)
    return -float(overlap.sum() - np.trace(overlap))


def _principal(centred: Array, dimensions: int) -> Array:
    """The first principal components, without those that are round-off."""
    pca = PCA(min(dimensions, *centred.shape), svd_solver="full")
    scores = np.asarray(pca.fit_transform(centred))
    return scores[:, pca.singular_values_ > _NOISE * pca.singular_values_[0]]


def _class_means(features: Array, labels: Labels) -> Array:
    """(classes, d)."""
    return np.array([features[labels == c].mean(axis=0) for c in np.unique(labels)])


def _centred(features: ArrayLike, labels: ArrayLike) -> tuple[Array, Labels]:
    X, y = _checked(features, labels)
    centred = X - X.mean(axis=0)
    if np.abs(centred).max() <= 1e-12 * np.abs(X).max():
        raise InputError("the features are the same for all samples")
    return centred, y


def _checked(features: ArrayLike, labels: ArrayLike) -> tuple[Array, Labels]:
    """Features in float64, and labels 0 to the number of classes that are present, less one."""
    X = np.asarray(features, dtype=np.float64)
    if X.ndim != 2 or not X.size:
        raise InputError(f"features have shape (n, d), not {X.shape}")
    check_finite(X, "feature", ("sample", "dimension"))
    y = as_labels(labels, len(X), int(np.max(labels, initial=0)) + 1)
    present, y = np.unique(y, return_inverse=True)
    if len(present) < 2:
        raise InputError(f"all {len(y)} labels are {present[0]}; nothing is there to be told apart")
    return X, y.astype(np.int64)
