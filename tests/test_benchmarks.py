"""The benchmark works, at a tiny size; nothing here measures."""

import json
import os

import numpy as np
import pandas as pd
import pytest

import engine
import machine
import pretraining
from parts import PARTS
from setting import Setting, random_samples, real_lengths
from tangentlm.params import load_recipe
from targets import TARGETS, targets

ON_A_CPU = [name for name, part in PARTS.items() if not part.cuda_only]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The files of a quick run."""
    folder = tmp_path_factory.mktemp("benchmarks")
    assert engine.main(["--quick", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_every_part_writes_its_file(results):
    tables = {name: pd.read_csv(results / f"{name}.csv") for name in ON_A_CPU}
    assert {path.stem for path in results.glob("*.csv")} == {*tables, "targets"}
    for name, table in tables.items():
        timed = table["seconds"].dropna()
        assert len(timed), name
        assert (timed > 0).all(), name


@pytest.mark.slow
def test_the_machine_is_described(results):
    about = json.loads((results / "machine.json").read_text())
    assert set(about["gflops"]) == set(machine.precisions("cpu"))
    assert min(about["gflops"].values()) > 0


@pytest.mark.slow
def test_the_methods_agree(results):
    speed, peers, precision = (
        pd.read_csv(results / f"{name}.csv") for name in ("speed", "peers", "precision")
    )
    assert speed["max_difference"].max() < 1e-4
    assert peers["max_error"].max() < 1e-4
    assert precision.loc[precision["precision"] == "float64", "max_error"].max() == 0


@pytest.mark.slow
def test_short_samples_take_the_way_of_gram(results):
    share = pd.read_csv(results / "length.csv")["share_by_gram"]
    assert share.iloc[0] == 1
    assert share.is_monotonic_decreasing


def test_a_part_that_fails_leaves_the_others_and_their_files(tmp_path, monkeypatch, capsys):
    def fails(_setting):
        yield {"seconds": 1.0}
        raise MemoryError("too much")

    def works(_setting):
        yield {"seconds": 2.0}

    monkeypatch.setattr(engine, "PARTS", {
        "first": engine.PARTS["speed"].__class__(fails, 1),
        "second": engine.PARTS["speed"].__class__(works, 1),
    })  # fmt: skip
    fails.__doc__ = works.__doc__ = "About."
    assert engine.run(["first", "second"], Setting(quick=True), tmp_path) == ["first"]
    assert "MemoryError: too much" in capsys.readouterr().err
    assert list(pd.read_csv(tmp_path / "first.csv")["seconds"]) == [1.0]
    assert list(pd.read_csv(tmp_path / "second.csv")["seconds"]) == [2.0]


def test_a_dry_run_names_parts_and_writes_nothing(tmp_path, capsys):
    assert engine.main(["--dry-run", "--out", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ON_A_CPU
    assert not (tmp_path / "new").exists()


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        engine.main(["--only", "sped"])
    assert "invalid choice: 'sped'" in capsys.readouterr().err


def test_lengths_are_those_of_the_data():
    every = real_lengths("sst2", "test", 872)
    few = real_lengths("sst2", "test", 32)
    assert len(every) == 872
    assert every == sorted(every)
    assert abs(np.mean(few) - np.mean(every)) < 1


def test_samples_have_their_lengths_and_one_mask():
    batch = random_samples([8, 5, 12], vocabulary=50, seed=0)
    assert batch["attention_mask"].sum(1).tolist() == [8, 5, 12]
    at_mask = batch["input_ids"][range(3), batch["mask_position"]]
    assert (at_mask == 4).all()
    assert ((batch["input_ids"] == 4).sum(1) == 1).all()


def test_a_fresh_process_is_another():
    assert machine.fresh(os.getpid) != os.getpid()


def test_memory_grows_by_what_is_held():
    memory = machine.Memory("cpu")
    held = np.ones(2**26)
    assert memory.growth() > 0.45
    assert held[-1] == 1


def test_targets_without_results_read_not_run(tmp_path):
    table = targets(tmp_path)
    assert len(table) == len(TARGETS)
    assert (table["verdict"] == "not run").all()


def test_targets_are_met_or_missed(tmp_path):
    pd.DataFrame({
        "method": ["entk", "entk", "entk", "VJP and JVP, scaled"],
        "formula": ["sgd", "signgd", "asymmetric-signgd", "sgd"],
        "precision": "float32",
        "seconds": [10.0, 15.0, 17.0, 200.0],
        "share_of_rate": [0.4, 0.5, 0.5, None],
    }).to_csv(tmp_path / "speed.csv", index=False)  # fmt: skip
    pd.DataFrame({"memory_gib": [2.0, 3.5]}).to_csv(tmp_path / "columns.csv", index=False)
    pd.DataFrame({"rows": [32, 1024], "memory_gib": [1, 5]}).to_csv(
        tmp_path / "memory.csv", index=False
    )
    table = targets(tmp_path)
    assert table["verdict"].tolist() == [
        "missed", "met", "met", "missed", "not run", "missed", "met",
    ]  # fmt: skip
    assert table["measured"].dropna().tolist() == pytest.approx([0.4, 20, 1.5, 1.7, 3.5, 5])


# --- pre-training ---------------------------------------------------------------------------


def gflop_of_a_step(recipe):
    """All matrix products of a step of ModernBERT, counted by hand."""
    n, inner, length = recipe.width, recipe.feed_forward_width, recipe.length
    tokens = recipe.batch_size * length
    masked = recipe.batch_size * round(recipe.masked * (length - 1))
    # Queries, keys, values and what mixes them; the gated layer reads 2 x inner and writes n.
    layer = tokens * (3 * n * n + n * n + n * 2 * inner + inner * n)
    attention = 2 * recipe.batch_size * length * length * n
    head = masked * (n * n + n * recipe.vocabulary)
    # Two operations a product; once forward, and twice backward for either factor's gradient.
    return 3 * 2 * (recipe.depth * (layer + attention) + head) / 1e9


@pytest.fixture(scope="module")
def measured():
    recipe = load_recipe("tiny")
    return recipe, *pretraining.measure(recipe, "cpu")


def test_a_measured_step_has_the_products_of_its_recipe(measured):
    recipe, row, _ = measured
    assert row["step_gflop"] == pytest.approx(gflop_of_a_step(recipe), rel=1e-6)
    assert row["width"] == recipe.width
    assert row["products_gflops"] == pytest.approx(row["step_gflop"] / row["products_seconds"])


def test_the_share_of_the_products_is_a_share(measured):
    recipe, row, _ = measured
    assert 0 < row["share_of_products"] <= 1
    assert row["share_of_products"] == row["products_seconds"] / row["step_seconds"]
    tokens = recipe.batch_size * recipe.length
    assert row["tokens_a_second"] == pytest.approx(tokens / row["step_seconds"], abs=0.5)


def test_the_profile_s_shares_sum_to_one(measured):
    recipe, _, rest = measured
    assert list(rest["kind"]) == [*pretraining.KINDS, "other"]
    assert rest["share"].sum() == pytest.approx(1)
    shares = rest.set_index("kind")["share"]
    assert (shares >= 0).all()
    for kind in ("matrix products", "GELU and softmax", "norms", "optimizer, clipping"):
        assert shares[kind] > 0, kind
    assert (rest["width"] == recipe.width).all()


def test_random_batches_are_masked_as_the_recipe_says():
    recipe = load_recipe("tiny")
    rows = pretraining.random_rows(recipe)
    batch, other, again = (rows.batch(step, recipe.batch_size, recipe.masked) for step in (1, 2, 1))
    assert (batch.input_ids == again.input_ids).all()
    assert not (batch.input_ids == other.input_ids).all()
    count = round(recipe.masked * (recipe.length - 1))
    assert (batch.masked.sum(dim=1) == count).all()
    assert not batch.masked[:, 0].any()
    assert ((batch.input_ids == 4) == batch.masked).all()
    assert batch.targets.min() >= 5
    assert batch.targets.max() < recipe.vocabulary


@pytest.mark.slow
def test_the_benchmark_of_pretraining_writes_both_tables(tmp_path, capsys):
    given = ["--recipe", "tiny", "--width", "32", "64", "--out", str(tmp_path)]
    assert pretraining.main(given) == 0
    table = pd.read_csv(tmp_path / "cpu" / "pretraining.csv")
    rest = pd.read_csv(tmp_path / "cpu" / "pretraining-rest.csv")
    assert list(table["width"]) == [32, 64]
    assert (table["step_gflop"].diff().dropna() > 0).all()
    assert rest.groupby("width")["share"].sum().tolist() == pytest.approx([1, 1], abs=0.01)
    assert "share_of_products" in capsys.readouterr().out


def test_the_benchmark_of_pretraining_takes_the_recipe_s_width(tmp_path, monkeypatch):
    widths = []

    def measure(recipe, device):
        widths.append((recipe.width, device))
        return {"width": recipe.width}, pd.DataFrame({"width": [recipe.width], "share": [1.0]})

    monkeypatch.setattr(pretraining, "measure", measure)
    assert pretraining.main(["--recipe", "tiny", "--out", str(tmp_path)]) == 0
    assert widths == [(load_recipe("tiny").width, "cpu")]
    assert {path.name for path in (tmp_path / "cpu").iterdir()} == {
        "pretraining.csv", "pretraining-rest.csv",
    }  # fmt: skip
