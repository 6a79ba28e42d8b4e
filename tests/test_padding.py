"""Models that see padding are computed as they are given, everywhere, with one warning."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from oracle import exact, relative_error
from small_models import (
    LABEL_WORDS,
    causal_model,
    masked_lm,
    prompt_batch,
    prompt_model,
    text_batch,
)
from tangentlm.batches import Labelled, row_selection, rows_as_given, select_rows
from tangentlm.errors import InputError
from tangentlm.finetune.loop import Schedule, fine_tune
from tangentlm.finetune.taylor import linearized_logits
from tangentlm.kernels import (
    draw_lora,
    entk,
    lora_entk_at_init,
    project_gradients,
    reference_entk,
)
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.logits import logits_of

JOB = sys.modules["tangentlm.kernels.job"]
WIDTH = 6


class Reader(nn.Module):
    """An embedding, what a test makes of it, and a linear head.

    Args:
        read: From the model, embeddings (B, T, 6) and the mask (B, T) to features (B, 6).
    """

    def __init__(self, read: Callable[[Reader, Tensor, Tensor], Tensor], *more: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(40, WIDTH)
        self.positions = nn.Embedding(32, WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)
        self.read = read
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        return self.head(torch.tanh(self.read(self, x, attention_mask.to(x.dtype)[..., None])))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(dim=1) / mask.sum(dim=1)


def convolved(m: Reader, x: Tensor) -> Tensor:
    return m.conv(x.transpose(1, 2)).transpose(1, 2)


def normed(m: Reader, x: Tensor) -> Tensor:
    return m.norm(x.transpose(1, 2)).transpose(1, 2)


def from_the_right(m: Reader, x: Tensor) -> Tensor:
    return x + m.positions(torch.arange(x.shape[1]).flip(0)[None])


SEES = {
    "a mean over all positions": Reader(lambda m, x, mask: m.mix(x).mean(dim=1)),
    "a masked mean over all positions": Reader(lambda m, x, mask: (x * mask).mean(dim=1)),
    "the largest of all positions": Reader(lambda m, x, mask: x.amax(dim=1)),
    "a convolution": Reader(lambda m, x, mask: masked_mean(convolved(m, x), mask)),
    "batch norm, then a mean": Reader(lambda m, x, mask: normed(m, x).mean(dim=1)),
    "positions from the right": Reader(
        lambda m, x, mask: masked_mean(m.mix(from_the_right(m, x)).sin(), mask)
    ),
    "the last position": Reader(lambda m, x, mask: m.mix(x[:, -1])),
    "the number of positions": Reader(
        lambda m, x, mask: masked_mean(x, mask) * math.sqrt(x.shape[1])
    ),
}
SEES_NOT = {
    "a masked mean": Reader(lambda m, x, mask: masked_mean(m.mix(x).sin(), mask)),
    "a convolution of masked positions": Reader(
        lambda m, x, mask: masked_mean(convolved(m, x * mask), mask)
    ),
    "batch norm": Reader(lambda m, x, mask: masked_mean(normed(m, x).sin(), mask)),
    "positions from the left": Reader(
        lambda m, x, mask: masked_mean(m.mix(x + m.positions.weight[: x.shape[1]]), mask)
    ),
    "the first position": Reader(lambda m, x, mask: m.mix(x[:, 0])),
}


def left(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same texts with their padding on the left."""
    ends = batch["attention_mask"].sum(dim=1).tolist()
    return {
        name: torch.stack([row.roll(-n) for row, n in zip(tensor, ends, strict=True)])
        for name, tensor in batch.items()
    }


ROWS, COLUMNS = text_batch((9, 5, 7, 6)), text_batch((6, 8, 4), seed=2)


def counted(compute: Callable[[], object]) -> tuple[object, int]:
    """What is computed, and how many warnings of padding there were."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = compute()
    return result, sum("depends on padding" in str(w.message) for w in caught)


def given(model: nn.Module, rows, columns=None, **options) -> np.ndarray:
    """The kernel in double precision, by autograd, of every row as it is given."""
    return reference_entk(copy.deepcopy(model).double(), rows, columns, **options)


def test_the_reference_takes_rows_as_they_are():
    model = copy.deepcopy(SEES["a mean over all positions"]).double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    parts = jacrev(lambda values: functional_call(model, values, (), ROWS))(parameters)
    gradients = torch.cat([part.flatten(2) for part in parts.values()], dim=2)
    expected = torch.einsum("icp,jdp->icjd", gradients, gradients).numpy()
    assert relative_error(reference_entk(model, ROWS), expected) <= 1e-12


@pytest.mark.parametrize("columns", [None, COLUMNS])
@pytest.mark.parametrize("memory", [None, 4_000])
@pytest.mark.parametrize("name", SEES)
def test_a_model_that_sees_padding_is_computed_as_given(name, memory, columns):
    model = SEES[name]
    kernel, warned = counted(lambda: exact(model, ROWS, columns, memory=memory))
    assert warned == 1
    assert relative_error(kernel.values, given(model, ROWS, columns)) <= 1e-10


@pytest.mark.parametrize("formula", ["signgd", "asymmetric-signgd"])
def test_signs_as_given(formula):
    model = SEES["a mean over all positions"]
    kernel, warned = counted(lambda: exact(model, ROWS, COLUMNS, formula=formula))
    assert warned == 1
    expected = given(model, ROWS, COLUMNS, formula=formula)
    assert relative_error(kernel.values, expected) <= 1e-10


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "bfloat16x3"])
@pytest.mark.parametrize("name", SEES)
def test_every_precision_finds_it(name, precision):
    kernel, warned = counted(lambda: entk(SEES[name], ROWS, precision=precision, progress=False))
    assert warned == 1
    assert relative_error(kernel.values, given(SEES[name], ROWS)) <= 2e-2


@pytest.mark.parametrize("name", SEES_NOT)
def test_a_model_that_does_not_see_padding_is_not_warned_of(name):
    model = SEES_NOT[name]
    kernel, warned = counted(lambda: exact(model, ROWS, COLUMNS))
    assert warned == 0
    assert relative_error(kernel.values, given(model, ROWS, COLUMNS)) <= 1e-10
    bare = [exact(model, select_rows(ROWS, slice(i, i + 1))).values[0, :, 0] for i in range(4)]
    values = exact(model, ROWS).values
    for i in range(4):
        assert relative_error(values[i, :, i], bare[i]) <= 1e-12


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("model", [
    *[lambda a=a: (prompt_model(a, classes=3), prompt_batch())
      for a in ("roberta", "bert", "distilbert", "albert", "modernbert")],
    lambda: (causal_model("gpt2"), ROWS),
    lambda: (causal_model("llama"), ROWS),
    lambda: (LinearHeadModel(masked_lm("roberta"), 3).eval(), ROWS),
])  # fmt: skip
def test_transformers_do_not_see_padding(model, precision):
    network, rows = model()
    assert counted(lambda: entk(network, rows, precision=precision, progress=False))[1] == 0
    assert counted(lambda: logits_of(network, rows))[1] == 0


@pytest.mark.parametrize("name", [*SEES, *SEES_NOT])
def test_padding_on_the_left_stays(name):
    # Nothing is cut there, so nothing has to be found out.
    model = {**SEES, **SEES_NOT}[name]
    kernel, warned = counted(lambda: exact(model, left(ROWS), left(COLUMNS)))
    assert warned == 0
    assert relative_error(kernel.values, given(model, left(ROWS), left(COLUMNS))) <= 1e-10


def test_padding_in_columns_alone():
    model, full = SEES["a mean over all positions"], text_batch((9, 9))
    kernel, warned = counted(lambda: exact(model, full, COLUMNS))
    assert warned == 1
    assert relative_error(kernel.values, given(model, full, COLUMNS)) <= 1e-10
    assert counted(lambda: exact(model, full))[1] == 0


def test_padding_that_all_rows_have():
    wide = {name: nn.functional.pad(t, (0, 3), value=1 - (name != "input_ids"))
            for name, t in text_batch((6, 6)).items()}  # fmt: skip
    model = SEES["a mean over all positions"]
    kernel, warned = counted(lambda: exact(model, wide))
    assert warned == 1
    assert relative_error(kernel.values, given(model, wide)) <= 1e-10


def test_a_head_at_zero_hides_nothing():
    # The outputs are zero with padding and without; the head's gradients are not.
    model = copy.deepcopy(SEES["a mean over all positions"])
    nn.init.zeros_(model.head.weight)
    kernel, warned = counted(lambda: exact(model, ROWS))
    assert warned == 1
    assert relative_error(kernel.values, given(model, ROWS)) <= 1e-10


def test_one_parameter_whose_gradient_moves_without_growing():
    # The last token's row of the embedding gets the same gradient whichever token that is.
    class Last(Reader):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.head(self.embedding(input_ids)[:, -1])

    model = Last(lambda m, x, mask: x)
    kernel, warned = counted(lambda: exact(model, ROWS, parameters=["embedding.weight"]))
    assert warned == 1
    expected = given(model, ROWS, parameters=["embedding.weight"])
    assert relative_error(kernel.values, expected) <= 1e-10


class Fixed(nn.Module):
    """A model for texts of nine tokens and no others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(40, WIDTH)
        self.head = nn.Linear(9 * WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids) * attention_mask.to(self.head.weight.dtype)[..., None]
        return self.head(x.flatten(1))


def test_a_model_of_one_width():
    model = Fixed().eval()
    kernel, warned = counted(lambda: exact(model, ROWS))
    assert warned == 1
    assert relative_error(kernel.values, given(model, ROWS)) <= 1e-10
    logits, warned = counted(lambda: logits_of(model, ROWS))
    assert warned == 1
    torch.testing.assert_close(logits, model(**ROWS).detach())


@pytest.mark.parametrize("wrong", [lambda x: (x, x), lambda x: x[0], lambda x: x.sum(dim=1)])
def test_outputs_of_another_shape_are_refused_as_ever(wrong):
    class Wrong(Reader):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return wrong(super().forward(input_ids, attention_mask))

    with pytest.raises(InputError, match=r"shape \(N, C\)"):
        exact(Wrong(lambda m, x, mask: x.mean(dim=1)), ROWS)


def test_padding_that_is_not_a_number_says_nothing():
    # What attention over padding alone gives: the form without padding is the one of use.
    assert (
        row_selection([ROWS], lambda rows: rows["attention_mask"].float().log().sum())
        is select_rows
    )

    def refuses_padding(rows):
        if not rows["attention_mask"].all():
            raise IndexError("position out of range")
        return torch.ones(3)

    assert row_selection([ROWS], refuses_padding) is select_rows


@pytest.mark.parametrize("batch", [
    {"input_ids": ROWS["input_ids"]},
    text_batch((7, 7)),
    left(ROWS),
    {"input_ids": torch.ones(2, 3), "attention_mask": torch.zeros(2, 3).long()},
    {"input_ids": torch.ones(0, 3), "attention_mask": torch.zeros(0, 3).long()},
    {"input_ids": torch.ones(2, 3), "attention_mask": torch.ones(2, 1, 3, 3)},
])  # fmt: skip
def test_without_padding_nothing_is_computed(batch):
    def never(rows):
        raise AssertionError("was called")

    assert row_selection([batch], never, never) is select_rows


def test_few_rows_are_looked_at():
    seen: list[int] = []
    derived: list[int] = []

    def outputs(rows):
        seen.append(rows["input_ids"].shape[1])
        return torch.ones(3)

    def gradient(rows):
        derived.append(rows["input_ids"].shape[1])
        return [torch.ones(3)]

    assert row_selection([ROWS], outputs, gradient) is select_rows
    assert (seen, derived) == ([9, 5, 9, 6, 9, 7], [9, 5])
    seen.clear()
    assert row_selection([text_batch(tuple(range(4, 20)))], outputs) is select_rows
    assert seen[1::2] == [4, 9, 13, 18]


def test_a_folder_of_tiles_knows_the_two_ways_apart(tmp_path, monkeypatch):
    model, options = SEES["a mean over all positions"], {"cache": tmp_path, "memory": 4_000}
    with monkeypatch.context() as patch:  # As if padding were not looked at.
        patch.setattr(JOB, "row_selection", lambda *_: select_rows)
        cut = exact(model, ROWS, **options).values
    with pytest.warns(UserWarning, match="depends on padding"), \
            pytest.raises(InputError, match="its padding is not the same"):  # fmt: skip
        exact(model, ROWS, **options)
    assert relative_error(cut, given(model, ROWS)) > 0.1
    options["cache"] = tmp_path / "given"
    whole = [counted(lambda: exact(model, ROWS, **options).values)[0] for _ in range(2)]
    assert relative_error(whole[0], given(model, ROWS)) <= 1e-10
    assert np.array_equal(*whole)
    with monkeypatch.context() as patch:
        patch.setattr(JOB, "row_selection", lambda *_: select_rows)
        with pytest.raises(InputError, match="its padding is not the same"):
            exact(model, ROWS, **options)


def test_projections_and_lora_as_given():
    model = SEES["a mean over all positions"]
    double = copy.deepcopy(model).double()
    projected, warned = counted(
        lambda: project_gradients(
            model, ROWS, dimension=5, seed=1, precision="float64", progress=False
        )
    )
    assert warned == 1
    alone = project_gradients(
        model, {"input_ids": ROWS["input_ids"], "attention_mask": torch.ones(4, 9).long()},
        dimension=5, seed=1, precision="float64", progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(projected, alone, rtol=1e-10, atol=1e-12)
    A = draw_lora(double, ["mix"], rank=2, seed=0)
    lora, warned = counted(
        lambda: lora_entk_at_init(model, ROWS, A=A, alpha=2.0, precision="float64", progress=False)
    )
    assert warned == 1
    everything = {**ROWS, "attention_mask": torch.ones(4, 9).long()}
    expected = lora_entk_at_init(
        model, everything, A=A, alpha=2.0, precision="float64", progress=False
    )
    assert relative_error(lora.values, expected.values) <= 1e-10


# --- logits, the Taylor model, training -----------------------------------------------------


@pytest.mark.parametrize("name", [*SEES, *SEES_NOT])
def test_logits_as_given(name):
    model = {**SEES, **SEES_NOT}[name]
    logits, warned = counted(lambda: logits_of(model, ROWS, batch_size=2))
    assert warned == (name in SEES)
    torch.testing.assert_close(logits, model(**ROWS).detach())
    selected, warned = counted(lambda: logits_of(model, ROWS, select=rows_as_given))
    assert warned == 0
    torch.testing.assert_close(selected, logits)


def test_dropout_is_not_taken_for_padding():
    model = nn.ModuleDict({"reader": SEES_NOT["a masked mean"]})
    model.forward = lambda **rows: nn.functional.dropout(
        model["reader"](**rows), 0.5, training=model.training
    )
    model.train()
    torch.manual_seed(0)
    assert counted(lambda: logits_of(model, ROWS))[1] == 0


@pytest.mark.parametrize("name", [*SEES, *SEES_NOT])
def test_the_taylor_model_as_given(name):
    model = copy.deepcopy({**SEES, **SEES_NOT}[name]).double()
    start = {n: p.clone() for n, p in model.state_dict().items()}
    end = {n: p + 0.1 * torch.ones_like(p) if p.is_floating_point() else p
           for n, p in start.items()}  # fmt: skip
    logits, warned = counted(lambda: linearized_logits(model, start, end, ROWS))
    assert warned == (name in SEES)
    names = [n for n, _ in model.named_parameters()]

    def outputs(values):
        return functional_call(model, values, (), ROWS)

    jacobian = jacrev(outputs)({n: start[n] for n in names})
    expected = outputs({n: start[n] for n in names}) + sum(
        jacobian[n].flatten(2) @ (end[n] - start[n]).flatten() for n in names
    )
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", ["a mean over all positions", "the last position"])
def test_training_as_given(name, zero):
    model = copy.deepcopy(SEES[name])
    if zero:
        nn.init.zeros_(model.head.weight)
    other = copy.deepcopy(model)
    part = Labelled(ROWS, torch.tensor([0, 1, 2, 0]))
    schedule = Schedule("sgd", 0.1, 2, 6, 3, 0)
    trained, warned = counted(lambda: fine_tune(model, part, part, schedule, progress=False))
    assert warned == 1
    # The same without a mask that could be cut; the model does not read it.
    whole = Labelled({**ROWS, "attention_mask": torch.ones(4, 9).long()}, part.labels)
    expected, warned = counted(lambda: fine_tune(other, whole, whole, schedule, progress=False))
    assert warned == 0
    for key, value in expected.state.items():
        assert torch.equal(trained.state[key], value)
    for found, wanted in zip(trained.trace, expected.trace, strict=True):
        assert found == pytest.approx(wanted, rel=1e-6)  # Rows of the dev set in another order.


def test_training_of_other_models_is_as_before():
    model = prompt_model("roberta", classes=len(LABEL_WORDS))
    part = Labelled(prompt_batch(), torch.tensor([0, 1, 2, 0]))
    schedule = Schedule("adam", 0.01, 2, 4, 2, 0)
    assert counted(lambda: fine_tune(model, part, part, schedule, progress=False))[1] == 0
