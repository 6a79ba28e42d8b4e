"""A small classification problem with known features, for the tests of the kernel solvers."""

from __future__ import annotations

import numpy as np
from hypothesis import settings

PROPERTY = settings(derandomize=True, deadline=None, max_examples=25, database=None)


class Problem:
    """Features of N training and M other samples, C outputs each, with labels and logits."""

    def __init__(self, n=8, m=5, outputs=3, width=40, seed=0) -> None:
        random = np.random.default_rng(seed)
        self.n, self.m, self.outputs = n, m, outputs
        self.features = random.normal(size=(n, outputs, width))
        self.others = random.normal(size=(m, outputs, width))
        self.train = np.einsum("icp,jdp->icjd", self.features, self.features)
        self.test = np.einsum("icp,jdp->icjd", self.features, self.others)
        self.y = np.arange(n) % max(outputs, 2)
        self.y_test = random.integers(0, max(outputs, 2), size=m)
        self.f0 = random.normal(size=(n, outputs))
        self.f0_test = random.normal(size=(m, outputs))

    @property
    def signed_train(self) -> np.ndarray:
        """Rows plain, columns signed: <features, sign features>, of shape (N, C, N, C)."""
        return np.einsum("icp,jdp->icjd", self.features, np.sign(self.features))

    @property
    def signed_test(self) -> np.ndarray:
        """The same with the other samples in the rows, (M, C, N, C)."""
        return np.einsum("icp,jdp->icjd", self.others, np.sign(self.features))

    @property
    def target(self) -> np.ndarray:
        return 2.0 * self.y[:, None] - 1 if self.outputs == 1 else np.eye(self.outputs)[self.y]

    @property
    def matrix(self) -> np.ndarray:
        """The training kernel with C N scalar samples, one by one."""
        size = self.n * self.outputs
        flat = np.empty((size, size))
        for i, c, j, d in np.ndindex(self.train.shape):
            flat[i * self.outputs + c, j * self.outputs + d] = self.train[i, c, j, d]
        return flat

    @property
    def ridge(self) -> float:
        """The operator norm of the training kernel."""
        return float(np.linalg.norm(self.matrix, 2))
