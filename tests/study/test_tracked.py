"""What trackers call the runs of a study, and of the points of a sweep."""

import pytest
from edited_study import DEFAULT, edited, refusal

from thinktuning.io.errors import StudyError
from thinktuning.study.reading import parse_study
from thinktuning.study.sharing import homes

TRAINED = ("grpo", "thinktuning")


def job_of(**training):
    values = edited("training", DEFAULT["training"] | training)
    return parse_study(values, "study.yaml").train_job("grpo", 1)


def test_a_run_is_called_by_its_method_and_seed():
    section = job_of(report_to=["tensorboard", "trackio"]).training
    assert (section.run_name, section.project) == ("grpo-seed1", "default")
    section = job_of(report_to="wandb", run_name="{method} {seed}!", project="p").training
    assert (section.run_name, section.project) == ("grpo 1!", "p")
    assert section.trackers == ["wandb"]


def swept(**training):
    """Return the studies of two points that differ for ThinkTuning, and share the warm-up."""
    key = "methods.thinktuning.training.learning_rate"
    warmup = {"max_steps": 4, "learning_rate": 1e-3, "batch_size": 4, "max_length": 400}
    study = edited("training", DEFAULT["training"] | training | {"report_to": "trackio"})
    study["sweep"] = {"axes": {"rate": {"key": key, "values": [1e-4, 2e-4]}}}
    return parse_study(study | {"warmup": warmup | {"report_to": "trackio"}}, "study.yaml").points()


def test_the_point_of_a_sweep_is_in_the_names_and_changes_no_shared_job():
    points = swept()
    jobs = [study.train_job(m, s) for study in points.values() for m in TRAINED for s in (0, 1)]
    assert len({job.training.run_name for job in jobs}) == len(jobs)
    assert jobs[-1].training.run_name == "rate-0.0002-thinktuning-seed1"
    assert points["rate-0.0001"].warmup_job().warmup.run_name == "rate-0.0001-warmup"
    home = homes(points)["rate-0.0002"]
    assert {home["models/base"], home["runs/grpo/seed0"]} == {"rate-0.0001"}
    assert home["runs/thinktuning/seed0"] == "rate-0.0002"
    (_, study) = swept(run_name="{point}: {method}, {seed}").values()
    assert study.train_job("grpo", 1).training.run_name == "rate-0.0002: grpo, 1"
    assert job_of(report_to="wandb", run_name="{point}{method}{seed}").training.run_name == (
        "defaultgrpo1"
    )


@pytest.mark.parametrize("name", ["mine", "{method}", "{seed}"])
def test_two_runs_of_one_name_are_refused(name):
    said = refusal("training", DEFAULT["training"] | {"report_to": "wandb", "run_name": name})
    assert "run_name of seed" in said and "trackers would mix the two runs; set it to null" in said


def test_two_points_of_one_name_are_refused_and_one_run_may_have_any():
    with pytest.raises(StudyError, match=r"at point rate-0\.0002 is 'grpo-0', and so is .*0001"):
        swept(run_name="{method}-{seed}")
    study = edited("methods", {"thinktuning": {}})
    study |= {
        "seeds": [3],
        "comparison": study["comparison"] | {"baselines": []},
        "training": study["training"] | {"report_to": "wandb", "run_name": "a"},
    }
    assert parse_study(study, "study.yaml").train_job("thinktuning", 3).training.run_name == "a"


@pytest.mark.parametrize("name", ["..", ".", "/", "a/b", "/tmp/x", "..\\a"])
def test_a_name_that_is_a_path_is_refused(name):
    assert "is a path; give a name without / and" in refusal("training.run_name", name)
    if "/" not in name:  # an MLflow experiment on Databricks is called /Users/NAME/EXPERIMENT
        assert "is a path; give a name without / and" in refusal("training.project", name)


def test_an_unknown_part_of_a_name_is_refused():
    said = refusal("training.run_name", "{metod}-{seed}")
    assert "unknown part {metod}; use {method}, {seed}, {point}" in said
    assert "unknown part {seed}; remove it" in refusal("training.project", "a{seed}")
    warmup = {"max_steps": 4, "learning_rate": 1e-3, "batch_size": 4, "max_length": 400}
    said = refusal("warmup", warmup | {"run_name": "{method}"})
    assert "unknown part {method}; use {point}" in said
