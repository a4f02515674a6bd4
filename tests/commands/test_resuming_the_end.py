"""A run that is killed after its last step, or in the middle of a write, repeats itself."""

import shutil

import pytest
from finished_run import untimed
from safetensors.torch import load_file

import thinktuning.commands.checkpoints as checkpoints
import thinktuning.commands.train as stage
from thinktuning.commands.checkpoints import prepare_checkpoints
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl

OUTPUTS = ("model", "metrics.jsonl", "rollouts.jsonl", "provenance.json")


class Killed(Exception):
    pass


def killed(*_, **__):
    raise Killed


@pytest.fixture
def short(training, tutor):
    """Return the arguments of a run whose last step, with a checkpoint, is within an epoch."""
    resolve, model, data = training
    return resolve(teacher=tutor[0], max_steps=4), model, data


@pytest.fixture
def whole(short, tmp_path):
    stage.train(*short, tmp_path / "whole")
    return tmp_path / "whole"


def assert_same(run, whole):
    weights, expected = (load_file(each / "model/model.safetensors") for each in (run, whole))
    assert all((weights[key] == expected[key]).all() for key in expected)
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == [2, 4]
    assert untimed(run) == untimed(whole)
    assert (run / "rollouts.jsonl").read_text() == (whole / "rollouts.jsonl").read_text()
    assert {path.name for path in run.iterdir()} == set(OUTPUTS)


def test_a_run_killed_after_its_last_step_takes_no_other(short, whole, tmp_path, monkeypatch):
    """Wherever it is killed, and whether or not Snakemake has removed the outputs since."""
    run = tmp_path / "run"
    places = ("save_model", "publish", "model_sha256", "remove_checkpoints")
    for place in places:
        with monkeypatch.context() as patch:
            patch.setattr(stage, place, killed)
            with pytest.raises(Killed):
                stage.train(*short, run)
        assert (run / "checkpoints/checkpoint-4/trainer_state.json").exists()
        if place == "model_sha256":
            shutil.rmtree(run / "model")
            for name in OUTPUTS:
                (run / name).unlink(missing_ok=True)
    stage.train(*short, run)
    assert_same(run, whole)


def test_a_row_that_was_cut_short_is_written_again(short, whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "save_model", killed)
        with pytest.raises(Killed):
            stage.train(*short, run)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        with (run / "checkpoints" / name).open("ab") as file:
            file.write('{"step": 6, "text": "é'.encode()[:-1])
    stage.train(*short, run)
    assert_same(run, whole)


@pytest.mark.parametrize("name", ["metrics.jsonl", "rollouts.jsonl"])
def test_a_checkpoint_whose_rows_are_lost_is_refused(short, tmp_path, monkeypatch, name):
    with monkeypatch.context() as patch:
        patch.setattr(stage, "save_model", killed)
        with pytest.raises(Killed):
            stage.train(*short, tmp_path)
    (tmp_path / "checkpoints" / name).unlink()
    with pytest.raises(StudyError, match=rf"{name}: has no row of optimizer step 4.*; remove .*"):
        stage.train(*short, tmp_path)
    assert (tmp_path / "checkpoints/checkpoint-4").exists()


def checkpoint(directory, step, state="{}"):
    saved = directory / f"checkpoint-{step}"
    saved.mkdir()
    (saved / "trainer_state.json").write_text(state)
    return str(saved)


def test_a_kill_at_the_start_keeps_the_checkpoints(tmp_path):
    directory = tmp_path / "checkpoints"
    assert prepare_checkpoints(directory, "this") is None
    saved = checkpoint(directory, 4)
    written = (directory / "job").stat()
    assert prepare_checkpoints(directory, "this") == saved
    after = (directory / "job").stat()
    assert (after.st_ino, after.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_kill_while_removing_leaves_nothing_to_resume_from(tmp_path, monkeypatch):
    directory = tmp_path / "checkpoints"
    prepare_checkpoints(directory, "this")
    checkpoint(directory, 4)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", killed)
        with pytest.raises(Killed):
            prepare_checkpoints(directory, "another")
    assert prepare_checkpoints(directory, "this") is None


def test_a_checkpoint_that_a_full_disk_cut_short_is_removed(tmp_path):
    prepare_checkpoints(tmp_path, "this")
    earlier = checkpoint(tmp_path, 4)
    cut = checkpoint(tmp_path, 8, '{"global_step": ')
    assert prepare_checkpoints(tmp_path, "this") == earlier
    assert not (tmp_path / cut).exists()
