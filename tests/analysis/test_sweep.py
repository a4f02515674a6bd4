"""sweep.csv, the lines and the page of a small sweep, with verdicts given by hand."""

import json
from dataclasses import replace
from pathlib import Path

import answered_study
import numpy as np
import pytest
from answered_study import numbers, read

from thinktuning.analysis.comparison import Answers
from thinktuning.analysis.intervals import Difference, Estimate, difference
from thinktuning.analysis.report.sweep_page import (
    columns_of,
    common_name,
    fits_table,
    methods_table,
)
from thinktuning.analysis.sweep import (
    Place,
    covariance,
    fit_rows,
    fits,
    places,
    point_rows,
    quantity,
)
from thinktuning.analysis.sweep_figure import draw
from thinktuning.commands.sweep import sweep
from thinktuning.io.errors import StudyError
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob, SweepJob
from thinktuning.study.sweep import GapConfig

# Four questions with two samples: means 1/4, 1/2, 3/4, 1.
QUARTER = [[1, 1], [0, 0], [0, 0], [0, 0]]
HALF = [[1, 1], [0, 0], [1, 0], [0, 1]]
MOST = [[1, 1], [1, 1], [1, 0], [0, 1]]
ALL = [[1, 1], [1, 1], [1, 1], [1, 1]]

COMPARED = CompareJob(
    study="law",
    methods={"base": "zero-shot", "asked": "asked", "method": "a|b"},
    seeds={"base": [], "asked": [], "method": [0]},
    evaluated_seeds={"base": [0], "asked": [0], "method": [0]},
    tasks=["sums"],
    comparison=ComparisonConfig(baselines=["base"]),
)
JOB = SweepJob(
    study="law",
    points={"steps-1": {"steps": 1}, "steps-2": {"steps": 2}, "steps-4": {"steps": 4}},
    elsewhere={"steps-1": {}, "steps-2": {}, "steps-4": {}},
    comparison=COMPARED,
    gap=GapConfig(asked="asked", plain="base"),
    x="gap",
    baseline="base",
    methods=["method"],
)
# gaps 0, 1/4, 1/2; gains 0, 1/4, 3/4
ANSWERS = {
    "steps-1": (QUARTER, QUARTER, QUARTER),
    "steps-2": (HALF, MOST, MOST),
    "steps-4": (QUARTER, MOST, ALL),
}


def write(results: Path, job: SweepJob = JOB) -> None:
    for i, (point, (base, asked, method)) in enumerate(ANSWERS.items()):
        correct = {("base", 0): base, ("asked", 0): asked, ("method", 0): method}
        by_task = {(*key, "sums"): questions for key, questions in correct.items()}
        answered_study.write_results(results / point, job.at(point), by_task)
        model = results / point / "models/base"
        model.mkdir(parents=True)
        made = {"measured": {"student": 0.1 * i, "num_problems": 200, "note": "text"}}
        (model / "provenance.json").write_text(json.dumps(made))


def put_together(results: Path, job: SweepJob = JOB) -> list[dict[str, str]]:
    """Return the rows of sweep.csv."""
    tables = results / "tables"
    sweep(job, results, tables, results / "plots", results / "report/index.html")
    return read(tables / "sweep.csv")


def test_the_rows_of_a_sweep(tmp_path):
    write(tmp_path)
    rows = put_together(tmp_path)
    assert [(row["point"], row["method"]) for row in rows] == [
        (point, method) for point in JOB.points for method in COMPARED.methods
    ]
    assert [numbers(row, "axis_steps", "plain", "asked", "gap") for row in rows[2::3]] == [
        [1, 0.25, 0.25, 0],
        [2, 0.5, 0.75, 0.25],
        [4, 0.25, 0.75, 0.5],
    ]
    means = ("mean", "diff_base", "reflection_rate", "mean_tokens", "measured_student")
    assert [numbers(row, *means) for row in rows[2::3]] == [
        pytest.approx([0.25, 0, 0.5, 11, 0.0]),
        pytest.approx([0.75, 0.25, 0.5, 11, 0.1]),
        pytest.approx([1.0, 0.75, 0.5, 11, 0.2]),
    ]
    assert rows[2]["train_teacher_tokens"] == "7.0" and rows[0]["train_teacher_tokens"] == ""
    assert "measured_note" not in rows[0]
    taken = difference([np.array([[1, 1, 0.5, 0.5]])], [np.array([[1, 0, 0, 0.0]])])
    found = numbers(rows[8], "gap_ci_low", "gap_ci_high")
    assert found == pytest.approx([taken.ci_low, taken.ci_high])


def test_runs_that_are_not_what_their_name_says_are_marked(tmp_path):
    write(tmp_path)
    path = tmp_path / "steps-2/runs/method/seed0/metrics.jsonl"
    last = json.loads(path.read_text().splitlines()[-1]) | {"budget_used": 0.5}
    path.write_text(path.read_text() + json.dumps(last) + "\n")
    labels = [row["label"] for row in put_together(tmp_path)[2::3]]
    assert labels == ["a|b", "a|b (budget not used: 50%)", "a|b"]
    assert "(marked at steps-2)" in (tmp_path / "plots/sweep.svg").read_text()
    assert "(marked at steps-2)" in (tmp_path / "tables/sweep.md").read_text()


def test_a_point_reads_what_another_one_has(tmp_path):
    write(tmp_path)
    (tmp_path / "steps-1/eval/base").rename(tmp_path / "moved")
    (tmp_path / "steps-4/runs").rename(tmp_path / "runs")
    with pytest.raises(StudyError, match="eval/base/seed0/sums/samples"):
        put_together(tmp_path)
    there = {"eval/base/seed0": "../moved/seed0"}
    elsewhere = {**JOB.elsewhere, "steps-1": there}
    elsewhere |= {"steps-4": {"runs/method/seed0": "../runs/method/seed0"}}
    rows = put_together(tmp_path, JOB.model_copy(update={"elsewhere": elsewhere}))
    assert numbers(rows[0], "mean") == [0.25]


def test_the_line_and_the_page(tmp_path):
    write(tmp_path)
    put_together(tmp_path)
    (fitted,) = read(tmp_path / "tables/sweep_fit.csv")
    assert (fitted["x"], fitted["method"], fitted["num_points"]) == ("gap", "method", "3")
    slope, low, high = numbers(fitted, "slope", "slope_ci_low", "slope_ci_high")
    assert low < 1 < slope < high
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert '<a href="../steps-4/report/index.html">steps-4</a>' in page
    assert "a|b" in page and "Fitted lines" in page
    assert "+25.0 [" in page  # the gap at steps-2
    written = (tmp_path / "tables/sweep.md").read_text()
    assert "| steps-2 | 2 | 50.0 [" in written and "| steps-4 | a\\|b | 100.0 [" in written
    text = (tmp_path / "plots/sweep.svg").read_text()
    assert "asked minus zero-shot, points" in text and "dotted: gain = gap" in text
    (tmp_path / "plots/sweep.svg").unlink()
    put_together(tmp_path)
    assert (tmp_path / "plots/sweep.svg").read_text() == text


@pytest.mark.parametrize(
    ("x", "label"),
    [("steps", ">steps<"), ("asked", "accuracy of asked, %"), ("measured.student", ">student<")],
)
def test_other_quantities_to_draw_against(tmp_path, x, label):
    write(tmp_path)
    put_together(tmp_path, JOB.model_copy(update={"x": x}))
    assert label in (tmp_path / "plots/sweep.svg").read_text()
    (fitted,) = read(tmp_path / "tables/sweep_fit.csv")
    assert fitted["x"] == x


def test_a_quantity_that_a_base_does_not_have_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(StudyError, match=r"figure.x is measured.tutor.*it has .*'student'"):
        put_together(tmp_path, JOB.model_copy(update={"x": "measured.tutor"}))


def test_without_numbers_to_draw_against_there_is_no_line(tmp_path):
    write(tmp_path)
    rows = put_together(tmp_path, JOB.model_copy(update={"x": None, "gap": None}))
    assert len(rows) == 9 and "gap" not in rows[0]
    assert (tmp_path / "tables/sweep_fit.csv").read_text() == "task\n"
    assert "No axis of this sweep has numbers" in (tmp_path / "plots/sweep.svg").read_text()


def test_on_a_logarithmic_scale_points_are_joined(tmp_path):
    write(tmp_path)
    put_together(tmp_path, JOB.model_copy(update={"x": "steps", "xscale": "log"}))
    assert (tmp_path / "tables/sweep_fit.csv").read_text() == "task\n"
    text = (tmp_path / "plots/sweep.svg").read_text()
    assert "bars: 95% intervals" in text and "band" not in text
    assert text.count('id="xtick_') == 3 * text.count('id="axes_')  # at the points alone
    assert "Fitted lines" not in (tmp_path / "report/index.html").read_text(encoding="utf-8")
    zero = JOB.model_copy(update={"x": "measured.student", "xscale": "log"})
    with pytest.raises(StudyError, match=r"measured.student is 0 at point steps-1; remove it"):
        put_together(tmp_path, zero)


def test_points_are_joined_on_a_linear_scale(tmp_path):
    write(tmp_path)
    put_together(tmp_path, JOB.model_copy(update={"x": "steps", "join": True}))
    assert (tmp_path / "tables/sweep_fit.csv").read_text() == "task\n"
    text = (tmp_path / "plots/sweep.svg").read_text()
    assert "bars: 95% intervals" in text and "band" not in text


def test_series_are_joined_with_a_marker_for_each(tmp_path):
    names = dict(zip(JOB.points, ("few", "few", "many"), strict=True))
    points = {point: values | {"data": names[point]} for point, values in JOB.points.items()}
    job = JOB.model_copy(update={"x": "steps", "series": "data", "points": points})
    write(tmp_path)
    put_together(tmp_path, job)
    assert (tmp_path / "tables/sweep_fit.csv").read_text() == "task\n"
    text = (tmp_path / "plots/sweep.svg").read_text()
    assert all(f">{shown}<" in text for shown in ("data: few", "data: many", "a|b", "steps"))
    assert "band" not in text and "Fitted lines" not in (tmp_path / "report/index.html").read_text(
        encoding="utf-8"
    )


def test_a_row_for_each_method_has_a_marker_for_each_point(tmp_path):
    write(tmp_path)
    methods = ["asked", "method"]
    put_together(tmp_path, JOB.model_copy(update={"x": "point", "methods": methods}))
    assert (tmp_path / "tables/sweep_fit.csv").read_text() == "task\n"
    text = (tmp_path / "plots/sweep.svg").read_text()
    assert all(f">{name}<" in text for name in ("asked", "a|b", *JOB.points))
    assert "gain over zero-shot, points" in text


def answers(correct_S_N_K) -> Answers:
    """Return answers to the given verdicts."""
    correct = np.array(correct_S_N_K, dtype=float)
    ids = [str(i) for i in range(correct.shape[1])]
    return Answers(ids, [""] * len(ids), correct, np.zeros_like(correct), {}, {})


def test_errors_of_gap_and_gain_vary_together():
    """The covariance of two means over the same questions, and 0 for unrelated ones."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 50))
    expected = np.cov(x[0], y[0])[0, 1] / 50
    assert covariance([x], [y]) == pytest.approx(expected)
    found = {("base", "sums"): answers([QUARTER]), ("asked", "sums"): answers([MOST])}
    found["method", "sums"] = answers([ALL])
    gap = quantity(JOB, "gap", found, ["sums"])
    (place,) = places(JOB, "steps-4", found, {})
    assert place.x == gap and place.gain.mean == 0.75
    # both subtract the base's answers: gaps 0, 1, 1/2, 1/2 and gains 0, 1, 1, 1 per question
    expected = np.cov([0, 1, 0.5, 0.5], [0, 1, 1, 1])[0, 1] / 4
    assert place.covariance == pytest.approx(expected)


def test_seeds_of_a_gain(tmp_path):
    """Two seeds have no interval; their gains are drawn, and tables have their values."""
    found = {("base", "sums"): answers([QUARTER]), ("asked", "sums"): answers([MOST])}
    found["method", "sums"] = answers([MOST, ALL])
    (place,) = places(JOB, "steps-4", found, {})
    assert place.seeds == [0.5, 0.75] and place.gain.ci_low is None and place.gain.se > 0
    figures = {"reflection_pass_at_k": 0.0, "mean_tokens": 5.0}
    figures |= {"no_answer_rate": 0.25, "truncation_rate": 0.125}
    found = {key: replace(each, figures=figures) for key, each in found.items()}
    compared = COMPARED.model_copy(update={"seeds": COMPARED.seeds | {"method": [0, 1]}})
    points = {"steps-4": {"steps": 4, "budget": {"as": "method"}}}
    job = JOB.model_copy(update={"comparison": compared, "points": points})
    rows = point_rows(job, "steps-4", found, {}, {})
    assert {(row["axis_steps"], row["axis_budget"]) for row in rows} == {(4, '{"as": "method"}')}
    *_, last = methods_table(job, rows, "sums").body
    shown = ["87.5 (seeds 75.0, 100.0)", "+62.5 (seeds +50.0, +75.0)", "0.0 (seeds 0.0, 0.0)"]
    assert last == ["steps-4", "a|b", *shown, "12.5", "25.0", "5"]


def test_a_line_has_an_interval_only_where_all_its_points_have_one():
    estimate = Estimate(0.1, 0.0, 0.2, 0.05, 100)
    of_all = [
        Place(f"p{i}", "method", "sums", replace(estimate, mean=0.1 * i), gain, 0.0, [])
        for i, gain in enumerate(
            [Difference(0.1 * j, 0, 1, 0.05, 100, 0.5, None) for j in range(4)]
        )
    ]
    last = replace(of_all[-1], gain=replace(of_all[-1].gain, ci_low=None, ci_high=None))
    for found, has_interval in ((of_all, True), ([*of_all[:-1], last], False)):
        lines = fits(JOB, found)
        assert lines["sums", "method"].has_interval == has_interval
        (row,) = fit_rows(JOB, lines)
        assert row["slope"] is not None and (row["slope_ci_low"] is not None) == has_interval
        ((*_, slope, intercept, _),) = fits_table(JOB, [row]).body
        assert ("[" in slope, "[" in intercept) == (has_interval, has_interval)
        assert ("PolyCollection" in draw(JOB, found, lines)) == has_interval


def test_keys_that_change_together_are_one_column():
    budget = {"as": "taught"}
    points = {
        "a": {"methods.x.training.lr": 1e-4, "methods.y.training.lr": 1e-4, "methods.x.b": budget},
        "b": {"methods.x.training.lr": 3e-4, "methods.y.training.lr": 3e-4, "methods.x.b": None},
    }
    assert columns_of(points) == {
        "methods.*.training.lr": ["0.0001", "0.0003"],
        "methods.x.b": ["as: taught", ""],
    }
    assert common_name(["model.size", "data.seed"]) == "model.size, data.seed"
    assert common_name(["model.size", "seed"]) == "model.size, seed"
    ambiguous = {"a": {"x.lr": 1, "y.lr": 1, "v.lr": 2, "w.lr": 2}}
    assert columns_of(ambiguous) == {"x.lr, y.lr": ["1"], "v.lr, w.lr": ["2"]}
