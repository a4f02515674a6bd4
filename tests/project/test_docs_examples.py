"""The examples in README, docs/extending.md and docs/evaluation.md run."""

import os
import re
import shutil
import subprocess
import sys
from types import ModuleType

from datasets import Dataset
from pages import EVALUATION, EXTENDING, README, ROOT

from thinktuning.io.files import write_jsonl
from thinktuning.trainer.arguments import ThinkTuningConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer


def test_the_library_example_trains(likely_eos, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    small = "max_steps=1, max_completion_length=16, use_cpu=True, report_to='none', bf16=False,"
    for name, value in {
        "Qwen/Qwen2.5-0.5B-Instruct": str(likely_eos),
        '"out",': f'"out", {small} gradient_checkpointing=False,',
        "SelfTeacher()": "SelfTeacher(max_completion_length=8)",
    }.items():
        assert name in code
        code = code.replace(name, value)
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["trainer"].state.global_step == 1
    assert len(scope["trainer"].rollouts) == 8
    assert any(rollout.asked for rollout in scope["trainer"].rollouts)


def block(path):
    """The block of docs/extending.md that is the file `path`."""
    (code,) = re.findall(rf"^```python\n# {re.escape(path)}\n(.*?)^```$", EXTENDING, re.M | re.S)
    return code


def parity(completions, **_):
    """A reward that varies between rollouts of an untrained model."""
    return [float(len(completion[-1]["content"]) % 2) for completion in completions]


def test_the_example_of_an_algorithm_trains(likely_eos, tmp_path):
    example = ModuleType("asymmetric")
    exec(
        compile(block("thinktuning/algorithms/asymmetric.py"), "asymmetric", "exec"), vars(example)
    )
    rows = [{"prompt": [{"role": "user", "content": f"{n} + {n} ="}]} for n in range(8)]
    seen = []

    class Watched(example.Asymmetric):
        def shape(self, logps, inputs):
            seen.append((inputs["advantages"], super().shape(logps, inputs)["advantages"]))
            return super().shape(logps, inputs)

    trainer = ThinkTuningTrainer(
        model=str(likely_eos),
        args=ThinkTuningConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            max_completion_length=16,
            num_generations=4,
            use_cpu=True,
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        reward_funcs=parity,
        algorithm=Watched(example.AsymmetricAlgorithmConfig(negative_weight=0.25)),
    )
    trainer.train()
    assert trainer.state.global_step == 1
    ((before, after),) = seen
    assert min(before) < 0 < max(before)
    assert after.tolist() == [a if a > 0 else a / 4 for a in before.tolist()]


def apply(text, diff):
    """Return a file's text with a diff applied; each of its hunks must fit in exactly one place."""
    for hunk in re.split(r"^@@\n", diff, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(s[1:] or s for s in lines if s[0] in kept) for kept in (" -", " +"))
        anchor = re.compile(rf"^{re.escape(old)}", re.M)
        assert len(anchor.findall(text)) == 1, f"{old!r} is not once in the file"
        text = anchor.sub(lambda _, new=new: new, text)
    return text


def test_examples_of_extensions_pass_their_tests(tmp_path):
    """Everything in docs/extending.md at once, in a copy of the package."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "thinktuning", tmp_path / "thinktuning", ignore=ignored)
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=ignored)
    made = re.findall(
        r"^```(?:python|yaml|rst)\n(?:#|\.\.) (\S+)\n(.*?)^```$", EXTENDING, re.M | re.S
    )
    for path, text in made:
        assert not (tmp_path / path).exists()
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    changed = re.findall(r"^```diff\n--- (\S+)\n(.*?)^```$", EXTENDING, re.M | re.S)
    for path, diff in changed:
        (tmp_path / path).write_text(apply((tmp_path / path).read_text(), diff))
    assert EXTENDING.count("\n```") == 2 * (len(made) + len(changed))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    num_tests = sum(len(re.findall("^def test_", text, re.M)) for _, text in made)
    assert num_tests > 4 and f"{num_tests} passed" in done.stdout


def test_the_example_of_comparing_sample_files_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", EVALUATION, re.M | re.S)
    for name, scores in (("a", [0, 0, 1, 0, 1, 0]), ("b", [1, 1, 1, 0, 0, 1])):
        rows = [
            {"doc_id": i, "resps": [[""]], "filter": "strict-match", "exact_match": score}
            for i, score in enumerate(scores)
        ]
        write_jsonl(tmp_path / name / "samples_gsm8k.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/evaluation.md", "exec"), {})
    gain, flips, adjusted = capsys.readouterr().out.splitlines()
    # 1, 1, 0, 0, -1, 1 and two more, -1 and 1: mean 1/4, squares about it sum to 5.5,
    # se = sqrt(5.5 / 56) = 0.3134, t_5 = 2.571: 0.25 +- 0.806, clipped at 1
    assert gain.startswith("+0.333 [-0.556, +1.000], p = 0.461")
    assert flips == "0.5 0.16666666666666666"
    assert adjusted.startswith("[0.") and adjusted.count(",") == 1
