import collections
import math
import os
import shutil
import types
from string import Formatter

import pytest
import yaml

from tangentlm.errors import InputError, unknown_name
from tangentlm.models.checkpoints import (
    checkpoint_location,
    list_models,
    load_masked_lm,
    load_tokenizer,
)
from tangentlm.params import (
    RUN_PREFIX,
    RUNS,
    MinilangRun,
    NaturalTaskRun,
    PretrainRun,
    Recipe,
    Strict,
    TaskRun,
    digest,
    list_studies,
    load_grid,
    load_recipe,
    load_study,
    make_run,
    names,
    project_root,
    read_yaml,
    run_from_notebook,
)
from tangentlm.params.base import check_model
from tangentlm.solvers import SOLVERS
from tangentlm.tasks import load_task
from tiny import save_tiny

FEW_SHOT_SEEDS = (13, 21, 42, 87, 100)

GRIDS = sorted(path.stem for path in (project_root() / "params" / "grids").glob("*.yaml"))


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of one's own, with the shipped parameters but no study."""
    for folder in ("grids", "models", "recipes", "tasks"):
        shutil.copytree(project_root() / "params" / folder, tmp_path / "params" / folder)
    (tmp_path / "params" / "studies").mkdir()
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    return tmp_path


def write_study(root, name, **experiments):
    folder = root / "params" / "studies" / name
    folder.mkdir()
    for experiment, values in experiments.items():
        (folder / f"{experiment}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.mark.parametrize(
    ("call", "arguments", "nearest"),
    [
        (make_run, ("kernel", {"task": "sst2", "fromula": "sgd"}), "formula"),
        (make_run, ("finetune", {"task": "sst2", "learning_rte": 1}), "learning_rate"),
        (make_run, ("kernel", {"task": "sst2", "grid": "maladi"}), "malladi"),
        (make_run, ("kernle", {"task": "sst2"}), "kernel"),
        (make_run, ("kernel", {"task": "sst2", "model": "pokcet"}), "pocket"),
        (make_run, ("kernel", {"tsk": "sst2"}), "task"),
        (make_run, ("pretrain", {"recipe": "pokcet"}), "pocket"),
        (make_run, ("natural_task", {"task": "sst2"}), "natural_tasks"),
        (make_run, ("natural_tasks", {"task": "sts2"}), "sst2"),
        (make_run, ("minilang", {"model": "minilan"}), "minilang"),
        (make_run, ("minilang", {"recipe": "minilan"}), "minilang"),
        (make_run, ("minilang", {"grid": "quik"}), "quick"),
        (make_run, ("pretrain", {"parametrisation": "mup"}), "parametrization"),
        (load_grid, ("Quik",), "quick"),
        (load_recipe, ("poket",), "pocket"),
        (load_study, ("qiuck",), "quick"),
        (load_task, ("sts2",), "sst2"),
        (checkpoint_location, ("roberta-bse",), "roberta-base"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(call, arguments, nearest):
    refused(f"unknown .*did you mean '{nearest}'", call, *arguments)


def test_unknown_name_lists_what_is_known_where_nothing_is_near():
    assert str(unknown_name("task", "zzz", ["sst2", "mr"])) == "unknown task 'zzz'; known: mr, sst2"
    assert str(unknown_name("task", "zzz", [])) == "unknown task 'zzz'; known: none"


@pytest.mark.parametrize(
    ("experiment", "values", "match"),
    [
        ("kernel", {}, "kernel run: task is missing"),
        ("kernel", {"task": "sst2", "formula": "signsgd"}, "formula = 'signsgd'"),
        ("kernel", {"task": "sst2", "solver": "logistics"}, "solver = 'logistics'"),
        (
            "kernel",
            {"task": "sst2", "solver": "asymmetric"},
            "asymmetric solver is not for sgd kernels",
        ),
        (
            "kernel",
            {"task": "sst2", "formula": "asymmetric-signgd", "solver": "logistic"},
            "logistic solver is not for asymmetric-signgd kernels",
        ),
        ("kernel", {"task": "sst2", "head": "mlp"}, "head = 'mlp'.*'prompt' or 'linear'"),
        ("kernel", {"task": "sst2", "k": 0}, "k = 0"),
        ("kernel", {"task": "sst2", "k": 1.5}, "k = 1.5"),
        ("kernel", {"task": "sst2", "k": "many"}, "k = 'many'"),
        ("kernel", {"task": "sst2", "k": math.nan}, "k = nan"),
        ("kernel", {"task": "sst2", "k": True}, "k = True"),
        ("kernel", {"task": "sst2", "seed": -1}, "seed = -1"),
        ("kernel", {"task": "sst2", "test_size": 0}, "test_size = 0"),
        ("kernel", {"task": 2}, "task = 2"),
        ("kernel", {"task": "sst2", "prompt": "nul"}, "prompt = 'nul'.*'manual', 'null'"),
        ("natural_tasks", {}, "natural_tasks run: task is missing"),
        ("natural_tasks", {"task": "sst2", "formula": "sgd"}, "unknown parameter 'formula'"),
        ("natural_tasks", {"task": "sst2", "optimizer": "adm"}, "optimizer = 'adm'.*'adam'"),
        ("minilang", {"cue_strength": 0}, "cue_strength = 0"),
        ("minilang", {"clip": []}, "clip"),
        ("minilang", {"clip": [0]}, "clip"),
        ("kernel", {"task": "sst2", "train_head": True}, "train_head is for adaptation = 'lora'"),
        (
            "finetune",
            {"task": "sst2", "train_head": True, "adaptation": "lora", "head": "linear"},
            "train_head is for .* head = 'prompt'",
        ),
        ("finetune", {"task": "sst2", "trajectory_samples": -1}, "trajectory_samples = -1"),
        ("minilang", {"cue_strength": 1.01}, "cue_strength = 1.01"),
        ("minilang", {"cue_strength": -0.5}, "cue_strength = -0.5"),
        ("minilang", {"cue_strength": math.nan}, "cue_strength = nan"),
        ("minilang", {"natural": "C"}, "natural = 'C'.*'none'"),
        ("minilang", {"width": 100}, "a width of 100 is not a multiple of the head width 32"),
        ("minilang", {"k": 0}, "k = 0"),
        ("minilang", {"corpus": "bundled"}, "unknown parameter 'corpus'"),
        ("finetune", {"task": "sst2", "optimizer": "adm"}, "optimizer = 'adm'.*'adam'"),
        ("finetune", {"task": "sst2", "batch_size": 2.5}, "batch_size"),
        ("finetune", {"task": "sst2", "batch_size": 0}, "batch_size.*greater than 0"),
        ("pretrain", {"parametrization": "MUP"}, "parametrization = 'MUP'.*'standard' or 'mup'"),
        ("pretrain", {"steps": 5, "minutes": 1}, "recipe: needs a budget: either steps or minutes"),
        ("pretrain", {"width": 100}, "a width of 100 is not a multiple of the head width 32"),
        ("pretrain", {"width": 0}, "width = 0"),
        ("pretrain", {"steps": 0}, "steps = 0"),
        ("pretrain", {"minutes": 0}, "minutes = 0"),
        ("pretrain", {"minutes": "nan"}, "minutes = 'nan'"),
        ("pretrain", {"steps": True}, "steps = True"),
        ("pretrain", {"task": "sst2"}, "unknown parameter 'task'"),
    ],
)
def test_wrong_value_is_refused(experiment, values, match):
    refused(match, make_run, experiment, values)


@pytest.mark.parametrize(
    ("values", "solver", "method"),
    [
        ({}, "least-squares", "sgd"),
        ({"formula": "signgd"}, "least-squares", "signgd"),
        ({"formula": "asymmetric-signgd"}, "asymmetric", "asymmetric-signgd"),
        ({"solver": "logistic"}, "logistic", "sgd-logistic"),
        ({"formula": "signgd", "solver": "rows-logistic"}, "rows-logistic", "signgd-rows-logistic"),
    ],
)
def test_a_kernel_run_is_named_by_formula_and_solver(values, solver, method):
    run = make_run("kernel", {"task": "reviews", **values})
    assert run.solver == solver
    assert run.method == method
    assert run.name == f"reviews-k16-s13-{method}"


def test_a_grid_gives_each_solver_what_it_can_have():
    grid = load_grid("malladi")
    for name, solver in SOLVERS.items():
        values = grid.of_solver(solver.GRID)
        assert values.keys() == solver.GRID.keys()
        assert (0.0 in values["regularization"]) == (name != "logistic")
        assert all(values.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5", (1e-5,)),
        ("0.001", (0.001,)),
        ("1", (1.0,)),
        ("[1e-5, 2e-5]", (1e-5, 2e-5)),
        ("[1.0e-4, 5e-4, 1]", (1e-4, 5e-4, 1.0)),
    ],
)
def test_learning_rate_from_yaml_is_a_number(text, expected):
    values = yaml.safe_load(f"task: sst2\nlearning_rate: {text}")
    rates = make_run("finetune", values).learning_rate
    assert rates == expected
    assert all(type(rate) is float for rate in rates)


def test_yaml_reads_an_exponent_without_a_point_as_text():
    assert yaml.safe_load("1e-5") == "1e-5"


@pytest.mark.parametrize(
    "rate",
    [-1e-3, 0, math.nan, math.inf, "nan", "-1e-5", "inf", "fast", [], [1e-3, 0], [1e-3, "x"], True],
)
def test_learning_rate_that_is_not_positive_and_finite_is_refused(rate):
    refused("learning_rate", make_run, "finetune", {"task": "sst2", "learning_rate": rate})


@pytest.mark.parametrize(("value", "expected"), [(4, (4,)), ([2, 4], (2, 4)), ("8", (8,))])
def test_batch_size_is_one_or_several(value, expected):
    assert make_run("finetune", {"task": "sst2", "batch_size": value}).batch_size == expected


def test_grid_is_table_3_of_malladi():
    grid = load_grid("malladi")
    rates = {method: own.learning_rate for method, own in grid.finetune.items()}
    assert rates["sgd"] == (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
    assert rates["adam"] == (1e-5, 2e-5, 5e-5)
    assert rates["sgd-lora"] == (1e-4, 1e-3, 1e-2)
    assert rates["adam-lora"] == (1e-5, 4e-5, 4e-4)
    sizes = {method: own.batch_size for method, own in grid.finetune.items()}
    assert sizes["sgd"] == sizes["adam"] == (2, 4, 8)
    assert sizes["sgd-lora"] == sizes["adam-lora"] == (4, 16)
    assert grid.regularization == (0, 0.001, 0.01, 0.1, 1)
    assert grid.f0_scale == (10, 100, 1000, 10000, math.inf)
    assert (grid.steps, grid.evaluate_every) == (32, 4)


@pytest.mark.parametrize("name", GRIDS)
def test_shipped_grid_loads(name):
    grid = load_grid(name)
    assert {"sgd", "adam", "signgd", "sgd-lora", "adam-lora"} <= grid.finetune.keys()
    for own in grid.finetune.values():
        numbers = (*own.learning_rate, *own.batch_size)
        assert numbers
        assert all(number > 0 and math.isfinite(number) for number in numbers)
    assert min(*grid.regularization, *grid.f0_scale) >= 0
    assert grid.steps % grid.evaluate_every == 0


@pytest.mark.parametrize("name", list_models())
def test_shipped_model_has_a_place(name):
    location, _ = checkpoint_location(name)
    assert location


@pytest.mark.parametrize("name", list_studies())
def test_shipped_study_loads(name):
    runs = load_study(name)
    assert len({run.folder(name) for run in runs}) == len(runs)
    on_tasks = [run for run in runs if isinstance(run, TaskRun)]
    for task in {run.task for run in on_tasks}:
        load_task(task)
    for model in {run.model for run in on_tasks}:
        if model.startswith(RUN_PREFIX):  # one that another study makes
            study, _, made = model.removeprefix(RUN_PREFIX).partition("/")
            assert made in {run.name for run in load_study(study)}
        else:
            checkpoint_location(model)


def test_paper_study_is_the_paper_s():
    runs = [run for run in load_study("paper") if isinstance(run, TaskRun)]
    assert {run.seed for run in runs} == set(FEW_SHOT_SEEDS) == {13, 21, 42, 87, 100}
    assert {run.k for run in runs} == {16, 64, 512}
    assert {run.grid for run in runs} == {"malladi"}
    zero_shot = [  # Table 8, on all test rows
        run for run in runs if run.experiment == "kernel" and run.chi_rows == "all"
    ]
    models = ("roberta-base", "roberta-large")
    assert {(run.model, run.seed, run.k) for run in zero_shot} == {(m, 13, 16) for m in models}
    assert len(zero_shot) == 2 * len({run.task for run in zero_shot}) == 2 * 14
    others = [run for run in runs if run not in zero_shot]
    assert {run.model for run in others} == {"roberta-base"}
    tables = collections.Counter(
        (run.experiment, run.head, run.prompt, run.adaptation, run.k) for run in others
    )
    assert all(run.train_head == (run.adaptation == "lora") for run in others)
    assert all(run.trajectory_samples for run in others if run.experiment == "finetune")
    seeds = len(FEW_SHOT_SEEDS)
    assert tables["kernel", "prompt", "manual", "full", 16] == 14 * 3 * seeds
    assert tables["finetune", "prompt", "manual", "full", 64] == 14 * 3 * seeds
    assert tables["finetune", "linear", "manual", "full", 16] == 14 * 2 * seeds
    assert tables["kernel", "linear", "manual", "full", 512] == 14 * seeds
    assert tables["finetune", "prompt", "manual", "full", 512] == 14 * 2 * seeds
    assert tables["kernel", "prompt", "null", "full", 16] == 6 * seeds
    for prompt in ("searched", "searched-once"):
        assert tables["kernel", "prompt", prompt, "full", 16] == 6 * seeds
    assert tables["finetune", "prompt", "manual", "lora", 64] == 6 * 2 * seeds


def test_study_is_the_product_of_its_lists_in_order(root):
    write_study(
        root,
        "mine",
        kernel={"task": "sst2", "k": 2, "seed": [13]},
        finetune={"task": ["sst2", "mr"], "k": [2, 4], "seed": 13, "optimizer": ["sgd", "adam"]},
    )
    names = [(run.experiment, run.name) for run in load_study("mine")]
    assert names == [
        ("finetune", "sst2-k2-s13-sgd"),
        ("finetune", "sst2-k2-s13-adam"),
        ("finetune", "sst2-k4-s13-sgd"),
        ("finetune", "sst2-k4-s13-adam"),
        ("finetune", "mr-k2-s13-sgd"),
        ("finetune", "mr-k2-s13-adam"),
        ("finetune", "mr-k4-s13-sgd"),
        ("finetune", "mr-k4-s13-adam"),
        ("kernel", "sst2-k2-s13-sgd"),
    ]


def test_a_study_may_be_several_products(root):
    products = [{"task": ["sst2", "mr"]}, {"task": "cr", "k": 4}]
    write_study(root, "mine", kernel={"k": 2, "products": products})
    assert [run.name for run in load_study("mine")] == [
        "sst2-k2-s13-sgd", "mr-k2-s13-sgd", "cr-k4-s13-sgd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"products": {"task": "sst2"}}, "products has to be a list"),
        ({"products": ["sst2"]}, "products has to be a list"),
        ({"task": "sst2", "products": []}, "study mine has no runs"),
        ({"task": "sst2", "seed": [13, 21, 13]}, "mine.*two runs.*kernel/sst2-k16-s13-sgd"),
        ({"task": "sst2", "test_size": [10, 20]}, "two runs are named kernel/sst2-k16-s13-sgd"),
        ({"task": "sst2", "seed": []}, "study mine has no runs"),
        ({"task": "sst2", "sed": [13]}, "did you mean 'seed'"),
        ({"task": "sst2", "seed": [13, "x"]}, "seed = 'x'"),
    ],
)
def test_wrong_study_is_refused(root, values, match):
    write_study(root, "mine", kernel=values)
    refused(match, load_study, "mine")


def test_study_with_an_unknown_experiment_is_refused(root):
    write_study(root, "mine", kernle={"task": "sst2"})
    refused("unknown experiment 'kernle'; did you mean 'kernel'", load_study, "mine")


def test_study_without_files_is_refused(root):
    write_study(root, "mine")
    refused("study mine has no runs", load_study, "mine")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [1", "file.yaml is not valid YAML"),
        ("- a\n- b\n", "file.yaml holds no 'name: value' lines"),
        ("", "file.yaml holds no 'name: value' lines"),
    ],
)
def test_wrong_yaml_is_refused(tmp_path, text, match):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    refused(match, read_yaml, path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stps": 3}, "grid mine: unknown parameter 'stps'; did you mean 'steps'"),
        ({"steps": 0}, "grid mine: steps = 0"),
        ({"finetune": {"sgd": {"learning_rate": [1], "batch_size": ["two"]}}}, "batch_size"),
        ({"finetune": {"sgd": {"learning_rate": [0], "batch_size": [2]}}}, "learning_rate"),
    ],
)
def test_wrong_grid_is_refused(root, change, match):
    folder = root / "params" / "grids"
    values = read_yaml(folder / "quick.yaml") | change
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    refused(match, load_grid, "mine")


def test_folder_without_params_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    refused("no folder 'params'.*TANGENTLM_ROOT", project_root)


def test_notebook_s_plain_values_are_its_parameters():
    namespace = {
        "__name__": "__main__",
        "_i1": "task = 'sst2'",
        "_": 3,
        "In": ["", "task = 'sst2'"],
        "Out": {},
        "os": os,
        "load_task": load_task,
        "Strict": Strict,
        "namespace": types.SimpleNamespace(a=1),
        "task": "sst2",
        "k": 4,
        "learning_rate": [1e-3, "1e-5"],
        "data": None,
    }
    run = run_from_notebook("finetune", namespace)
    assert run == make_run(
        "finetune", {"task": "sst2", "k": 4, "learning_rate": [1e-3, 1e-5], "data": None}
    )


@pytest.mark.parametrize(
    ("name", "value"), [("lerning_rate", 1e-3), ("lerning_rate", None), ("lerning_rate", [1e-3])]
)
def test_notebook_s_misspelt_parameter_is_refused(name, value):
    namespace = {"task": "sst2", "os": os, name: value}
    refused("did you mean 'learning_rate'", run_from_notebook, "finetune", namespace)


@pytest.mark.parametrize(
    ("experiment", "values", "name"),
    [
        ("kernel", {"task": "reviews"}, "reviews-k16-s13-sgd"),
        ("kernel", {"task": "mr", "k": 64, "seed": 100}, "mr-k64-s100-sgd"),
        ("kernel", {"task": "mr", "head": "linear"}, "mr-k16-s13-sgd-linear"),
        ("kernel", {"task": "mr", "model": "roberta-base"}, "roberta-base-mr-k16-s13-sgd"),
        ("finetune", {"task": "mr", "optimizer": "adam"}, "mr-k16-s13-adam"),
        ("kernel", {"task": "mr", "prompt": "manual"}, "mr-k16-s13-sgd"),
        ("kernel", {"task": "mr", "prompt": "null"}, "mr-k16-s13-sgd-null"),
        ("finetune", {"task": "mr", "prompt": "unrelated"}, "mr-k16-s13-sgd-unrelated"),
        (
            "natural_tasks",
            {"task": "mr", "optimizer": "adam", "head": "linear", "prompt": "null"},
            "mr-k16-s13-adam-linear-null",
        ),
        ("natural_tasks", {"task": "mr", "model": "run:lab/x-w32"}, "x-w32-mr-k16-s13-sgd"),
        ("natural_tasks", {"task": "mr", "clip": None}, "mr-k16-s13-sgd-unclipped"),
        ("finetune", {"task": "mr", "adaptation": "lora"}, "mr-k16-s13-sgd-lora"),
        (
            "finetune",
            {
                "task": "mr",
                "adaptation": "lora",
                "train_head": True,
                "clip": None,
                "grid": "real",
                "learning_rate": 1,
                "batch_size": 1,
            },
            "mr-k16-s13-sgd-lora-head-unclipped",
        ),
        (
            "kernel",
            {"task": "mr", "adaptation": "lora", "train_head": True, "chi_rows": "all"},
            "mr-k16-s13-sgd-lora-head-chi-all",
        ),
        ("kernel", {"task": "mnli", "prompt": "published"}, "mnli-k16-s13-sgd-published"),
        ("minilang", {"seed": 0, "model": None}, "minilang-w64-s0-standard-A-85"),
        ("minilang", {"seed": 0}, "minilang-w64-s0-standard-A-85-given"),
        (
            "minilang",
            {"model": None, "natural": "both", "cue_strength": 1, "parametrization": "mup"},
            "minilang-w64-s13-mup-both-100",
        ),
        ("pretrain", {}, f"tiny-w{load_recipe('tiny').width}-s13-standard"),
        (
            "pretrain",
            {"width": 64, "seed": 0, "parametrization": "mup", "minutes": 5},
            "tiny-w64-s0-mup",
        ),
    ],
)
def test_run_is_named_for_people(experiment, values, name):
    assert make_run(experiment, values).name == name


def test_run_of_a_model_in_a_folder_is_named_after_the_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    run = make_run("kernel", {"task": "mr", "model": str(tmp_path / "mine")})
    assert run.name == "mine-mr-k16-s13-sgd"


def test_run_s_folder(root):
    run = make_run("kernel", {"task": "mr"})
    assert run.folder("quick") == root / "runs" / "quick" / "kernel" / "mr-k16-s13-sgd"
    assert run.output_folder() == run.folder("local")
    elsewhere = make_run("kernel", {"task": "mr", "out": str(root / "x")})
    assert elsewhere.output_folder() == root / "x"


def test_identity_leaves_out_where_a_run_reads_and_writes():
    here = make_run("kernel", {"task": "mr"})
    there = make_run("kernel", {"task": "mr", "out": "x", "data": "y"})
    assert here.parameters() == there.parameters()
    assert here.parameters() != make_run("kernel", {"task": "mr", "seed": 21}).parameters()


@pytest.mark.parametrize("experiment", RUNS)
def test_run_cannot_be_changed(experiment):
    run = make_run(experiment, {"task": "mr"} if "task" in RUNS[experiment].model_fields else {})
    with pytest.raises(ValueError, match="frozen"):
        run.seed = 3


# --- pre-training ---------------------------------------------------------------------------

RECIPE = {
    "about": "a test",
    "depth": 2,
    "width": 64,
    "head_width": 32,
    "feed_forward": 1.5,
    "vocabulary": 1000,
    "batch_size": 8,
    "steps": 100,
    "learning_rate": "1e-3",
}


@pytest.mark.parametrize("name", names("recipe"))
def test_shipped_recipe_loads(name):
    recipe = load_recipe(name)
    assert recipe.about
    assert recipe.length <= recipe.max_length


def test_a_recipe_has_what_follows_from_its_numbers():
    recipe = Recipe.parse(RECIPE, "recipe")
    assert recipe.learning_rate == 1e-3
    assert recipe.feed_forward_width == 96
    assert recipe.max_length == recipe.length == 128
    longer = Recipe.parse({**RECIPE, "settings": {"max_position_embeddings": 256}}, "recipe")
    assert longer.max_length == 256


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"widht": 64}, "unknown parameter 'widht'; did you mean 'width'"),
        ({"width": 100}, "a width of 100 is not a multiple of the head width 32"),
        ({"steps": None}, "needs a budget: either steps or minutes"),
        ({"minutes": 3}, "needs a budget: either steps or minutes"),
        ({"warmup": 0.2, "decay": 0.9}, "warm-up and decay are longer than the budget"),
        ({"masked": 0.01, "length": 16}, "masked = 0.01 of 16 tokens is not one token"),
        ({"masked": 0}, "masked = 0"),
        ({"masked": 1.0}, "masked = 1.0"),
        ({"vocabulary": 65537}, "vocabulary = 65537"),
        ({"vocabulary": 1}, "vocabulary = 1"),
        ({"length": 4}, "length = 4"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast'"),
        ({"depth": 0}, "depth = 0"),
    ],
)
def test_a_wrong_recipe_is_refused(root, change, match):
    path = root / "params" / "recipes" / "mine.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **change}))
    refused(f"recipe mine: .*{match}", load_recipe, "mine")
    refused(f"recipe mine: .*{match}", make_run, "pretrain", {"recipe": "mine"})


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ((None, None, None), {}),
        ((128, None, None), {"width": 128}),
        ((None, 7, None), {"steps": 7}),
        ((None, None, 2.5), {"steps": None, "minutes": 2.5}),
        ((32, 7, None), {"width": 32, "steps": 7}),
    ],
)
def test_width_and_budget_replace_those_of_the_recipe(arguments, changed):
    recipe = Recipe.parse(RECIPE, "recipe")
    assert recipe.replaced(*arguments) == Recipe.parse({**RECIPE, **changed}, "recipe")


def test_a_budget_in_steps_replaces_one_in_minutes():
    recipe = Recipe.parse({**RECIPE, "steps": None, "minutes": 5}, "recipe")
    replaced = recipe.replaced(None, 7, None)
    assert (replaced.steps, replaced.minutes) == (7, None)
    refused("needs a budget", recipe.replaced, None, 7, 5.0)
    refused("a width of 65 is not a multiple", recipe.replaced, 65, None, None)


def test_a_pretraining_resolves_its_recipe():
    run = make_run("pretrain", {"width": 128, "minutes": "1e1"})
    shipped = load_recipe("tiny")
    assert run.resolved == shipped.replaced(128, None, 10.0)
    assert run.resolved.steps is None
    assert make_run("pretrain", {}).resolved == shipped
    assert run.method == "standard"


def test_a_pretraining_from_a_notebook():
    namespace = {"recipe": "tiny", "width": None, "steps": 5, "corpus": None, "out": None}
    assert run_from_notebook("pretrain", namespace) == PretrainRun(steps=5, corpus=None)


def test_identity_of_a_pretraining_leaves_out_where_the_text_is():
    here = make_run("pretrain", {})
    there = make_run("pretrain", {"corpus": "/some/where", "out": "x"})
    assert here.parameters() == there.parameters()
    assert not {"corpus", "out"} & here.parameters().keys()
    for change in ({"seed": 1}, {"width": 64}, {"parametrization": "mup"}, {"steps": 3}):
        assert make_run("pretrain", change).parameters() != here.parameters()


def test_checkpoints_of_two_trainings_lie_apart(root):
    def folder(corpus="one", **values):
        return make_run("pretrain", values).checkpoint_folder(digest(corpus))

    first = folder()
    assert first == folder(out="x") == folder()
    assert first.parent == root / "runs" / ".checkpoints"
    assert first.name.startswith("tiny-w")
    others = [
        folder("two"),
        folder(seed=1),
        folder(parametrization="mup"),
        folder(width=64),
        folder(steps=3),
        folder(minutes=3),
    ]
    recipe = root / "params" / "recipes" / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(read_yaml(recipe) | {"learning_rate": 0.123}))
    others.append(folder())
    assert len({first, *others}) == 8


def test_checkpoints_do_not_depend_on_where_the_text_is(root):
    one, other = (make_run("pretrain", {"corpus": place}) for place in ("here", "there"))
    assert one.checkpoint_folder("sum") == other.checkpoint_folder("sum")


def test_a_training_is_the_same_whatever_is_asked_of_its_model_afterwards():
    def folder(**values):
        return make_run("minilang", {"model": None, **values}).checkpoint_folder("")

    assert folder() == folder(k=64) == folder(test_size=10) == folder(grid="malladi")
    assert len({folder(), folder(natural="B"), folder(seed=1), folder(cue_strength=0.7)}) == 4


def test_a_study_of_pretrainings(root):
    write_study(root, "mine", pretrain={"width": [64, 128], "seed": [0, 1], "steps": 5})
    assert [run.name for run in load_study("mine")] == [
        "tiny-w64-s0-standard",
        "tiny-w64-s1-standard",
        "tiny-w128-s0-standard",
        "tiny-w128-s1-standard",
    ]
    write_study(root, "twice", pretrain={"steps": [5, 6]})
    refused("two runs are named pretrain/tiny-w", load_study, "twice")


@pytest.mark.parametrize(
    "written",
    [
        {"warmup": 0.02},
        {"decay": 0.9},
        {"weight_decay": 0.01},
        {"masked_verdicts": None},
        {"base_width": 64},
        {"minutes": None},
        {"architecture": "modernbert", "masked": 0.2},
    ],
)
def test_a_default_that_is_written_out_changes_no_checkpoint(root, written):
    path = root / "params" / "recipes" / "tiny.yaml"
    original = read_yaml(path)
    folders = set()
    for values in (
        {name: value for name, value in original.items() if name not in written},
        {**original, **written},
    ):
        path.write_text(yaml.safe_dump(values))
        folders.add(make_run("pretrain", {}).checkpoint_folder("sum"))
        folders.add(make_run("pretrain", {"width": None}).checkpoint_folder("sum"))
    assert len(folders) == 1
    path.write_text(yaml.safe_dump({**original, "weight_decay": 0.5}))
    assert make_run("pretrain", {}).checkpoint_folder("sum") not in folders


# --- natural tasks and the generated language -----------------------------------------------


def test_a_natural_task_run():
    run = make_run("natural_tasks", {"task": "mr", "optimizer": "adam"})
    assert isinstance(run, NaturalTaskRun)
    assert (run.method, run.prompt, run.model) == ("adam", "manual", "pocket")
    assert (
        run.parameters()
        == make_run("natural_tasks", {**run.parameters(), "data": "x"}).parameters()
    )
    assert run.parameters() != make_run("natural_tasks", {"task": "mr"}).parameters()


def test_prompts_of_a_study_are_runs_of_their_own(root):
    prompts = ["manual", "null", "unrelated"]
    write_study(root, "mine", natural_tasks={"task": "mr", "prompt": prompts})
    assert [run.name for run in load_study("mine")] == [
        "mr-k16-s13-sgd", "mr-k16-s13-sgd-null", "mr-k16-s13-sgd-unrelated",
    ]  # fmt: skip


def test_a_run_on_the_generated_language_has_a_model_or_trains_one():
    given = make_run("minilang", {})
    assert isinstance(given, MinilangRun)
    assert (given.recipe, given.model, given.method) == ("minilang", "minilang", "A")
    trained = make_run("minilang", {"model": None, "width": 128, "steps": 5})
    assert (trained.resolved.width, trained.resolved.steps) == (128, 5)
    assert given.name == f"{make_run('minilang', {'model': None}).name}-given"
    assert given.parameters() != make_run("minilang", {"cue_strength": 0.9}).parameters()


@pytest.mark.parametrize("strength", [1e-6, 0.85, "0.5", 1])
def test_cue_strength_in_range(strength):
    assert make_run("minilang", {"cue_strength": strength}).cue_strength == float(strength)


# --- models of the project's own runs -------------------------------------------------------

OWN = "run:lab/tiny-w32-s13-standard"


@pytest.mark.parametrize("name", list_models())
def test_a_model_with_a_file_is_accepted(name):
    check_model(name)


def test_the_model_of_a_folder_or_run_is_accepted_and_another_is_not(tmp_path):
    check_model(str(tmp_path))
    check_model(OWN)
    refused("unknown model", check_model, str(tmp_path / "not-there"))
    refused("unknown model 'pokcet'; did you mean 'pocket'", check_model, "pokcet")


@pytest.mark.parametrize(
    ("experiment", "values"),
    [("kernel", {"task": "mr"}), ("natural_tasks", {"task": "mr"}), ("minilang", {})],
)
def test_a_run_may_name_a_model_that_is_yet_to_be_made(root, experiment, values):
    assert make_run(experiment, {**values, "model": OWN}).model == OWN


@pytest.mark.parametrize("call", [checkpoint_location, load_tokenizer, load_masked_lm])
def test_the_model_of_a_run_that_was_not_made_is_refused_with_its_study(root, call):
    match = r"model run:lab/tiny-w32-s13-standard: .*make study STUDY=lab"
    refused(match, call, OWN)
    # Another study's run of that name, and another run of that study.
    for other in ("quick/pretrain/tiny-w32-s13-standard", "lab/pretrain/tiny-w32-s21-standard"):
        (root / "runs" / other / "model").mkdir(parents=True)
    refused(match, call, OWN)


@pytest.mark.parametrize("experiment", ["pretrain", "minilang"])
def test_the_model_of_a_run_is_found(root, experiment):
    folder = root / "runs" / "lab" / experiment / "tiny-w32-s13-standard" / "model"
    (root / "runs" / "lab" / "kernel" / "mr-k16-s13-sgd").mkdir(parents=True)
    save_tiny(folder, "modernbert")
    assert checkpoint_location(OWN) == (str(folder), None)
    assert load_masked_lm(OWN).config.model_type == "modernbert"
    assert load_tokenizer(OWN).mask_token == "<mask>"


def test_the_model_folder_of_a_run_without_a_model_is_refused(root):
    (root / "runs" / "lab" / "pretrain" / "tiny-w32-s13-standard" / "model").mkdir(parents=True)
    refused("model run:lab/tiny-w32-s13-standard: no config.json", checkpoint_location, OWN)


# --- what came later ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "values", "other"),
    [
        ("kernel", {"train_head": False, "chi_rows": "scored"}, {"chi_rows": "all"}),
        ("finetune", {"train_head": False}, {"trajectory_samples": 2}),
        ("finetune", {"adaptation": "lora"}, {"adaptation": "lora", "train_head": True}),
        ("natural_tasks", {"clip": 1.0}, {"clip": None}),
    ],
)
def test_what_came_later_is_no_part_of_the_identity_of_runs_before(experiment, values, other):
    plain = {"task": "sst2", **{k: v for k, v in values.items() if k == "adaptation"}}
    if experiment != "kernel":
        plain["trajectory_samples"] = 0  # runs before did not measure along the way; new ones do
    before = make_run(experiment, plain).deciding()
    assert make_run(experiment, {**plain, **values}).deciding() == before
    assert not {"train_head", "chi_rows", "trajectory_samples", "clip"} & before.keys()
    assert make_run(experiment, {**plain, **other}).deciding() != before
    if experiment != "kernel":
        measured = make_run(experiment, {**plain, "trajectory_samples": 4})
        assert measured.deciding() != before
        del plain["trajectory_samples"]
        assert make_run(experiment, plain).deciding() == measured.deciding()


def test_the_clips_of_the_generated_language_have_each_their_rates():
    before = make_run("minilang", {}).deciding()
    assert make_run("minilang", {"clip": [1.0]}).deciding() == before
    assert "clip" not in before
    both = make_run("minilang", {"clip": [None, 1.0]})
    values = both.deciding()["grid"]
    quick = load_grid("quick")
    assert values["learning_rate"] == quick.of_method("sgd").learning_rate
    assert values["sgd-unclipped"]["learning_rate"] == (
        quick.of_method("sgd-unclipped").learning_rate
    )
    assert both.name == make_run("minilang", {}).name


@pytest.mark.parametrize("study", ["minilang", "minilang-width"])
def test_the_generated_language_is_fine_tuned_with_both_kinds_of_sgd(study):
    assert {run.clip for run in load_study(study)} == {(None, 1.0)}


def test_lora_with_its_head_takes_the_values_of_lora():
    plain = make_run("finetune", {"task": "sst2", "adaptation": "lora"})
    trained = make_run("finetune", {"task": "sst2", "adaptation": "lora", "train_head": True})
    assert plain.grid_values() == trained.grid_values()


@pytest.mark.parametrize("experiment", RUNS)
def test_the_line_about_a_run_names_metrics_of_its_records(experiment):
    collected = sorted((project_root() / "results").glob(f"*/{experiment}.csv"))
    named = {name for _, name, _, _ in Formatter().parse(RUNS[experiment].headline) if name}
    assert named
    for file in collected:
        assert named <= set(file.read_text(encoding="utf-8").splitlines()[0].split(","))
