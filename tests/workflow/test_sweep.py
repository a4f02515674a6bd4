"""A sweep's jobs: which exist once, what a change reruns, single points and stages as targets."""

import copy
import csv
import re
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import ROOT, planned, snakemake, stand_in, write_study

BASES = {"axes": {"steps": {"key": "model.max_steps", "values": [250, 500]}}}
RATES = {"rate": {"key": "training.learning_rate", "values": [3.0e-4, 1.0e-3]}}
HEAVY = ("data", "exemplars", "organism", "model", "warmup", "train", "evaluate", "judge")
FIRST, OTHER = "steps-250_rate-0.0003", "steps-250_rate-0.001"


def heavy(found: dict[str, int]) -> dict[str, int]:
    """Return the jobs that prepare, train or evaluate something."""
    return {rule: n for rule, n in found.items() if rule in HEAVY}


@pytest.fixture
def swept(small: dict[str, Any]) -> dict[str, Any]:
    """Two bases times two learning rates; GRPO has a learning rate of its own."""
    small["sweep"] = {"axes": BASES["axes"] | RATES}
    return small


def test_jobs_that_points_share_are_planned_once(tmp_path: Path, swept: dict[str, Any]) -> None:
    """Per base 2 untrained methods, and 2 seeds of GRPO at one rate and of ThinkTuning at two."""
    found = planned(tmp_path, "--configfile", write_study(tmp_path, swept))
    once = {"data": 1, "exemplars": 1}
    assert heavy(found) == once | {"organism": 2, "train": 2 * (2 + 4), "evaluate": 2 * (2 + 6)}
    assert (found["compare"], found["report"], found["sweep"]) == (4, 4, 1)


def test_a_comparison_reads_what_another_point_has(tmp_path: Path, swept: dict[str, Any]) -> None:
    study = write_study(tmp_path, swept)
    target = f"results/{OTHER}/tables/comparison.md"
    found = planned(tmp_path, target, "--configfile", study)
    one_base = {"data": 1, "exemplars": 1, "organism": 1, "train": 4, "evaluate": 6}
    assert heavy(found) == one_base and found["compare"] == 1
    listed = snakemake(tmp_path, target, "--dry-run", "--configfile", study).stdout
    (inputs,) = re.findall(r"^rule compare:\n    input: (.*)$", listed, re.M)
    assert f"results/{FIRST}/eval/grpo/seed1/chain_sum/samples.jsonl" in inputs
    assert f"results/{OTHER}/eval/thinktuning/seed1/chain_sum/samples.jsonl" in inputs
    assert f"results/{OTHER}/eval/grpo" not in inputs


def test_a_run_is_a_target_at_the_point_that_has_it(tmp_path: Path, swept: dict[str, Any]) -> None:
    study = write_study(tmp_path, swept)
    target = f"results/{OTHER}/runs/thinktuning/seed0/model"
    found = planned(tmp_path, target, "--configfile", study)
    assert heavy(found) == {"data": 1, "exemplars": 1, "organism": 1, "train": 1}
    elsewhere = f"results/{OTHER}/runs/grpo/seed0/model"
    done = snakemake(tmp_path, elsewhere, "--dry-run", "--configfile", study)
    assert done.returncode != 0
    assert f"ask for results/{FIRST}/runs/grpo/seed0" in done.stdout + done.stderr


def test_a_change_reruns_what_depends_on_it(tmp_path: Path, swept: dict[str, Any]) -> None:
    study = write_study(tmp_path, swept)
    stand_in(tmp_path, study, "sweep")

    def rerun(change: dict[str, Any]) -> dict[str, int]:
        return planned(tmp_path, "--configfile", write_study(tmp_path, change, "changed.yaml"))

    another = copy.deepcopy(swept)  # a new point has a base and runs of its own; no other reruns
    another["sweep"]["axes"]["steps"]["values"].append(750)
    found = rerun(another)
    assert heavy(found) == {"organism": 1, "train": 6, "evaluate": 8}
    assert (found["compare"], found["report"], found["sweep"]) == (2, 2, 1)

    method = copy.deepcopy(swept)  # shared by the rates of a base
    method["methods"]["grpo"]["training"]["learning_rate"] = 2.0e-4
    found = rerun(method)
    assert heavy(found) == {"train": 4, "evaluate": 4} and found["compare"] == 4

    figure = copy.deepcopy(swept)
    figure["sweep"]["figure"] = {"x": "steps"}
    assert rerun(figure) == {"resolve_sweep": 1, "sweep": 1, "all": 1}

    forced = planned(tmp_path, "--configfile", study, "-R", "evaluate")
    assert forced == {"evaluate": 16, "compare": 4, "report": 4, "sweep": 1, "all": 1}


def test_bases_from_several_sources(tmp_path: Path, small: dict[str, Any]) -> None:
    """A base is trained at one point, fetched at another, and warmed up at a third."""
    warmup = {"max_steps": 1, "learning_rate": 1.0e-3, "batch_size": 1, "max_length": 64}
    elsewhere = {"source": "path", "path": "model"}
    points = {"toy": {}, "given": {"model": elsewhere}, "warm": {"model": elsewhere}}
    small["sweep"] = {"points": points | {"warm": {"model": elsewhere, "warmup": warmup}}}
    found = heavy(planned(tmp_path, "--configfile", write_study(tmp_path, small)))
    bases = {"organism": 1, "model": 2, "warmup": 1}
    assert found == {"data": 1, "exemplars": 1, "train": 12, "evaluate": 18} | bases


def test_an_invalid_point_stops_the_workflow(tmp_path: Path, small: dict[str, Any]) -> None:
    small["sweep"] = {"points": {"short": {"model.max_stepz": 5}}}
    done = snakemake(tmp_path, "--dry-run", "--configfile", write_study(tmp_path, small))
    assert done.returncode != 0
    said = "sweep, point short: model.max_stepz: unknown key; did you mean `max_steps`?"
    assert said in done.stdout + done.stderr


def test_without_a_sweep_commands_are_what_they_were(tmp_path: Path) -> None:
    """Snakemake compares their text: another one would make all results of a study again."""
    (tmp_path / "Snakefile").write_text(
        f'include: "{ROOT}/Snakefile"\nfor rule in workflow.rules:\n'
        '    print("text of", rule.name, rule.shellcmd)\n'
    )
    study = str(ROOT / "config.yaml")
    done = snakemake(tmp_path, "--snakefile", "Snakefile", "--dry-run", "--configfile", study)
    found = dict(re.findall(r"^text of (\w+) (.*) > \{log\} 2>&1$", done.stdout, re.M))
    command = "thinktuning {} --config {{input.config}} {}"
    data = command.format("data", "--output results/data")
    exemplars = command.format("exemplars", "--data results/data --output {output}")
    assert (found["data"], found["exemplars"]) == (data, exemplars)
    ends = {
        "organism": command.format("model", "--data results/data --output {output}"),
        "model": command.format("model", "--data results/data --output {output}"),
        "train": " --output results/runs/{wildcards.method}/seed{wildcards.seed}",
        "compare": command.format(
            "compare", "--results results --tables results/tables --plots results/plots"
        ),
        "report": command.format("report", "--results results --output {output}"),
    }
    assert [name for name, end in ends.items() if not found[name].endswith(end)] == []
    assert "sweep" not in found


def test_a_seed_that_the_study_does_not_name(tmp_path: Path, swept: dict[str, Any]) -> None:
    """It may be asked for, and is at the point itself, with the base that the points share."""
    target = f"results/{OTHER}/eval/grpo/seed9/chain_sum/results.json"
    found = planned(tmp_path, target, "--configfile", write_study(tmp_path, swept))
    once = {"data": 1, "organism": 1, "train": 1, "evaluate": 1}
    assert heavy(found) == once


@pytest.mark.slow
def test_whole_sweep(tmp_path: Path, swept: dict[str, Any]) -> None:
    """A tiny base, two rates: tables, figure and page; then moved elsewhere and finished."""
    swept["seeds"] = [0]
    swept["data"]["train"]["size"] = 100
    swept["tasks"]["chain_sum"]["data"]["size"] = 8
    swept["tasks"]["chain_sum"]["num_samples"] = 2
    swept["model"] |= {"hidden_size": 32, "intermediate_size": 64}
    swept["model"] |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    swept["training"] |= {"per_device_train_batch_size": 8, "num_generations": 4}
    swept["training"] |= {"max_steps": 2, "save_steps": 2, "warmup_steps": 0}
    swept["sweep"]["axes"]["steps"]["values"] = [3]
    study = write_study(tmp_path, swept)
    done = snakemake(tmp_path, "--cores", "2", "--show-failed-logs", "--configfile", study)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    with (results / "tables/sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(swept["methods"])
    points = ["steps-3_rate-0.0003", "steps-3_rate-0.001"]
    assert list(dict.fromkeys(row["point"] for row in rows)) == points
    grpo = [row for row in rows if row["method"] == "grpo"]
    assert grpo[0]["mean"] == grpo[1]["mean"] and grpo[0]["axis_rate"] != grpo[1]["axis_rate"]
    page = (results / "report/index.html").read_text(encoding="utf-8")
    for point in points:
        assert f'href="../{point}/report/index.html"' in page
        assert (results / point / "report/index.html").exists()
    assert (results / "plots/sweep.svg").stat().st_size > 1000
    assert not (results / points[1] / "runs/grpo").exists()
    assert planned(tmp_path, "--configfile", study) == {}
    report = snakemake(tmp_path, "--configfile", study, "--report", "report.html")
    assert report.returncode == 0, report.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "fitted lines" in text and points[1] in text

    moved = tmp_path / "moved"
    moved.mkdir()
    results.rename(moved / "results")
    command = ["results/tables/sweep.csv", "--cores", "1", "--configfile", study, "-R", "sweep"]
    done = snakemake(moved, *command, "--rerun-triggers", "mtime")
    assert done.returncode == 0, done.stderr
    with (moved / "results/tables/sweep.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
