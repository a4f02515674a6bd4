"""Experiment trackers: each has the rows of metrics.jsonl once, also of a run that was killed.

Those of a tracker that is not installed are skipped: `pip install 'thinktuning[trackio]'` etc.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from edited_study import DEFAULT, edited, refusal
from finished_run import VOLATILE, untimed
from killed_run import killed_at
from safetensors.torch import load_file

from thinktuning.commands.tools import validate
from thinktuning.commands.trackers import TensorBoard
from thinktuning.commands.train import train
from thinktuning.commands.warmup import warm_up
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.io.trackers import TrackedSection
from thinktuning.planning.doctor import trackers
from thinktuning.study.jobs import to_json
from thinktuning.study.reading import parse_study

NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(name), reason=f"{name} is missing"))
    for name in ("tensorboard", "trackio", "mlflow", "wandb")
]
ABSENT = "clearml"  # a tracker that is not installed


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "TENSORBOARD_", "TRACKIO_", "WANDB_")):
            monkeypatch.delenv(name)


def tensorboard_record(directory):
    """Return {step: {name: value}}, and the configuration's text."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    rows = {}
    for tag in found.Tags()["scalars"]:
        for event in found.Scalars(tag):
            row = rows.setdefault(event.step, {})
            assert tag not in row
            row[tag] = event.value
    (*_, text) = found.Tensors("config/text_summary")
    return rows, text.tensor_proto.string_val[0].decode()


def trackio_record(directory):
    (path,) = directory.glob("*.db")
    with sqlite3.connect(path) as database:
        logged = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
        ((config,),) = database.execute("SELECT config FROM configs").fetchall()
    rows = {step: json.loads(metrics) for _, step, metrics in logged}
    assert len(rows) == len(logged) and {name for name, *_ in logged} == {"thinktuning-seed0"}
    return rows, bytes(config).decode() if isinstance(config, bytes) else config


def mlflow_record(directory):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{directory.absolute()}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("default").experiment_id])
    assert (run.info.run_name, run.info.status) == ("thinktuning-seed0", "FINISHED")
    rows = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            row = rows.setdefault(metric.step, {})
            assert name not in row
            row[f"train/{name}"] = metric.value
    return rows, str(run.data.params)


def wandb_record(directory):
    """Of an offline run there are files to send; a resumed one has a second, with the same ID."""
    runs = list(directory.glob("wandb/offline-run-*"))
    (name,) = {run.name.rsplit("-", 1)[1] for run in runs}
    assert name == (directory / "run_id").read_text()
    assert any(list(run.glob("*.wandb")) for run in runs)  # in one process the first has none yet
    return None, "learning_rate"


RECORDS = {
    "tensorboard": tensorboard_record,
    "trackio": trackio_record,
    "mlflow": mlflow_record,
    "wandb": wandb_record,
}


def assert_recorded(name, run):
    """The tracker has what metrics.jsonl has, each row once."""
    rows, config = RECORDS[name](run / name)
    assert "learning_rate" in config
    if rows is None:
        return
    expected = {row["step"]: row for row in read_jsonl(run / "metrics.jsonl")}
    assert rows.keys() == expected.keys()
    for step, row in expected.items():
        numbers = {f"train/{n}": v for n, v in row.items() if isinstance(v, int | float)}
        if name == "mlflow":
            numbers = {n.replace("@", "_"): v for n, v in numbers.items()}
        assert rows[step].keys() == numbers.keys()
        for metric, value in numbers.items():
            if not metric.removeprefix("train/").startswith(VOLATILE):
                assert rows[step][metric] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_continues_its_record(training, tutor, tmp_path, monkeypatch, name):
    """And what is trained is the same as without a tracker."""
    resolve, model, data = training
    train(resolve(teacher=tutor[0]), model, data, tmp_path / "plain")
    job, run = resolve(teacher=tutor[0], report_to=name), tmp_path / "run"
    killed_at(6, monkeypatch, job, model, data, run)  # the row of step 6 is lost
    train(job, model, data, run)
    assert untimed(run) == untimed(tmp_path / "plain")
    weights = [load_file(each / "model/model.safetensors") for each in (run, tmp_path / "plain")]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[1])
    assert_recorded(name, run)
    if name == "tensorboard":  # the others hold their databases open in this process
        train(job, model, data, run)  # anew: not on top of the old record
        assert_recorded(name, run)


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("trackio") and find_spec("tensorboard")), reason="missing")
def test_a_killed_process_continues_its_records(training, tutor, tmp_path):
    """SIGKILL, in the middle of a rollout batch after the checkpoint."""
    resolve, model, data = training
    job = resolve(teacher=tutor[0], report_to=["tensorboard", "trackio"])
    (tmp_path / "config.json").write_text(to_json(job))
    (tmp_path / "run.py").write_text(
        "import os, sys\n"
        "from transformers import TrainerCallback\n"
        "import thinktuning.commands.train as stage\n"
        "from thinktuning.commands.cli import main\n"
        "built = stage.build_trainer\n"
        "class Kill(TrainerCallback):\n"
        "    def on_step_end(self, args, state, control, **_):\n"
        "        if state.global_step == 7:\n"
        f"            os.kill(os.getpid(), {signal.SIGKILL:d})\n"
        "def build(*given):\n"
        "    trainer = built(*given)\n"
        "    trainer.add_callback(Kill())\n"
        "    return trainer\n"
        "if 'kill' in sys.argv:\n"
        "    sys.argv.remove('kill')\n"
        "    stage.build_trainer = build\n"
        "main()\n"
    )
    run = tmp_path / "run"
    arguments = ["train", "--config", str(tmp_path / "config.json"), "--model", str(model)]
    command = [sys.executable, str(tmp_path / "run.py"), *arguments]
    command += ["--data", str(data), "--output", str(run)]
    killed = subprocess.run([*command, "kill"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    subprocess.run(command, check=True, capture_output=True)
    for name in ("tensorboard", "trackio"):
        assert_recorded(name, run)


@pytest.mark.parametrize("name", NAMES[:1])
def test_a_tracker_may_be_added_to_a_run_in_progress(training, tmp_path, monkeypatch, name):
    """Its checkpoint is that of the same job."""
    resolve, model, data = training
    killed_at(6, monkeypatch, resolve(), model, data, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/checkpoint-4").exists()
    train(resolve(report_to=name), model, data, tmp_path / "run")
    rows, _ = RECORDS[name](tmp_path / "run" / name)
    assert sorted(rows) == [6, 8, 10, 12]


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_warm_up_is_recorded_next_to_its_model(likely_eos, tmp_path, name):
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(40)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    settings = {"max_steps": 4, "learning_rate": 1e-3, "batch_size": 4, "max_length": 400}
    study = edited("warmup", settings | {"report_to": name, "run_name": "thinktuning-seed0"})
    job = parse_study(study, "study.yaml").warmup_job()
    assert (job.warmup.run_name, job.warmup.project) == ("thinktuning-seed0", "default")
    warm_up(job, likely_eos, tmp_path, tmp_path / "base")
    found, config = RECORDS[name](tmp_path / "base" / name)
    assert sorted(found) == [1, 2, 3, 4] and "train/loss" in found[1]
    assert "max_length" in config
    made = json.loads((tmp_path / "base/provenance.json").read_text())["warmup"]
    assert made.keys().isdisjoint({"report_to", "run_name", "project"})


def job_of(**training):
    values = edited("training", DEFAULT["training"] | training)
    return parse_study(values, "study.yaml").train_job("grpo", 1)


@pytest.mark.parametrize("others", [{"a": "theirs"}, {"a/events": "theirs", "a-2/events": "too"}])
def test_nothing_in_a_shared_folder_is_deleted(others, tmp_path, monkeypatch):
    """A run that starts anew takes the next free folder, and finds it again when it resumes."""
    opened = []

    class Writer:
        def __init__(self, directory, purge_step):
            (Path(directory) / f"events{len(opened)}").touch()
            opened.append(Path(directory).name)

        def add_text(self, *_):
            pass

    monkeypatch.setitem(
        sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer)
    )
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "shared"))
    for name, text in others.items():
        path = tmp_path / "shared/_p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    section = TrackedSection(report_to="tensorboard", run_name="a", project="/p")
    for run, resumed in (("x", 0), ("y", 0), ("x", 4), ("x", 0)):
        TensorBoard(section, {}, tmp_path / run / "tensorboard").start(resumed)
    free = [f"a-{number}" for number in range(len(others) + 1, len(others) + 4)]
    assert opened == [free[0], free[1], free[0], free[2]]
    assert all((tmp_path / "shared/_p" / name).read_text() == text for name, text in others.items())


@pytest.mark.parametrize("nothing", [None, "none", [], ["none"]])
def test_a_job_without_a_tracker_does_not_mention_one(nothing):
    assert to_json(job_of(report_to=nothing)) == to_json(job_of())
    assert "report_to" not in to_json(job_of())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'; did you mean `tensorboard`?"),
        (["wandb", "zzz"], "unknown tracker 'zzz'; choose from azure_ml, clearml"),
        ("all", "all: name the trackers"),
    ],
)
def test_an_unknown_tracker_is_refused(given, expected):
    assert refusal("training.report_to", given).startswith(f"training.report_to: {expected}")


def test_a_tracker_that_is_not_installed_is_refused(training, tmp_path):
    resolve, model, data = training
    command = rf"{ABSENT} is not installed; install it \(pip install {ABSENT}\), or remove it"
    with pytest.raises(StudyError, match=rf"training\.report_to: {command}"):
        train(resolve(report_to=ABSENT), model, data, tmp_path / "run")
    values = edited("training", DEFAULT["training"] | {"report_to": ABSENT})
    (tmp_path / "study.yaml").write_text(json.dumps(values))
    arguments = type("Arguments", (), {"study": [tmp_path / "study.yaml"], "resolved": False})
    with pytest.raises(StudyError, match=rf"methods\.grpo\.training\.report_to: {command}"):
        validate(arguments)
    (finding,) = set(trackers(parse_study(values, "study.yaml")))
    assert (finding.status, finding.fix) == ("problem", f"pip install {ABSENT}")
