"""What README and docs print is what the code gives."""

import re
from pathlib import Path

import pytest
import torch

from thinktuning.objective import guided_advantages
from thinktuning.schema import AAS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")


def test_the_table_of_shaping_weights():
    """docs/method.md: the weight of a token of probability pi with the advantage 1."""
    table = METHOD[METHOD.index("| `aas.variant` |") :]
    header, _, *rows = re.findall(r"^\|(.*)\|$", table.split("\n\n")[0], re.M)
    probabilities = [float(pi) for pi in re.findall(r"pi = (\S+)", header)]
    assert len(probabilities) == 6 and len(rows) == 3
    logps = torch.tensor([probabilities], dtype=torch.float64).log()
    for row in rows:
        variant, *weights = (cell.strip() for cell in row.split("|"))
        settings = AAS(variant=variant.strip("`")).model_dump()
        advantages = torch.ones(1, dtype=torch.float64)
        expected, shaped = guided_advantages(logps, advantages, torch.ones_like(logps), **settings)
        assert shaped.all()
        assert [float(weight) for weight in weights] == pytest.approx(
            expected[0].tolist(), rel=0.01
        )


@pytest.mark.parametrize(
    ("text", "snapshots"),
    [(README, ("controls", "smollm2")), (METHOD, ("ablations", "rare_tokens"))],
)
def test_estimates_in_tables_are_those_of_the_snapshots(text, snapshots):
    tables = "\n".join(re.findall(r"^\|.*", text, re.M))
    estimates = re.findall(r"[+-]?\d+\.\d \[[^]]*\d]", tables)  # 17.8 [16.5, 19.2]
    assert len(estimates) > 10
    sources = [(ROOT / f"docs/{name}/comparison.md").read_text() for name in snapshots]
    assert [each for each in estimates if not any(each in source for source in sources)] == []


def test_the_library_example_trains(likely_eos, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    small = "max_steps=1, max_completion_length=16, use_cpu=True, report_to='none', bf16=False,"
    for name, value in {
        "Qwen/Qwen2.5-0.5B-Instruct": str(likely_eos),
        'output_dir="out",': f'output_dir="out", {small} gradient_checkpointing=False,',
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
