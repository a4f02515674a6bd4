"""A training that is killed at an optimizer step."""

import pytest
from transformers import TrainerCallback

import thinktuning.commands.train as stage


class Killed(Exception):
    pass


def killed_at(step, monkeypatch, *arguments):
    """Train with the arguments of stage `train` until an optimizer step, and be killed there."""

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step:
                raise Killed

    built = stage.build_trainer

    def build(*given):
        trainer = built(*given)
        trainer.add_callback(Kill())
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(stage, "build_trainer", build)
        with pytest.raises(Killed):
            stage.train(*arguments)
