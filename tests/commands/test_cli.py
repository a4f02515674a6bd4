"""The command line as users call it: help, validate, and errors without a traceback."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from thinktuning.commands import cli, stages
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
STAGES = {
    "data": ["config", "output"],
    "exemplars": ["config", "data", "output"],
    "model": ["config", "data", "output"],
    "warmup": ["config", "model", "data", "output"],
    "train": ["config", "model", "data", "output"],
    "evaluate": ["config", "model", "data", "output"],
    "judge": ["config", "samples", "data", "output"],
    "compare": ["config", "results", "tables", "plots"],
    "report": ["config", "results", "output"],
    "sweep": ["config", "results", "tables", "plots", "output"],
}
COMMANDS = ["validate", "run", "plan", "doctor", "show", "watch", "intervene", "push"]
COMMANDS += ["new", "schema", *STAGES]


def thinktuning(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thinktuning.commands.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def stage(name: str, config: Path) -> list[str]:
    """Return a stage's arguments; all paths but the configuration's do not exist."""
    options = [(option, config if option == "config" else "none") for option in STAGES[name]]
    return [name, *(word for option, value in options for word in (f"--{option}", str(value)))]


def run_in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Return the argument of `main`'s `sys.exit`."""
    monkeypatch.setattr(sys, "argv", ["thinktuning", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return exited.value.code


def test_help_lists_every_command():
    done = thinktuning("--help")
    assert done.returncode == 0
    commands = done.stdout.split("positional arguments:")[1].split("options:")[0]
    assert re.findall(r"^    (\w+)", commands, re.M) == COMMANDS


def test_the_installed_command_calls_main():
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="thinktuning")
    assert command.load() is cli.main


@pytest.mark.parametrize("name", COMMANDS)
def test_each_subcommand_has_help_for_its_options(name, capsys, monkeypatch):
    assert run_in_process(monkeypatch, name, "--help") == 0
    shown = capsys.readouterr().out
    assert all(f"--{option} PATH" in shown for option in STAGES.get(name, []))
    assert f"usage: thinktuning {name}" in shown


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom thinktuning.commands.cli import main\n"
        "sys.argv = ['thinktuning', 'train', '-h']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in done.stdout.split()}
    assert "thinktuning" in imported
    assert not imported & {"torch", "transformers", "trl", "datasets", "lm_eval", "matplotlib"}


def test_a_missing_subcommand_is_a_usage_error(capsys, monkeypatch):
    assert run_in_process(monkeypatch) == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err


# --- validate -------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """Write a copy of the default study with two seeds, four methods and two tasks."""
    values = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    task = values["tasks"]["chain_sum"]
    more = task | {"data": task["data"] | {"seed": task["data"]["seed"] + 1000}}
    untrained = {"train": False}
    values |= {"name": "mine", "seeds": [0, 1], "tasks": {"sums": task, "more_sums": more}}
    values["methods"] = {"grpo": {"algorithm": {"type": "grpo"}}, "thinktuning": {}}
    asked = untrained | {"prompt": {"suffix": " Check your answer."}}
    values["methods"] |= {"zero_shot": untrained, "asked": asked}

    def write(old="", new=""):
        text = yaml.safe_dump(values)
        assert old in text
        (tmp_path / "study.yaml").write_text(text.replace(old, new), encoding="utf-8")
        return tmp_path

    return write


def test_validate_counts_the_jobs(study):
    done = thinktuning("validate", "study.yaml", cwd=study())
    assert (done.returncode, done.stderr) == (0, "")
    # two methods with two seeds; these four runs and two untrained methods, each on two tasks
    assert done.stdout == (
        "study.yaml: valid. Study 'mine': 4 methods, 4 training runs, 12 evaluations.\n"
    )


def test_validate_states_token_budgets(study):
    directory = study()
    budget = "{training: {max_steps: 90, budget: {as: thinktuning, scored_tokens: 2000}}}"
    (directory / "more.yaml").write_text(f"extends: study.yaml\nmethods:\n  grpo: {budget}\n")
    done = thinktuning("validate", "more.yaml", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(
        "12 evaluations. Token budgets: grpo as many generated tokens as thinktuning or 2,000"
        " scored tokens in at most 90 steps.\n"
    )


def test_validate_accepts_every_study_of_the_repository():
    paths = ["config.yaml", *(f"studies/{path.name}" for path in (ROOT / "studies").glob("*.yaml"))]
    done = thinktuning("validate", *paths)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(": valid.")[0] for line in done.stdout.splitlines()] == paths


def test_validate_prints_the_resolved_study(study):
    directory = study()
    (directory / "more.yaml").write_text("extends: study.yaml\nseeds: [5]\n")
    done = thinktuning("validate", "more.yaml", "--resolved", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "extends" not in done.stdout
    (directory / "whole.yaml").write_text(done.stdout)
    whole = load_study(directory / "whole.yaml")
    assert whole == load_study(directory / "more.yaml")
    assert whole.seeds == [5]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  max_steps:", "  max_stepz:", "training.max_stepz: unknown key; did you mean `max_st"),
        ("prompt: organism", "prompt: organsm", "teacher.prompt: no packaged prompt 'organsm'"),
        ("name: mine", "name: [mine", "is not valid YAML"),
    ],
)
def test_validate_refuses_mistakes(study, old, new, expected):
    done = thinktuning("validate", "study.yaml", cwd=study(old, new))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("thinktuning: ") and expected in done.stderr
    assert "Traceback" not in done.stderr


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_configuration_is_named(name, tmp_path, monkeypatch):
    config = tmp_path / "config.json"
    said = run_in_process(monkeypatch, *stage(name, config))
    assert said == (
        f"thinktuning: {config}: cannot be read (No such file or directory);"
        f" `snakemake {config}` writes it"
    )


def test_an_error_is_one_line_on_stderr(tmp_path):
    done = thinktuning(*stage("train", tmp_path / "config.json"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("thinktuning: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_compare_compares_two_sample_files(tmp_path):
    row = '{"id": "%s", "correct": true, "text": "2"}\n'
    (tmp_path / "a.jsonl").write_text(row % "q1" + row % "q2")
    done = thinktuning("compare", "a.jsonl", "a.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "B minus A +0.0 [-100.0, +100.0] points, paired by question, p = 1.000" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jsonl"],
        ["a.jsonl", "b.jsonl", "c.jsonl"],
        ["a.jsonl", "b.jsonl", "--config", "config.json"],
        ["--config", "config.json", "--results", "results", "--tables", "tables"],
    ],
)
def test_compare_needs_two_files_or_all_options(arguments, monkeypatch):
    said = run_in_process(monkeypatch, "compare", *arguments)
    assert said.startswith("thinktuning: compare takes two sample files, or all of --config")


def test_show_parses_its_options(tmp_path):
    options = ["--step", "2", "--taught", "--wrong", "--limit", "3"]
    done = thinktuning("show", str(tmp_path), *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"thinktuning: {tmp_path}: has no rollouts.jsonl")
    done = thinktuning("show", str(tmp_path), "--limit", "-1")
    assert (done.returncode, "-1 is below 0" in done.stderr) == (2, True)


def failing_stage(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(stages, "read_config", fail)
    return ["data", "--config", "none", "--output", "none"]


@pytest.mark.parametrize(
    "error",
    [  # as raised on a full disk by Python, safetensors and torch.save
        OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
)
def test_a_full_disk_is_an_error_message(error, monkeypatch):
    said = run_in_process(monkeypatch, *failing_stage(monkeypatch, error))
    assert said == f"\nthinktuning: the disk is full; free some space and run it again ({error})"


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["thinktuning", *failing_stage(monkeypatch, RuntimeError("a bug"))]
    )
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()
