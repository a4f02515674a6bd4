"""The scripts and notebooks of examples/ run, and the notebook is committed as a run left it."""

import os
import re
import subprocess
import sys

import pytest
from pages import ROOT

SCRIPT = ROOT / "examples/grpo_with_teacher.py"
NOTEBOOK = ROOT / "examples/quickstart.ipynb"


def stock(text):
    """The script without what it says is changed or new."""
    lines = [line for line in text.splitlines(keepends=True) if "# new" not in line]
    text = "".join(lines)
    changed = re.compile(r"^from thinktuning import .*# changed$", re.M)
    assert len(changed.findall(text)) == 1
    text = changed.sub("from trl import GRPOConfig, GRPOTrainer", text)
    return text.replace("ThinkTuningConfig(", "GRPOConfig(").replace(
        "ThinkTuningTrainer(", "GRPOTrainer("
    )


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [True, False], ids=["teacher", "stock"])
def test_the_script_trains_with_a_teacher_and_as_stock_trl(teacher, likely_eos, tmp_path):
    text = SCRIPT.read_text()
    body = (text if teacher else stock(text)).partition('"""\n\nimport')[2]
    assert ("thinktuning" in body.lower()) == teacher
    script = tmp_path / "script.py"
    script.write_text(text if teacher else stock(text))
    command = [sys.executable, str(script), "--model", str(likely_eos), "--max-steps", "1"]
    done = subprocess.run(
        [*command, "--output", "out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert ("num_asked" in done.stdout) == teacher
    assert (tmp_path / "out/model.safetensors").exists()


def read_notebook():
    import nbformat

    return nbformat.read(NOTEBOOK, 4)


def test_the_notebook_is_committed_as_one_whole_run_left_it():
    """With its outputs, which are small, and nothing about the machine that made them."""
    assert NOTEBOOK.stat().st_size < 100_000
    cells = [cell for cell in read_notebook().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {
        "display_data",
        "execute_result",
        "stream",
    }
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not re.search(r"/(?:home|root|tmp|work)\b", NOTEBOOK.read_text())


@pytest.mark.slow
def test_the_notebook_runs_with_short_trainings(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("QUICKSTART_SHORT", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    notebook = read_notebook()
    for cell in notebook.cells:
        cell.outputs = [] if cell.cell_type == "code" else None
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs") or []]
    texts = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"check: +\d+% right, \d+% reflect\nafter: +\d+% right", texts)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert (tmp_path / "quickstart/base/model.safetensors").exists()
