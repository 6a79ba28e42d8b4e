"""The folder of finished tiles: nothing that is done is done again, and nothing else is read."""

from __future__ import annotations

import functools
import json
import multiprocessing
import random
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from killed import JOBS, STEPS, run, work
from oracle import exact, relative_error
from small_models import LABEL_WORDS, masked_lm, prompt_batch, prompt_model
from tangentlm.errors import InputError
from tangentlm.kernels import Kernel, entk
from tangentlm.kernels.store import TileStore
from tangentlm.kernels.tiles import TileEngine
from tangentlm.models.heads import PromptModel

MANIFEST = "manifest.json"


@functools.cache
def unbroken(name: str) -> Kernel:
    """The kernel in one go and without a folder."""
    return run(name, None)


def same(kernel: Kernel, other: Kernel) -> bool:
    """Whether two kernels are the same to the last bit."""
    groups = [np.array_equal(kernel.groups[name], other.groups[name]) for name in kernel.groups]
    return (
        np.array_equal(kernel.values, other.values)
        and list(kernel.groups) == list(other.groups)
        and all(groups)
    )


def tiles_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("tile-*.safetensors")}


@pytest.fixture
def computed(monkeypatch):
    """The tiles that are computed, not read: their rows and columns, those of `unbroken` aside."""
    for name in JOBS:
        unbroken(name)
    calls = []
    compute = TileEngine.tile

    def counted(self, rows, i, columns, j):
        calls.append((tuple(i), tuple(j)))
        return compute(self, rows, i, columns, j)

    monkeypatch.setattr(TileEngine, "tile", counted)
    return calls


# --- killed jobs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start():
    """Starts a job in a process of its own, and returns once it is at work."""
    # A fork server imports everything once, so that a process takes no time to start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tangentlm.kernels"])

    def start(name, folder, result, death=None):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(name, folder, result, there, death))
        process.start()
        here.recv()
        return process

    return start


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("seed", range(2))
def test_a_job_that_is_killed_again_and_again_ends_with_the_same_values(
    name, seed, start, tmp_path, computed
):
    generator = random.Random(f"{name} {seed}")
    whole = unbroken(name)
    began = time.perf_counter()
    run(name, tmp_path / "timed")
    seconds = time.perf_counter() - began
    folder, result = tmp_path / "cache", tmp_path / "kernel.safetensors"
    kills = 0
    done: set[str] = set()
    while not result.exists() and kills < 20:
        if kills >= 3 and generator.random() < 0.7:
            process = start(name, folder, result)
            process.join(generator.uniform(0, seconds))
            process.kill()
        else:
            process = start(name, folder, result, (generator.choice(STEPS), kills % 4 + 1))
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += not result.exists()
        assert done <= tiles_in(folder)
        done = tiles_in(folder)
    assert kills >= 3
    if result.exists():  # It came to its end before it was killed.
        assert same(Kernel.load(result), whole)
    computed.clear()
    assert same(run(name, folder), whole)
    assert len(computed) == len(tiles_in(folder)) - len(done)
    assert len(tiles_in(folder)) >= 10
    computed.clear()
    assert same(run(name, folder), whole)
    assert not computed


@pytest.mark.parametrize("step", STEPS)
def test_a_job_that_is_killed_at_any_step_goes_on(step, start, tmp_path, computed):
    folder = tmp_path / "cache"
    counts = []
    for count in (1, 2, 5):
        process = start("symmetric", folder, tmp_path / "kernel.safetensors", (step, count))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        counts.append(len(tiles_in(folder)))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    whole = unbroken("symmetric")
    computed.clear()
    assert same(run("symmetric", folder), whole)
    assert len(computed) == len(tiles_in(folder)) - counts[-1]


def test_several_processes_share_a_folder(start, tmp_path):
    folder = tmp_path / "cache"
    results = [tmp_path / f"{i}.safetensors" for i in range(3)]
    processes = [start("crossed", folder, result) for result in results]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert all(same(Kernel.load(result), unbroken("crossed")) for result in results)
    assert not list(folder.glob("*.part"))


def test_one_of_two_processes_is_killed(start, tmp_path):
    folder = tmp_path / "cache"
    first = start("crossed", folder, tmp_path / "1.safetensors", ("sync", 5))
    second = start("crossed", folder, tmp_path / "2.safetensors")
    first.join()
    second.join()
    assert (first.exitcode, second.exitcode) == (-signal.SIGKILL, 0)
    assert same(Kernel.load(tmp_path / "2.safetensors"), unbroken("crossed"))
    assert same(run("crossed", folder), unbroken("crossed"))


# --- what is read ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", JOBS)
def test_a_folder_changes_nothing(name, tmp_path, computed):
    kernel = run(name, tmp_path / "new" / "cache")
    count = len(computed)
    assert count >= 10
    assert count == len(tiles_in(tmp_path / "new" / "cache"))
    assert same(kernel, unbroken(name))
    computed.clear()
    again = run(name, str(tmp_path / "new" / "cache"))
    assert not computed
    assert same(again, kernel)
    assert (again.formula, again.outputs, again.parameters) == (
        kernel.formula, kernel.outputs, kernel.parameters,
    )  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_missing_tiles_alone_are_computed(name, tmp_path, computed):
    run(name, tmp_path)
    gone = sorted(tiles_in(tmp_path))[1::3]
    for tile in gone:
        (tmp_path / tile).unlink()
    computed.clear()
    assert same(run(name, tmp_path), unbroken(name))
    assert len(computed) == len(gone)


def test_another_budget_goes_on_with_the_same_tiles(tmp_path, computed):
    model, rows, columns, options = JOBS["symmetric"]()
    run("symmetric", tmp_path)
    for tile in sorted(tiles_in(tmp_path))[::2]:
        (tmp_path / tile).unlink()
    for memory in (3_000, None):
        computed.clear()
        kernel = entk(
            model, rows, columns, cache=tmp_path, progress=False, **options | {"memory": memory}
        )
        assert relative_error(kernel.values, unbroken("symmetric").values) <= 1e-6
        assert bool(computed) == (memory == 3_000)


# --- what is refused ------------------------------------------------------------------------


def other_words() -> nn.Module:
    """The same masked-LM, read out at other label words."""
    return PromptModel(masked_lm("roberta"), [LABEL_WORDS[0], LABEL_WORDS[2]]).eval()


def other_weight() -> nn.Module:
    """The same model, but for the last bit of one weight."""
    model = prompt_model()
    weight = next(model.parameters())
    with torch.no_grad():
        weight[5, 3] = torch.nextafter(weight[5, 3], torch.tensor(9.0))
    return model


def other_activation() -> nn.Module:
    """The same weights in another function."""
    model = prompt_model()
    model.masked_lm.roberta.encoder.layer[1].intermediate.intermediate_act_fn = nn.Tanh().eval()
    return model


def changed(name: str, index: tuple[int, int]):
    batch = prompt_batch()
    batch[name][index] += 1
    return batch


BASE = {"by": "layer", "progress": False}
OTHERS = {
    "samples": ("rows", prompt_model, lambda: changed("input_ids", (2, 3)), None, {}),
    "order of samples": (
        "rows", prompt_model, lambda: {k: v.flip(0) for k, v in prompt_batch().items()}, None, {},
    ),
    "fewer samples": (
        "rows", prompt_model, lambda: {k: v[:3] for k, v in prompt_batch().items()}, None, {},
    ),
    "mask": ("rows", prompt_model, lambda: changed("attention_mask", (1, 6)), None, {}),
    "columns": ("columns", prompt_model, prompt_batch, lambda: prompt_batch((6, 8)), {}),
    "weights": ("model", lambda: prompt_model(seed=3), prompt_batch, None, {}),
    "a bit of a weight": ("model", other_weight, prompt_batch, None, {}),
    "label words": ("model", other_words, prompt_batch, None, {}),
    "activation": ("modules", other_activation, prompt_batch, None, {}),
    "parameters": (
        "parameters", prompt_model, prompt_batch, None, {"parameters": lambda name: "bias" in name},
    ),
    "outputs": ("outputs", prompt_model, prompt_batch, None, {"outputs": "difference"}),
    "trace": ("outputs", prompt_model, prompt_batch, None, {"outputs": "trace"}),
    "formula": ("formula", prompt_model, prompt_batch, None, {"formula": "signgd"}),
    "precision": ("precision", prompt_model, prompt_batch, None, {"precision": "float64"}),
    "groups": ("groups", prompt_model, prompt_batch, None, {"by": "parameter"}),
    "no groups": ("groups", prompt_model, prompt_batch, None, {"by": None}),
    "names of groups": (
        "groups", prompt_model, prompt_batch, None,
        {"by": lambda name: "x" + name.partition(".layer.")[2][:1]},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A folder with a kernel, which no test may change."""
    folder = tmp_path_factory.mktemp("cache")
    entk(prompt_model(), prompt_batch(), cache=folder, **BASE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("other", OTHERS)
def test_a_kernel_of_something_else_is_refused(other, cached, computed):
    what, model, rows, columns, options = OTHERS[other]
    before = contents(cached)
    with pytest.raises(InputError, match=f"another kernel: its {what} is not the same") as caught:
        entk(model(), rows(), columns and columns(), cache=cached, **BASE | options)
    assert "\n" not in str(caught.value)
    assert str(cached) in str(caught.value)
    assert not computed
    assert contents(cached) == before


def test_the_same_kernel_is_not_refused(cached, computed):
    # Neither the budget nor what has no say in the values matters.
    for options in (
        {"memory": 100_000},
        {"parameters": [n for n, _ in prompt_model().named_parameters()]},
    ):
        entk(prompt_model(), prompt_batch(), cache=cached, **BASE | options)
    assert not computed


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="other files"):
        run("symmetric", tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"precious"}


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "kernel.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"kernel\.safetensors is a file"):
        run("symmetric", path)
    assert path.read_bytes() == b"precious"


# --- damage ---------------------------------------------------------------------------------


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def swap(folder: Path, tiles: list[str]) -> None:
    first, second = (folder / tile for tile in tiles[1:3])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


DAMAGES = {
    "a flipped bit of the values": lambda folder, tiles: flip(folder / tiles[1], -3),
    "a flipped bit of the checksum": lambda folder, tiles: flip(folder / tiles[1], 130),
    "truncated": lambda folder, tiles: (folder / tiles[1]).write_bytes(
        (folder / tiles[1]).read_bytes()[:-8]
    ),
    "empty": lambda folder, tiles: (folder / tiles[1]).write_bytes(b""),
    "text": lambda folder, tiles: (folder / tiles[1]).write_text("no tile", encoding="utf-8"),
    "a tile in the place of another": swap,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tiles_are_computed_again(damage, tmp_path, computed):
    run("symmetric", tmp_path)
    sound = contents(tmp_path)
    DAMAGES[damage](tmp_path, sorted(tiles_in(tmp_path)))
    computed.clear()
    with pytest.warns(
        UserWarning, match=r"tile-0000-000\d\.safetensors is damaged .*again"
    ) as caught:
        kernel = run("symmetric", tmp_path)
    assert len(caught) == len(computed) == (2 if damage == "a tile in the place of another" else 1)
    assert same(kernel, unbroken("symmetric"))
    assert contents(tmp_path) == sound


def small_store(folder: Path) -> TileStore:
    identity = {"model": "5eed", "formula": "sgd"}
    return TileStore.open(folder, identity, lambda: ([[0], [2, 1]], [[0], [2, 1]]))


def test_no_damaged_byte_of_a_tile_goes_unnoticed(tmp_path):
    store = small_store(tmp_path)
    store.save(0, 1, np.full((1, 1, 1, 2, 1), 2.5))
    path = tmp_path / "tile-0000-0001.safetensors"
    whole = path.read_bytes()
    assert store.load(0, 1) is not None
    generator = random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for position in range(len(whole)):
            flip(path, position, generator.randrange(8))
            assert store.load(0, 1) is None
            path.write_bytes(whole[:position])
            assert store.load(0, 1) is None
            path.write_bytes(whole)
    assert store.load(0, 1) is not None


def test_no_damaged_byte_of_the_manifest_goes_unnoticed(tmp_path):
    small_store(tmp_path)
    path = tmp_path / MANIFEST
    whole = path.read_bytes()
    generator = random.Random(0)
    for position in range(len(whole)):
        flip(path, position, generator.randrange(8))
        with pytest.raises(InputError, match="manifest is damaged; delete the folder"):
            small_store(tmp_path)
        path.write_bytes(whole)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="manifest is damaged"):
            small_store(tmp_path)


def test_a_tile_of_other_borders_is_not_read(tmp_path):
    # Two processes with different budgets may start in one folder at the same time.
    identity = {"model": "5eed"}
    first = TileStore(tmp_path, identity, [[0, 1], [2, 3]], [[0, 1], [2, 3]])
    second = TileStore(tmp_path, identity, [[0], [1, 2], [3]], [[0, 1], [2, 3]])
    first.save(1, 1, np.ones((1, 2, 1, 2, 1)))
    assert first.load(1, 1) is not None
    with pytest.warns(UserWarning, match="damaged"):
        assert second.load(1, 1) is None


def test_a_tile_of_another_kernel_is_not_read(tmp_path):
    rows = [[0, 1]]
    TileStore(tmp_path, {"model": "5eed"}, rows, rows).save(0, 0, np.ones((1, 2, 1, 2, 1)))
    with pytest.warns(UserWarning, match="damaged"):
        assert TileStore(tmp_path, {"model": "beef"}, rows, rows).load(0, 0) is None


def test_what_a_killed_process_left_half_written_does_no_harm(tmp_path):
    (tmp_path / f"{MANIFEST}.1.part").write_text('{"content":', encoding="utf-8")
    (tmp_path / "tile-0000-0000.safetensors.2.part").write_bytes(b"half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(run("symmetric", tmp_path), unbroken("symmetric"))


def test_the_manifest_is_plain(tmp_path):
    kernel = run("symmetric", tmp_path)
    content = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))["content"]
    assert sorted(i for band in content["rows"] for i in band) == list(range(len(kernel.values)))
    assert content["identity"]["formula"] == "sgd"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_job_goes_on(error, tmp_path, computed, monkeypatch):
    factors, left = TileEngine.factors, [10]

    def interrupted(self, *args):
        left[0] -= 1
        if not left[0]:
            raise error("stop")
        return factors(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TileEngine, "factors", interrupted)
        with pytest.raises(error, match="stop"):
            run("symmetric", tmp_path)
    done = len(tiles_in(tmp_path))
    assert done >= 3
    computed.clear()
    assert same(run("symmetric", tmp_path), unbroken("symmetric"))
    assert len(computed) == len(tiles_in(tmp_path)) - done


def test_values_from_a_folder_are_right(tmp_path):
    model, rows = prompt_model(), prompt_batch()
    for _ in range(2):
        kernel = exact(model, rows, cache=tmp_path, memory=150_000)
        assert relative_error(kernel.values, exact(model, rows).values) <= 1e-12
    assert len(tiles_in(tmp_path)) > 1
