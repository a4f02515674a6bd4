"""Reading the results of a study: broken and missing files are refused by name."""

from pathlib import Path

import pytest
from answered_study import ONE_SEED, study, write_results

from thinktuning.commands.compare import compare
from thinktuning.io.errors import StudyError

SAMPLES = "eval/method/seed0/sums/samples.jsonl"


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        (SAMPLES, lambda text: text.replace("q3", "q9"), "answers other questions than"),
        (SAMPLES, lambda text: text.split("\n", 1)[1], "4 questions with 1 to 2 samples"),
        (SAMPLES, lambda text: text.replace('"reflects"', '"reflex"'), "rows without reflects"),
        (SAMPLES, lambda text: text.replace('"first_correct"', '"first"'), "without first_correct"),
        (SAMPLES, lambda text: "", "rows without id"),
        (SAMPLES, lambda text: text + "{", "is not valid JSON"),
        ("eval/base/seed0/sums/results.json", lambda text: "{}", "has no inputs"),
        ("runs/method/seed0/provenance.json", lambda text: "{}", "has no inputs"),
        ("runs/method/seed0/metrics.jsonl", lambda text: '{"step": 1}', "without rollout_batch"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, path: str, damage, message: str) -> None:
    job = study([0])
    write_results(tmp_path, job, ONE_SEED)
    file = tmp_path / path
    file.write_text(damage(file.read_text()))
    with pytest.raises(StudyError, match=message) as caught:
        compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    assert str(file) in str(caught.value)
    assert not (tmp_path / "tables").exists()


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    job = study([0])
    write_results(tmp_path, job, ONE_SEED)
    (tmp_path / SAMPLES).unlink()
    with pytest.raises(StudyError, match=SAMPLES):
        compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
