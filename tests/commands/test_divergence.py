"""A training that diverges, or a model that changes in saving, is not published."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from thinktuning.commands.train import train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.models.checks import check_finite


@pytest.mark.parametrize(
    ("rewarded", "what"),
    [(True, "at optimizer step 2 .*grad_norm is nan"), (False, "probabilities are not finite")],
)
def test_a_training_that_diverges_publishes_nothing(training, tutor, tmp_path, rewarded, what):
    """With rewards there are gradients; without, weight decay alone makes the weights huge."""
    resolve, model, data = training
    output = tmp_path / "run"
    job = resolve(learning_rate=1e30, warmup_steps=0, teacher=tutor[0] if rewarded else None)
    with pytest.raises(StudyError, match=f"training diverged: .*{what}"):
        train(job, model, data, output)
    assert {path.name for path in output.iterdir()} == {"checkpoints"}
    kept = list(read_jsonl(output / "checkpoints" / "diverged.jsonl"))
    assert len(kept) == 16 and all(row["student_text"] is not None for row in kept)
    for path in (output / "checkpoints").glob("*.jsonl"):
        assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()


def test_weights_that_are_not_finite_are_not_published(training, tmp_path):

    _, model, _ = training
    check_finite(model)
    weights = load_file(model / "model.safetensors")
    broken = dict(weights, **{"model.norm.weight": weights["model.norm.weight"] * torch.nan})
    save_file(broken, tmp_path / "model.safetensors")
    with pytest.raises(StudyError, match=r"model\.norm\.weight has weights that are not finite"):
        check_finite(tmp_path)


def test_a_model_that_changes_in_saving_is_not_published(training, tutor, tmp_path, monkeypatch):
    """The checkpoints stay, and the same training publishes once saving is right."""
    import thinktuning.commands.train as stage

    resolve, model, data = training
    job = resolve(teacher=tutor[0], max_steps=4)
    output = tmp_path / "run"
    save = stage.save_model

    def lossy(job, trainer, directory):
        with torch.no_grad():
            trainer.model.lm_head.weight[65] += 0.1
        save(job, trainer, directory)

    monkeypatch.setattr(stage, "save_model", lossy)
    with pytest.raises(StudyError, match="is not the model that was trained"):
        train(job, model, data, output)
    assert {path.name for path in output.iterdir()} == {"checkpoints"}
    assert (output / "checkpoints/checkpoint-4/trainer_state.json").exists()
    monkeypatch.setattr(stage, "save_model", save)
    train(job, model, data, output)
    assert (output / "model/model.safetensors").exists()
    assert not (output / "checkpoints").exists()
