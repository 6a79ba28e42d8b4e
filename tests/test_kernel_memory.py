"""Any budget of memory gives the same kernel, and a budget that was too large is not the end."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

from oracle import contract, exact, jacobian, relative_error
from small_models import Mlp, Tied, dense_batch, prompt_batch, prompt_model, token_batch
from tangentlm.errors import InputError
from tangentlm.kernels import tiles
from tangentlm.kernels.contract import Contraction
from tangentlm.kernels.passes import Passes

FORMULAS = ["sgd", "signgd", "asymmetric-signgd"]


@pytest.mark.parametrize("columns", [None, dense_batch(9, seed=2)])
# In units of one sample's gradients: single samples, single columns, blocks that end within a
# column block, several column blocks in a row block, and everything at once.
@pytest.mark.parametrize("samples", [0, 3, 13, 30, 1000])
@pytest.mark.parametrize("formula", ["sgd", "asymmetric-signgd"])
def test_any_budget_gives_the_same_values(samples, columns, formula):
    model, rows = Mlp().eval(), dense_batch(13)
    sample_bytes = 3 * 8 * sum(p.numel() for p in model.parameters())
    memory = max(samples * sample_bytes, 1)
    kernel = exact(model, rows, columns, memory=memory, formula=formula)
    left = jacobian(model, rows)
    right = left if columns is None else jacobian(model, columns)
    assert relative_error(kernel.values, contract(left, right, formula)) <= 1e-12
    if samples >= 3:  # below that, one row and one column are held all the same
        assert kernel.cost.peak_bytes <= memory
    assert kernel.cost.flops > 0
    assert kernel.cost.seconds > 0


@pytest.mark.parametrize("memory", [1, 300_000])
@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_any_budget_with_texts(architecture, memory):
    model, rows, columns = prompt_model(architecture), prompt_batch(), prompt_batch((6, 8), seed=2)
    for others in (None, columns):
        kernel = exact(model, rows, others, memory=memory, by="layer")
        whole = exact(model, rows, others, by="layer")
        assert relative_error(kernel.values, whole.values) <= 1e-12
        for name, group in whole.groups.items():
            assert relative_error(kernel.groups[name], group) <= 1e-9


def test_less_memory_holds_less():
    peaks = [
        exact(Mlp().eval(), dense_batch(40), memory=memory).cost.peak_bytes
        for memory in (2_000, 20_000, 200_000)
    ]
    assert peaks[0] < peaks[1] < peaks[2]


def test_the_cost_does_not_grow_with_less_memory_than_it_must():
    # Columns go through passes once for each tile of rows: more, never fewer.
    flops = [
        exact(Mlp().eval(), dense_batch(40), memory=memory).cost.passes_flops
        for memory in (2_000, 20_000, 2_000_000)
    ]
    assert flops[0] > flops[1] >= flops[2]


@pytest.mark.parametrize("memory", [0, -1])
def test_no_budget_is_refused(memory):
    with pytest.raises(InputError, match=f"memory = {memory}"):
        exact(Mlp().eval(), dense_batch(2), memory=memory)


# --- when memory runs out -------------------------------------------------------------------

# What a GPU, a processor and numpy say.
ERRORS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cuda without a word": torch.OutOfMemoryError(),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "python": MemoryError(),
    "numpy": MemoryError("Unable to allocate 7.28 TiB for an array"),
}
JOBS = {
    "vectors": lambda: (Mlp().eval(), dense_batch(20), dense_batch(15, seed=2)),
    "tokens": lambda: (Tied().eval(), token_batch(12), None),
    "texts": lambda: (prompt_model(), prompt_batch(), prompt_batch((6, 8), seed=2)),
}


class Allocator:
    """Fails at some calls of a method, as if memory had run out."""

    def __init__(self, monkeypatch, owner, name, error, fails) -> None:
        self.calls = 0
        self.failures = 0
        function = getattr(owner, name)

        def call(this, *args, **options):
            if not options.get("checking"):
                self.calls += 1
                if fails(self.calls, args):
                    self.failures += 1
                    assert self.failures < 40, "there is no end to it"
                    raise error
            return function(this, *args, **options)

        monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("place", [(Passes, "factors"), (Contraction, "__call__")])
@pytest.mark.parametrize("error", ERRORS)
def test_a_job_goes_on_when_memory_runs_out(error, place, monkeypatch):
    model, rows, columns = JOBS["vectors"]()
    whole = exact(model, rows, columns).values
    allocator = Allocator(monkeypatch, *place, ERRORS[error], lambda calls, args: calls == 2)
    with pytest.warns(UserWarning, match="memory ran out; going on with half as much") as caught:
        kernel = exact(model, rows, columns)
    assert allocator.failures == len(caught) == 1
    assert relative_error(kernel.values, whole) <= 1e-12


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_job_shrinks_until_it_fits(name, formula, monkeypatch):
    model, rows, columns = JOBS[name]()
    whole = exact(model, rows, columns, formula=formula).values
    allocator = Allocator(
        monkeypatch, Passes, "factors", ERRORS["cpu"],
        lambda calls, args: len(next(iter(args[0].values()))) > 1,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel = exact(model, rows, columns, formula=formula)
    assert relative_error(kernel.values, whole) <= 1e-12
    assert 1 <= allocator.failures == len(caught) <= 12
    # Each time there is half as much, and each says so.
    limits = [int(re.search(r"rows=(\d+)", str(w.message))[1]) for w in caught]
    assert limits == sorted(limits, reverse=True)
    assert len({str(w.message) for w in caught}) == len(caught)


def test_what_was_done_before_is_not_done_again(monkeypatch, tmp_path):
    model, rows, columns = JOBS["vectors"]()
    whole = exact(model, rows, columns, memory=8_000).values
    count = []
    compute = tiles.TileEngine.tile
    monkeypatch.setattr(
        tiles.TileEngine, "tile", lambda *args: (count.append(1), compute(*args))[1]
    )
    Allocator(monkeypatch, Contraction, "__call__", ERRORS["cuda"], lambda calls, args: calls == 20)
    with pytest.warns(UserWarning, match="memory ran out"):
        kernel = exact(model, rows, columns, memory=8_000, cache=tmp_path)
    assert relative_error(kernel.values, whole) <= 1e-12
    assert len(count) == len(list(tmp_path.glob("tile-*"))) > 2
    assert np.array_equal(exact(model, rows, columns, cache=tmp_path).values, kernel.values)


@pytest.mark.parametrize("error", ["cuda", "cpu", "python"])
def test_memory_that_is_never_enough_is_the_end(error, monkeypatch):
    allocator = Allocator(monkeypatch, Passes, "factors", ERRORS[error], lambda *args: True)
    model, rows, columns = JOBS["vectors"]()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(type(ERRORS[error])):
            exact(model, rows, columns)
    assert allocator.failures > 5
    for name, p in model.named_parameters():
        assert p.dtype == torch.float32
        assert torch.equal(p, before[name])


def test_another_error_is_not_taken_for_want_of_memory(monkeypatch):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    allocator = Allocator(monkeypatch, Passes, "factors", error, lambda *args: True)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        exact(*JOBS["vectors"]())
    assert allocator.calls == 1
