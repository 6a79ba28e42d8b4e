"""Our solvers on files of the form in which the authors published their kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from made_up_study import MadeUpStudy
from tangentlm.__main__ import main
from tangentlm.errors import InputError
from tangentlm.malladi.ledger import compare
from tangentlm.report.run_tables import collected_studies
from tangentlm.solvers import AsymmetricLeastSquares, KernelLeastSquares
from tangentlm.studies.published import published_splits, solve_published, write_published

SIZES = {"train": 32, "dev": 32, "test": 200}
FEATURES = 20


def features(outputs: int, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Gradients (samples, outputs, features) that tell the classes apart, noisily, and labels."""
    generator = torch.Generator().manual_seed(seed)
    classes = max(outputs, 2)
    centres = 1.5 * torch.randn(classes, outputs, FEATURES, generator=generator).double()
    found = {}
    for part, size in SIZES.items():
        labels = torch.arange(size) % classes
        noise = 4.0 * torch.randn(size, outputs, FEATURES, generator=generator).double()
        found[part] = (centres[labels] + noise, labels)
    return found


def write(folder: Path, archive: str, task: str, outputs: int = 1, where: str = "16-13") -> None:
    """Three files as the authors' trainer writes them."""
    folder = folder / archive / "result" / f"{task}-roberta-base-prompt-kernel-x" / where
    folder.mkdir(parents=True)
    parts = features(outputs)
    rows = parts["train"][0]
    for part, (columns, labels) in parts.items():
        if archive == "asymmetric_signgd":
            forward = torch.einsum("icp,jdp->icjd", rows.sign(), columns)
            values = torch.stack([forward, torch.einsum("icp,jdp->icjd", rows, columns.sign())])
        else:
            pair = (rows.sign(), columns.sign()) if archive == "signgd" else (rows, columns)
            values = torch.einsum("icp,jdp->icjd", *pair)
        targets = (2 * labels - 1).float() if outputs == 1 else labels
        torch.save((values, targets), folder / f"{part}_kernels_{task.lower()}.pt")


@pytest.fixture
def project(tmp_path, monkeypatch):
    made_up = MadeUpStudy(tmp_path)
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    monkeypatch.delenv("TANGENTLM_PUBLISHED", raising=False)
    return made_up


def test_splits_are_found_however_deep_they_lie(tmp_path):
    write(tmp_path, "sgd", "SST-2")
    write(tmp_path, "sgd", "ag_news", outputs=4, where="64-100")
    write(tmp_path, "asymmetric_signgd", "SST-2")
    (tmp_path / "sgd" / "16-13").mkdir()
    (tmp_path / "sgd" / "16-13" / "train_kernels_unknown.pt").touch()
    assert [split.name for split in published_splits(tmp_path)] == [
        "sst2-k16-s13-asymmetric-signgd", "agnews-k64-s100-sgd", "sst2-k16-s13-sgd",
    ]  # fmt: skip
    with pytest.raises(InputError, match="has no kernels"):
        published_splits(tmp_path / "sgd" / "result")


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_score_is_that_of_the_solver_on_the_chosen_point(tmp_path, outputs):
    task = "SST-2" if outputs == 1 else "ag_news"
    write(tmp_path, "sgd", task, outputs)
    (split,) = published_splits(tmp_path)
    row = solve_published(split)
    parts = features(outputs)
    rows = parts["train"][0]
    kernels = {p: torch.einsum("icp,jdp->icjd", rows, x).numpy() for p, (x, _) in parts.items()}
    labels = {part: y.numpy() for part, (_, y) in parts.items()}
    right = {}
    for regularization in (0.0, 0.001, 0.01, 0.1, 1.0):
        solver = KernelLeastSquares(regularization).fit(kernels["train"], labels["train"])
        right[regularization] = {
            part: 100 * np.mean(solver.predict(kernels[part]) == labels[part])
            for part in ("dev", "test")
        }
    best = max(found["dev"] for found in right.values())
    assert row["dev_score"] == pytest.approx(best)
    assert row["test_score"] == pytest.approx(right[row["regularization"]]["test"])
    assert row["correct"].count("x") == round(2 * row["test_score"])
    assert (row["train"], row["dev"], row["test"]) == (32, 32, 200)


def test_of_the_asymmetric_kernel_the_training_samples_are_signed(tmp_path):
    write(tmp_path, "asymmetric_signgd", "SST-2")
    (split,) = published_splits(tmp_path)
    row = solve_published(split)
    parts = features(1)
    signed = parts["train"][0].sign()
    kernels = {p: torch.einsum("icp,jdp->icjd", x, signed).numpy() for p, (x, _) in parts.items()}
    labels = {part: y.numpy() for part, (_, y) in parts.items()}
    scores = set()
    for gamma in (0.01, 0.1, 1.0, 10.0):
        solver = AsymmetricLeastSquares(gamma, row["regularization"])
        solver.fit(kernels["train"], labels["train"])
        scores.add(100 * np.mean(solver.predict(kernels["test"]) == labels["test"]))
    assert any(row["test_score"] == pytest.approx(found) for found in scores)


def test_one_command_fills_the_kernel_rows_of_table_2(project, tmp_path, monkeypatch, capsys):
    kernels = tmp_path / "kernels"
    for seed in (13, 21, 42):
        write(kernels, "sgd", "SST-2", where=f"16-{seed}")
    write(kernels, "signgd", "MRPC")
    with pytest.raises(InputError, match="which folder"):
        write_published()
    monkeypatch.setenv("TANGENTLM_PUBLISHED", str(kernels))
    assert main(["published"]) == 0
    assert "sst2-k16-s42-sgd: test" in capsys.readouterr().out
    ledger = compare("published")
    filled = ledger[ledger["ours"].notna() & (ledger["version"] == "malladi2023-icml")]
    assert set(filled.loc[filled["table"] == "Table 2a", "method"]) == {"K-SGD"}
    assert set(filled.loc[filled["table"] == "Table 10b", "method"]) == {"K-SignGD"}
    sst2 = filled[(filled["table"] == "Table 2a") & (filled["title"] == "SST-2")].iloc[0]
    assert (sst2["seeds"], sst2["model"], sst2["rows"]) == (3, "roberta-base", 200)
    assert sst2["reason"] in ("", "unexplained")
    assert "published" in collected_studies()
