"""`plan`, `validate` and `doctor` of a sweep: all points, and shared jobs once."""

import json

import pytest
import yaml
from planned_study import ROOT, default_study, write_pilot

from thinktuning.commands.cli import main
from thinktuning.io.errors import StudyError
from thinktuning.planning import doctor, requirements
from thinktuning.planning.estimates import estimate_study
from thinktuning.planning.points import check_pilot, estimate_points, pilot_of
from thinktuning.study.reading import load_study, parse_study

VALUES = yaml.safe_load((ROOT / "config.yaml").read_text())
RATES = {"axes": {"rate": {"key": "training.learning_rate", "values": [1.0e-4, 3.0e-4]}}}


@pytest.fixture
def printed(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command on a study with these rates, and returns its output."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(VALUES | {"sweep": RATES}))

    def run(name, *options):
        monkeypatch.setattr("sys.argv", ["thinktuning", name, str(path), *options])
        main()
        return capsys.readouterr().out

    return run


def test_shared_jobs_are_estimated_once():
    """GRPO has its own learning rate: at the second rate only ThinkTuning is trained."""
    found = estimate_points(parse_study(VALUES | {"sweep": RATES}, "test"))
    assert [[(one.stage, one.method) for one in each] for each in found.values()] == [
        [(one.stage, one.method) for one in estimate_study(load_study(ROOT / "config.yaml"))],
        [("train", "thinktuning"), ("evaluate", "thinktuning")],
    ]


def test_a_study_without_a_sweep_is_estimated_as_before():
    study = load_study(ROOT / "config.yaml")
    assert estimate_points(study) == {"": estimate_study(study)}


def test_the_plan_has_a_row_for_each_point(printed):
    rows = [line.split() for line in printed("plan").splitlines()]
    counts = {row[0]: int(row[1]) for row in rows if row and row[0].startswith("rate-")}
    assert counts == {"rate-0.0001": 1 + 6 + 8, "rate-0.0003": 6}
    assert ["all", "21"] in [row[:2] for row in rows]
    rows = json.loads(printed("plan", "--json"))
    assert [row["point"] for row in rows] == ["rate-0.0001"] * 7 + ["rate-0.0003"] * 2


def test_a_model_that_cannot_be_read_is_that_of_a_point():
    points = {"good": {}, "bad": {"model": {"source": "path", "path": "none/such"}}}
    study = parse_study(VALUES | {"warmup": None, "sweep": {"points": points}}, "test")
    with pytest.raises(StudyError, match=r"^sweep, point bad: .*none/such"):
        estimate_points(study)


def test_one_model_config_is_refused_for_several_points(printed):
    with pytest.raises(SystemExit, match="the points of a sweep have models of their own"):
        printed("plan", "--model-config", str(ROOT / "config.yaml"))


def test_the_jobs_of_a_valid_sweep_are_counted(printed):
    said = "2 points, 4 methods, 9 training runs, 33 evaluations.\n"
    assert printed("validate").endswith(said)


def test_a_pilot_of_each_point_or_of_all(tmp_path):
    (tmp_path / "short").mkdir()
    assert pilot_of("short", tmp_path) == tmp_path / "short"
    assert pilot_of("long", tmp_path) == tmp_path
    assert pilot_of("", tmp_path) == tmp_path and pilot_of("long", None) is None


def test_the_doctor_looks_for_the_models_of_all_points(tmp_path):
    here, away = ({"source": "path", "path": str(tmp_path / name)} for name in ("here", "away"))
    (tmp_path / "here").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "here" / name).write_text("{}")
    points = {"a": {"model": here}, "b": {"model": away}}
    points["c"] = {"model": here, "training.temperature": 0.9}
    study = parse_study(VALUES | {"sweep": {"points": points}}, "test")
    found = [one for one in requirements.examine(study) if one.check == "base"]
    assert [one.status for one in found] == ["ok", "problem"]  # each path once
    assert len(doctor.train_jobs(study)) == 6


def test_what_the_doctor_proposes_fetches_a_points_model(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub = {"source": "hub", "repo": "someone/model", "revision": "0" * 40}
    study = parse_study(VALUES | {"sweep": {"points": {"a": {}, "b": {"model": hub}}}}, "test")
    (found,) = requirements.models(study)
    assert found.fix.endswith("snakemake results/b/models/base --configfile STUDY")


def test_results_of_another_place_are_refused(tmp_path):
    study = default_study()
    write_pilot(tmp_path / "results", "grpo", (500, 0, 100, 0))
    check_pilot(study, tmp_path / "results")
    with pytest.raises(StudyError, match="pass the directory results/ itself"):
        check_pilot(study, tmp_path)
