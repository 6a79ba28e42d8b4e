"""The study ``anticipate`` on made-up records whose answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

import made_up_anticipate as made_up
from tangentlm import figures
from tangentlm.afzal.evidence import rank_correlations
from tangentlm.analysis.choosing import agreement_of_seeds
from tangentlm.analysis.several import ALPHA, holm
from tangentlm.analysis.verdicts import UNDECIDED
from tangentlm.anticipate.across import across_by_model, across_tasks
from tangentlm.anticipate.ceilings import (
    ALL_LAYERS,
    ANOTHER_RUN,
    KNOWN,
    RANDOM,
    ceilings,
    controls,
    regrets,
)
from tangentlm.anticipate.cells import task_cells
from tangentlm.anticipate.comparing import (
    ADDS,
    AGAINST,
    MARGIN,
    NOTHING,
    OVER_ALL,
    WITHIN,
    compare,
    verdict,
)
from tangentlm.anticipate.outcomes import EARLY, OUTCOMES, WITH_HEAD, choices, main_rate, trained
from tangentlm.anticipate.predictors import PREDICTORS
from tangentlm.anticipate.printed import judge_printed
from tangentlm.anticipate.sensitivity import agreement_of_rates, sensitivity
from tangentlm.anticipate.words import answer, between_tasks, conclusions, rows_of_figure
from tangentlm.params import project_root

FEW = {"draws": 500, "permutations": 400}
TWO = made_up.SEEDS[:2]
NAMES = ["layers", "mean_depth", "kappa", "trace", "alignment", "evidence", EARLY]


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("params", "assets", "book"):
        (tmp_path / name).symlink_to(project_root() / name)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reported").symlink_to(project_root() / "results" / "reported")
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def both_arms(root):
    pocket = made_up.runs_of("pocket", "every", made_up.TASKS[:6], TWO)
    made_up.write_study(root, pocket + made_up.runs_of("minilm", "threes", made_up.TASKS[:4], TWO))
    return choices()


def row(table, predictor, outcome="eval_loss"):
    (found,) = table[(table["predictor"] == predictor) & (table["outcome"] == outcome)].to_dict(
        "records"
    )
    return found


# --- From records to a table.


def test_nothing_was_run(root):
    assert choices().empty
    assert trained().empty
    assert task_cells(main_rate(choices()), NAMES) == []
    for within in (True, False):
        assert compare([], NAMES, within=within).empty
        assert ceilings([], within=within).empty
    assert regrets([], NAMES).empty
    assert controls(trained()).empty
    assert across_tasks(choices()).empty
    assert across_by_model(choices(), "accuracy").empty
    assert sensitivity(choices(), trained(), choices(kernel=WITH_HEAD)).empty
    assert agreement_of_rates(trained()).empty
    assert answer(pd.DataFrame(), pd.DataFrame(), 0, 43).startswith("Not known yet. **0 of 43")
    assert conclusions(pd.DataFrame(), pd.DataFrame(), pd.DataFrame()) == []


def test_a_choice_has_its_outcomes_and_its_predictors(both_arms):
    assert len(both_arms) == 6 * 2 * 15 + 4 * 2 * 20
    assert set(NAMES) | set(OUTCOMES) <= set(both_arms)
    assert (both_arms["size"] > 0).all()
    assert (both_arms["layers"] == both_arms["size"]).all()
    assert (both_arms[EARLY] > 0.5).all()
    assert both_arms.groupby("run")["probe_last"].nunique().eq(1).all()
    assert set(trained()["subset"]) > set(both_arms["subset"])  # the control


def test_the_kernel_is_that_of_the_adapters_unless_another_is_asked_for(both_arms):
    headed = choices(kernel=WITH_HEAD)
    assert set(headed["model"]) == {"minilm"}
    both = headed.merge(both_arms, on=["run", "subset"])
    assert len(both) == 4 * 2 * 20
    assert (both["alignment_x"] == both["alignment_y"]).all()
    assert (both["kappa_x"] != both["kappa_y"]).all()


def test_a_seed_without_its_predictors_does_not_count(root):
    runs = made_up.runs_of("pocket", "every", made_up.TASKS[:3], TWO)
    predicted = {run[:4] for run in runs} - {("pocket", "every", "subj", 21)}
    made_up.write_study(root, runs, predicted=predicted)
    assert len(choices()) == 5 * 15
    assert [cell.task for cell in task_cells(choices(), NAMES)] == ["SST-2", "TREC"]


def test_the_main_rate_is_that_of_most_planned_runs(root):
    """However few of them are done."""
    few = made_up.runs_of("pocket", "every", made_up.TASKS[:1], TWO)
    more = made_up.runs_of("pocket", "every", made_up.TASKS[:3], TWO[:1], rate=1e-3)
    minilm = made_up.runs_of("minilm", "threes", made_up.TASKS[:1], TWO)
    made_up.write_study(root, few + more + minilm)
    main = main_rate(choices())
    assert set(zip(main["model"], main["learning_rate"], strict=True)) == {
        ("pocket", 4e-3), ("minilm", 1e-3),
    }  # fmt: skip
    assert len(choices()) - len(main) == 3 * 15


# --- The comparison.


def test_what_each_predictor_knows_is_found(both_arms):
    cells = task_cells(both_arms, NAMES)
    assert len(cells) == 10
    equal, every = (compare(cells, NAMES, within=within, **FEW) for within in (True, False))
    assert "layers" not in set(equal["predictor"])
    assert row(equal, "alignment")["verdict"] == ADDS
    assert row(equal, "alignment")["tau"] > 0.7
    assert row(equal, "alignment")["p_layers"] < 0.001
    for name in ("kappa", "mean_depth", "evidence"):
        assert row(equal, name)["verdict"] in (NOTHING, UNDECIDED)
        assert abs(row(equal, name)["tau"]) < 0.2
    assert row(every, "layers")["tau"] > 0.3  # kappa knows the size, and that is all it knows
    assert row(every, "kappa")["tau"] == pytest.approx(row(every, "layers")["tau"], abs=0.1)
    assert set(equal["tasks"]) == {6}
    assert set(equal["cells"]) == {10}
    assert set(every["cells"]) == {6}


def test_a_tau_is_that_of_scipy_on_means_over_seeds(both_arms):
    one = both_arms[(both_arms["model"] == "minilm") & (both_arms["task"] == "trec")]
    (cell,) = task_cells(one, ["alignment"])
    ranks = one.groupby("seed")["alignment"].rank()
    means = one.assign(rank=ranks).groupby("subset")[["rank", "eval_loss", "accuracy"]].mean()
    found = compare([cell], ["alignment"], within=True, **FEW)
    for outcome, sign in (("eval_loss", -1), ("accuracy", 1)):
        expected = sign * kendalltau(means["rank"], means[outcome].round(9)).statistic
        assert row(found, "alignment", outcome)["tau"] == pytest.approx(expected)


def test_a_predictor_and_its_logarithm_say_the_same(both_arms):
    other = both_arms.assign(kappa=np.log(both_arms["kappa"]), trace=both_arms["trace"] ** 3)
    tables = [
        compare(task_cells(table, NAMES), NAMES, within=True, **FEW) for table in (both_arms, other)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_what_is_not_known_before_training_is_not_judged_with_the_others(both_arms):
    found = compare(task_cells(both_arms, NAMES), NAMES, within=True, **FEW)
    primary = found[found["outcome"] == "eval_loss"]
    early = primary["group"] == "ceiling"
    assert primary["predictor"][early].tolist() == [EARLY]
    assert (primary["p_holm"] == primary["p"])[early].all()
    assert np.allclose(primary["p_holm"][~early], holm(primary["p"][~early]))


def test_a_predictor_that_a_task_lacks_is_judged_on_the_others(both_arms):
    table = both_arms.assign(
        trace=both_arms["trace"].where(both_arms["task"] != "sst2"), evidence=np.nan
    )
    found = compare(task_cells(table, NAMES), NAMES, within=True, **FEW)
    assert row(found, "trace")["cells"] == 8
    assert row(found, "kappa")["cells"] == 10
    assert "evidence" not in set(found["predictor"])


@pytest.mark.parametrize(
    ("p", "ends", "narrow", "expected"),
    [
        (0.01, (0.1, 0.6), (0.2, 0.5), ADDS),
        (0.01, (-0.6, -0.1), (-0.5, -0.2), AGAINST),
        (0.2, (0.1, 0.6), (0.2, 0.5), UNDECIDED),
        (0.01, (-0.1, 0.6), (-0.05, 0.5), UNDECIDED),
        (0.01, (-0.1, 0.19), (-0.05, 0.15), NOTHING),
        (0.2, (-0.3, 0.21), (-0.19, 0.19), NOTHING),
        (0.2, (-0.3, 0.3), (-0.21, 0.19), UNDECIDED),
        (0.0, (np.nan, np.nan), (np.nan, np.nan), "too few tasks"),
    ],
)
def test_the_verdict_is_the_rule_that_was_written_down(p, ends, narrow, expected):
    assert verdict(p, ends, narrow) == expected


def test_the_rule_has_the_numbers_of_the_hypothesis():
    path = project_root() / "params" / "studies" / "anticipate" / "HYPOTHESIS.md"
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert f"between -{MARGIN:g} and {MARGIN:g}" in text
    assert f"adjusted p value is below {ALPHA:g}" in text
    assert "fewer than five tasks have none" in text
    assert "A task counts from two seeds on" in text
    assert next(iter(OUTCOMES)) == "eval_loss"
    assert PREDICTORS["kappa"].better == -1


# --- What can be known, and choosing.


def test_the_ceiling_is_the_agreement_of_seeds(both_arms):
    cells = task_cells(both_arms, NAMES)
    found = ceilings(cells, within=True).set_index(["label", "outcome"])["tau"]
    place = list(OUTCOMES).index("accuracy")
    expected = [agreement_of_seeds(cell.outcomes[:, place], cell.sizes) for cell in cells]
    assert found[ANOTHER_RUN, "accuracy"] == pytest.approx(np.mean(expected))
    assert found[ANOTHER_RUN, "train_loss"] == 1  # made up without noise
    assert found[ANOTHER_RUN, "accuracy"] < found[KNOWN, "accuracy"] < 1
    assert len(ceilings(cells, within=False)) == 2 * len(OUTCOMES)


def test_regret_is_that_of_choosing_by_hand(both_arms):
    one = both_arms[(both_arms["model"] == "pocket") & (both_arms["task"] == "sst2")]
    found = regrets(task_cells(one, NAMES), NAMES).set_index("label")["regret"]
    wide = one.pivot(index="subset", columns="seed", values="accuracy")
    for label, column, sign in (
        (PREDICTORS["trace"].label, "trace", 1), (PREDICTORS["kappa"].label, "kappa", -1),
        (ANOTHER_RUN, "accuracy", 1),
    ):  # fmt: skip
        said = sign * one.pivot(index="subset", columns="seed", values=column)
        costs = [
            wide[other].max() - wide[other][said[seed].idxmax()]
            for seed, other in itertools.permutations(TWO)
        ]
        assert found[label] == pytest.approx(np.mean(costs))
    assert found[RANDOM] == pytest.approx((wide.max() - wide.mean()).mean())
    assert found[ALL_LAYERS] == pytest.approx((wide.max() - wide.loc["0+1+2+3"]).mean())


def test_an_arm_without_all_layers_has_no_regret_of_them(both_arms):
    found = regrets(task_cells(both_arms, NAMES), NAMES)
    has = found.groupby("arm")["label"].agg(lambda labels: ALL_LAYERS in set(labels))
    assert sorted(has) == [False, True]
    threes = found[found["arm"].str.contains("three")]
    assert PREDICTORS["layers"].label not in set(threes["label"])  # it chooses nothing there


def test_the_control_stands_beside_the_choices(both_arms):
    found = controls(trained()).set_index(["model", "title"])
    rows = trained()
    own = rows[(rows["model"] == "pocket") & (rows["task"] == "cr")]
    means = own.groupby("subset")["accuracy"].mean()
    assert found.loc[("pocket", "CR"), "control"] == 50  # asked before training
    headed = rows[(rows["model"] == "minilm") & (rows["task"] == "mr") & (rows["size"] == 0)]
    assert found.loc[("minilm", "MR"), "control"] == pytest.approx(headed["accuracy"].mean())
    assert found.loc[("pocket", "CR"), "best"] == pytest.approx(means.drop("none").max())
    assert found.loc[("pocket", "CR"), "seeds"] == 2


# --- The paper, other ways, other tasks.


def test_the_rule_on_the_paper_has_the_taus_of_its_own_page():
    found = judge_printed()
    paper = rank_correlations().set_index("outcome")
    for name, words in (
        ("train_loss", "train loss"), ("eval_loss", "evaluation loss"),
        ("accuracy", "evaluation accuracy"),
    ):  # fmt: skip
        every = found[found["scope"] != WITHIN]
        expected = paper.loc[words, "claimed"] * paper.loc[words, "mean"]
        # A weighted mean within tasks is their mean, since a task is one stratum here.
        assert row(every, "kappa", name)["tau"] == pytest.approx(expected)
        assert row(every, "kappa", name)["p"] == pytest.approx(paper.loc[words, "p"], abs=0.03)
    assert set(found["verdict"]) == {"too few tasks"}
    assert "mean_train_loss" not in set(found["outcome"])


def test_other_ways_are_reported(root):
    runs = made_up.runs_of("pocket", "every", made_up.TASKS[:5], TWO)
    other = made_up.runs_of("pocket", "every", made_up.TASKS[:3], TWO[:1], rate=1e-3)
    made_up.write_study(root, runs + other)
    found = sensitivity(choices(), trained(), choices(kernel=WITH_HEAD))
    assert found["cells"].tolist() == [5, 5, 5, 5, 3, 3]
    main = compare(task_cells(main_rate(choices()), ["kappa"]), ["kappa"], within=True, **FEW)
    assert found["eval_loss"][0] == pytest.approx(row(main, "kappa")["tau"])
    assert found["eval_loss"][1] == pytest.approx(row(main, "kappa")["rho"])
    rates = agreement_of_rates(trained()).set_index("outcome")
    assert rates.loc["train_loss", "tau"] == 1  # made up without noise
    assert rates.loc["eval_loss", "tau"] < 1
    assert set(rates["runs"]) == {3}


def test_tasks_without_a_better_choice_are_left_out_where_that_is_said(both_arms):
    rows = trained()
    bad = (rows["task"] == "cr") & (rows["size"] == 0)
    rows = rows.assign(accuracy=rows["accuracy"].where(~bad, 100.0))
    found = sensitivity(both_arms, rows, both_arms[:0])
    assert found["cells"].tolist() == [10, 10, 9, 6, 4]


def test_tasks_of_one_model_are_ordered_by_what_knows_them(root):
    runs = [run for m in ("pocket", "pocket-s") for run in made_up.runs_of(m, "all", seeds=TWO)]
    made_up.write_study(root, runs)
    found = across_tasks(choices(), **FEW)
    assert set(found["tasks"]) == {8}
    assert set(found["models"]) == {2}
    assert "layers" not in set(found["predictor"])
    probe = row(found, "probe_last", "train_loss")
    assert probe["tau"] > 0.6
    assert probe["p"] < 0.05
    own = choices()
    taus = {}
    for model, rows in own.groupby("model"):
        means = rows.assign(rank=rows["kappa"].rank()).groupby("task")[["rank", "accuracy"]].mean()
        taus[model] = -kendalltau(means["rank"], means["accuracy"].round(9)).statistic
    assert row(found, "kappa", "accuracy")["tau"] == pytest.approx(np.mean(list(taus.values())))
    by_model = across_by_model(own, "accuracy").set_index("label")
    assert by_model.loc["condition number"].to_dict() == pytest.approx(taus)
    assert "layers" not in by_model.index  # all have as many
    assert row(found, "classes")["group"] == "baseline"


def test_all_layers_of_every_choice_count_as_tasks_of_the_model(both_arms):
    found = across_tasks(both_arms, **FEW)
    assert set(found["models"]) == {1}  # threes are not all layers
    assert set(found["tasks"]) == {6}


def test_all_layers_alone_are_tasks_and_no_choice(root):
    all_alone = made_up.runs_of("pocket", "all", made_up.TASKS, TWO)
    made_up.write_study(
        root, made_up.runs_of("pocket", "every", made_up.TASKS[:3], TWO) + all_alone
    )
    assert len(task_cells(choices(), NAMES)) == 3
    assert len(controls(trained())) == 3
    assert set(across_tasks(choices(), **FEW)["tasks"]) == {8}


# --- Words and figure.


def a_row(predictor, tau, said, p_layers=0.01, group="labels", label=None):
    return {
        "predictor": predictor, "label": label or predictor, "group": group, "outcome": "eval_loss",
        "scope": WITHIN, "tau": tau, "low": tau - 0.1, "high": tau + 0.1, "verdict": said,
        "p_layers": p_layers, "tasks": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (ADDS, "says something of how fine-tuning ends (evaluation"),
        (AGAINST, "the opposite of what is claimed"),
        (NOTHING, "says next to nothing"),
        (UNDECIDED, "these runs do not decide it"),
    ],
)
def test_the_answer_says_what_was_found(said, words):
    equal = pd.DataFrame([a_row("kappa", 0.1, said), a_row("a", 0.3, ADDS), a_row("b", 0, NOTHING)])
    text = answer(equal, pd.DataFrame(), 43, 43)
    assert words in text
    assert "1 of 2 other quantities says more than the number of layers (a +0.30), and it" in text
    assert "it stands if the layers are relabelled" in text
    assert "runs are done" not in text
    assert "+0.10, 95 % interval +0.00 to +0.20, 7 tasks" in text


def test_few_tasks_with_several_sizes_have_no_interval_in_the_answer():
    """The arm with several sizes may have fewer tasks than both arms together."""
    equal = pd.DataFrame([a_row("kappa", 0.1, NOTHING), a_row("a", 0, NOTHING)])
    every = pd.DataFrame([a_row("layers", 0.5, "too few tasks") | {"low": np.nan, "high": np.nan}])
    text = answer(equal, every, 43, 43)
    assert "the number of layers has $\\tau$ = +0.50, too few tasks for an interval." in text


def test_too_few_tasks_are_no_answer_and_no_conclusion(root):
    made_up.write_study(root, made_up.runs_of("pocket", "every", made_up.TASKS[:3], TWO))
    cells = task_cells(choices(), NAMES)
    equal, every = (compare(cells, NAMES, within=within, **FEW) for within in (True, False))
    text = answer(equal, every, 12, 43)
    assert text.startswith("Not known yet. **12 of 43 runs are done.** Two seeds")
    assert "for 3 of the 5 tasks" in text
    assert conclusions(equal, ceilings(cells, within=True), regrets(cells, NAMES)) == []


def test_the_answer_names_what_holds_for_these_layers_alone_and_what_is_missing():
    equal = pd.DataFrame([a_row("kappa", 0.4, ADDS, 0.3), a_row("a", 0.3, NOTHING)])
    text = answer(equal, pd.DataFrame(), 10, 43)
    assert "layers relabelled by chance p = 0.30" in text
    assert "None of 1 other quantities is shown" in text
    assert "**10 of 43 runs are done.**" in text


def test_the_answer_counts_what_stands_if_the_layers_are_relabelled():
    others = [
        a_row(name, tau, ADDS, p)
        for name, tau, p in zip("abcd", (1, 2, 3, 4), (0, 0, 1, 1), strict=True)
    ]
    text = answer(pd.DataFrame([a_row("kappa", 0, NOTHING), *others]), pd.DataFrame(), 1, 1)
    assert "4 of 4 other quantities say more" in text
    assert "(first of all d +4.00, c +3.00, b +2.00), of which 2 stand if" in text


def test_conclusions_have_the_numbers_of_the_tables(both_arms):
    cells = task_cells(both_arms, NAMES)
    equal, every = (compare(cells, NAMES, within=within, **FEW) for within in (True, False))
    limits, regret = ceilings(cells, within=True), regrets(cells, NAMES)
    pocket, minilm, loss, others = conclusions(equal, limits, regret)
    random = regret[regret["label"] == RANDOM].set_index("arm")["regret"]
    assert f"misses the best by {random.iloc[0]:.1f} points" in pocket
    assert "all layers by" in pocket
    assert "all layers by" not in minilm
    assert "centred alignment" in loss
    assert f"{row(equal, 'alignment')['tau']:+.2f}" in loss
    knows = row(equal, "alignment", "accuracy")
    assert knows["verdict"] == ADDS
    assert f"for the accuracy centred alignment {knows['tau']:+.2f}" in others
    assert "early" not in others  # not known before training
    text = answer(equal, every, 20, 20)
    assert f"the number of layers has $\\tau$ = {row(every, 'layers')['tau']:+.2f}" in text


def test_between_tasks_the_best_of_what_is_known_stands_beside_kappa():
    numbers = {"low": 0.1, "high": 0.9, "p_holm": 0.04, "outcome": "accuracy"}
    across = pd.DataFrame(
        [
            {"predictor": name, "label": label, "group": group, "tau": tau, "tasks": 7} | numbers
            for name, label, group, tau in (
                ("kappa", "condition number", "spectrum", 0.2),
                ("probe", "linear probe", "features", 0.6),
                ("early", "training loss early on", "ceiling", 0.8),
            )
        ]
    )
    (said,) = between_tasks(across)
    assert said == (
        "Between tasks (7, all layers adapted), of 2 quantities linear probe orders "
        "the accuracy best (+0.60, 95 % interval +0.10 to +0.90, p 0.040 by Holm); the condition "
        "number has +0.20, 95 % interval +0.10 to +0.90."
    )
    assert between_tasks(across.assign(tasks=3)) == between_tasks(pd.DataFrame()) == []


def test_the_figure_has_a_row_for_each_and_its_groups_in_order(both_arms):
    cells = task_cells(both_arms, NAMES)
    parts = [compare(cells, NAMES, within=within, **FEW) for within in (True, False)]
    parts += [ceilings(cells, within=within) for within in (True, False)]
    shown = rows_of_figure(parts, ["eval_loss", "accuracy"])
    assert list(shown["panel"].unique()) == ["evaluation loss", "accuracy"]
    groups = list(dict.fromkeys(shown["group"]))
    assert groups[0] == "trivial baselines"
    assert groups[-1] == "not known before training"
    assert shown["row"].iloc[0] == "number of layers"
    figure = figures.forest(shown, [WITHIN, OVER_ALL], label="tau", margin=MARGIN)
    left, _right = figure.axes
    labels = [tick.get_text() for tick in left.get_yticklabels()]
    assert len(labels) == len(groups) + shown["row"].nunique()
    assert {text.get_text() for text in left.get_legend().get_texts()} == set(shown["view"])
