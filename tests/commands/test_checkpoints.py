"""Which rollout batches a checkpoint follows, and which checkpoint a run resumes from."""

import pytest
from accelerate import PartialState
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerControl, TrainerState

import thinktuning.commands.train as stage
from thinktuning.commands.checkpoints import checkpointer, prepare_checkpoints
from thinktuning.commands.inputs import fingerprint


def saved_after(training, num_steps, minutes_per_step, minutes_to_save=0.0):
    """Return the optimizer steps after which the callback has a training save."""
    now = 0.0
    callback = checkpointer(training, lambda: now)
    control, state = TrainerControl(), TrainerState(max_steps=num_steps)
    callback.on_train_begin(None, state, control)
    found = []
    for step in range(1, num_steps + 1):
        now += 60 * minutes_per_step
        state.global_step, control.should_save = step, False
        callback.on_step_end(None, state, control)
        if control.should_save:
            found.append(step)
            now += 60 * minutes_to_save
            callback.on_save(None, state, control)
    return found


@pytest.mark.parametrize(
    ("rules", "minutes_per_step", "expected"),
    [  # two optimizer steps use each rollout batch
        ({"save_steps": 8, "save_minutes": None}, 100.0, [8, 16, 24]),
        ({"save_steps": None, "save_minutes": None}, 100.0, []),
        ({"save_steps": None, "save_minutes": 15.0}, 1.0, [16]),
        ({"save_steps": None, "save_minutes": 5.0}, 1.0, [6, 12, 18, 24]),  # 5 is within a batch
        ({"save_steps": None, "save_minutes": 15.0}, 60.0, [*range(2, 26, 2)]),
        # each checkpoint starts the clock again, whichever rule wrote it
        ({"save_steps": 10, "save_minutes": 8.0}, 1.0, [8, 10, 18, 20]),
    ],
)
def test_rules_by_steps_and_by_time(training, rules, minutes_per_step, expected):
    resolve, _, _ = training
    section = resolve(max_steps=24, **rules).training
    assert section.optimizer_steps_per_rollout_batch == 2
    assert saved_after(section, 24, minutes_per_step) == expected


def test_the_time_that_writing_takes_does_not_count(training):
    section = training[0](max_steps=24, save_steps=None, save_minutes=6.0).training
    assert saved_after(section, 24, 1.0, minutes_to_save=30.0) == [6, 12, 18, 24]


def test_studies_checkpoint_by_time_unless_they_say_otherwise(training):
    section = training[0]().training.model_dump(exclude={"save_steps", "save_minutes"})
    made = type(training[0]().training).model_validate(section)
    assert (made.save_steps, made.save_minutes) == (None, 30.0)


def test_a_checkpoint_has_no_copy(training, tmp_path, monkeypatch):
    """Weights and two moments in float32, 12 bytes per weight; what is left is small."""
    resolve, model, data = training
    taken = {}
    built = stage.build_trainer

    class Watch(TrainerCallback):
        def on_save(self, args, state, control, **_):
            saved = tmp_path / f"run/checkpoints/checkpoint-{state.global_step}"
            taken[state.global_step] = sum(path.stat().st_size for path in saved.iterdir())

    def watched(*args):
        trainer = built(*args)
        trainer.add_callback(Watch())
        return trainer

    monkeypatch.setattr(stage, "build_trainer", watched)
    stage.train(resolve(), model, data, tmp_path / "run")
    num_weights = sum(w.numel() for w in load_file(model / "model.safetensors").values())
    assert list(taken) == [4, 8, 12]
    assert taken[12] == pytest.approx(12 * num_weights, rel=0.1)


def test_a_checkpoint_of_other_processes_is_not_resumed(training, monkeypatch, tmp_path):
    """`resources` are in no job, but twice the processes train on twice the rollouts per step."""
    resolve, model, data = training
    inputs = {"model": "a"}
    assert fingerprint(resolve(), inputs, 1) == fingerprint(resolve(), inputs)
    assert len({fingerprint(resolve(), inputs, processes) for processes in (1, 2, 4)}) == 3

    class Stop(Exception):
        pass

    def stop(directory, made_from, _):
        marks.append(made_from)
        raise Stop

    marks = []
    monkeypatch.setattr(stage, "prepare_checkpoints", stop)
    for processes in (1, 2):
        monkeypatch.setattr(PartialState(cpu=True), "num_processes", processes)
        with pytest.raises(Stop):
            stage.train(resolve(), model, data, tmp_path / "run")
    assert len(set(marks)) == 2


def test_a_checkpoint_of_another_configuration_is_not_resumed(training, tmp_path):
    resolve, _, _ = training
    directory = tmp_path / "checkpoints"
    one = fingerprint(resolve(), {"model": "a", "data": "b"})
    assert fingerprint(resolve(), {"model": "a", "data": "c"}) != one
    other = fingerprint(resolve(learning_rate=1e-5), {"model": "a", "data": "b"})
    assert prepare_checkpoints(directory, one) is None
    saved = directory / "checkpoint-4"
    saved.mkdir()
    (saved / "trainer_state.json").write_text("{}")
    assert prepare_checkpoints(directory, one) == str(saved)
    assert prepare_checkpoints(directory, other) is None
    assert not saved.exists()


@pytest.mark.parametrize("adaptive", [True, False])
def test_an_adaptive_entropy_coefficient_is_part_of_a_checkpoint(tmp_path, adaptive):
    """TRL writes it after all else, and without it begins again with the first coefficient."""
    prepare_checkpoints(tmp_path, "this")
    for step in (4, 8, 12):
        saved = tmp_path / f"checkpoint-{step}"
        saved.mkdir()
        (saved / "trainer_state.json").write_text("{}")
    for step, written in ((4, '{"entropy_coef": 0.01}'), (8, '{"entropy_c')):
        (tmp_path / f"checkpoint-{step}/entropy_ctrl_state.json").write_text(written)
    found = prepare_checkpoints(tmp_path, "this", adaptive)
    assert found == str(tmp_path / f"checkpoint-{4 if adaptive else 12}")


def test_training_says_whether_the_coefficient_adapts(training, monkeypatch, tmp_path):
    resolve, model, data = training
    given = []
    monkeypatch.setattr(stage, "prepare_checkpoints", lambda *args: given.append(args[2]) or 1 / 0)
    for extra in ({}, {"use_adaptive_entropy": True, "entropy_target": 1.0}):
        with pytest.raises(ZeroDivisionError):
            stage.train(resolve(extra=extra), model, data, tmp_path / "run")
    assert given == [False, True]
