"""The comparison's tables: columns, Markdown, LaTeX, costs."""

from pathlib import Path

import pytest
from answered_study import BASE, METHOD, ONE_SEED, read, run_compare, study

from thinktuning.analysis.tables import escaped, header
from thinktuning.study.config import ComparisonConfig


def test_columns_and_markdown(tmp_path: Path) -> None:
    rows = run_compare(tmp_path, study([0]), ONE_SEED)
    assert list(rows[0]) == [
        *("method", "label", "task", "seeds", "n", "k", "mean", "ci_low", "ci_high"),
        *("reflection_rate", "reflection_ci_low", "reflection_ci_high"),
        *(
            "pass_at_k",
            "reflection_pass_at_k",
            "maj_at_k",
            "mean_tokens",
            "truncation_rate",
            "no_answer_rate",
            "error_rate",
        ),
        *("seed_values", "seeds_above", "seeds_above_ci_low", "seeds_above_ci_high"),
        *("seeds_threshold", "reflection_seed_values", "reflection_seeds_above"),
        *("reflection_seeds_above_ci_low", "reflection_seeds_above_ci_high"),
        *("reflection_seeds_threshold", "diff_base", "diff_base_ci_low", "diff_base_ci_high"),
        *("diff_base_p", "diff_base_p_holm", "mde_base", "diff_base_seed_values"),
        *("reflection_diff_base", "reflection_diff_base_ci_low", "reflection_diff_base_ci_high"),
        *("reflection_diff_base_seed_values", "published_base"),
    ]
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "**One training seed** (0)" in text
    assert "`c0ffee`" in text
    assert "## sums (4 questions, 2 samples each)" in text
    assert "| a\\|b | 1 | 87.5 [25.3, 100.0] | 50.0 [15.7, 84.3] | 11 | 12.5 |" in text
    assert "| a\\|b | +37.5 [-73.5, +100.0] | 0.478 | 0.478 | none |" in text


def test_published_differences_and_unexpected_accuracies(tmp_path: Path) -> None:
    comparison = ComparisonConfig(
        baselines=["base"],
        published={"method": {"base": {"sums": 2.08}}},
        expected={"base": {"sums": [70, 80]}, "method": {"sums": [80, 90]}},
    )
    job = study([0]).model_copy(update={"comparison": comparison})
    rows = run_compare(tmp_path, job, ONE_SEED)
    assert [row["published_base"] for row in rows] == ["", "0.0208"]
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| reflects, points | published, points |" in text and "| +2.08 |" in text
    assert text.count("is outside the expected") == 1
    assert "**zero-shot on sums: 50.0% is outside the expected 70 to 80%.**" in text
    assert "50% of the answers reached the token limit" in text
    assert "the grader failed on some" in text


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_the_header_warns_of_few_seeds(num_seeds: int) -> None:
    text = header(study(list(range(num_seeds))), ["c0ffee"])
    assert ("**One training seed**" in text) == (num_seeds == 1)
    assert ("Two have no interval over seeds" in text) == (num_seeds == 2)


@pytest.mark.parametrize(("confidence", "text"), [(0.95, "95%"), (0.995, "99.5%"), (0.57, "57%")])
def test_the_header_states_the_confidence(confidence: float, text: str) -> None:
    comparison = ComparisonConfig(baselines=["base"], confidence=confidence)
    job = study([0]).model_copy(update={"comparison": comparison})
    assert header(job, ["c0ffee"]).startswith(f"- {text} intervals in brackets.")


def test_latex(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    text = (tmp_path / "tables/comparison.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    assert r"a|b & $87.5$ {\scriptsize $[25.3, 100.0]$} \\" in text
    assert r"a|b & $+37.5$ {\scriptsize $[-73.5, +100.0]$} \\" in text
    assert escaped("50% of a_b & {c}") == r"50\% of a\_b \& \{c\}"


def test_costs_by_stage_and_seed(tmp_path: Path) -> None:
    correct = {("method", s, "sums"): METHOD for s in (0, 1, 2)} | {("base", 0, "sums"): BASE}
    run_compare(tmp_path, study([0, 1, 2]), correct)
    assert (tmp_path / "tables/cost.csv").read_text().splitlines() == [
        "method,label,stage,seed,wall_seconds,num_generated_tokens,num_teacher_tokens,peak_memory_mb",
        "base,zero-shot,evaluate,mean,5.0,88.0,0.0,50.0",
        "method,a|b,train,0,10.0,0,7,100.0",
        "method,a|b,train,1,11.0,1000,7,100.0",
        "method,a|b,train,2,12.0,2000,7,100.0",
        "method,a|b,train,mean,11.0,1000.0,7.0,100.0",
        "method,a|b,evaluate,0,5.0,88,0,50.0",
        "method,a|b,evaluate,1,6.0,88,0,51.0",
        "method,a|b,evaluate,2,7.0,88,0,52.0",
        "method,a|b,evaluate,mean,6.0,88.0,0.0,51.0",
    ]


def test_a_study_without_training(tmp_path: Path) -> None:
    """Its methods are evaluated once, under the first seed; results of other seeds are not read."""
    rows = run_compare(tmp_path, study([]), ONE_SEED | {("base", 5, "sums"): [[0, 0]]})
    assert [row["seeds"] for row in rows] == ["0", "0"]
    assert [float(row["mean"]) for row in rows] == [0.5, 0.875]
    assert {row["stage"] for row in read(tmp_path / "tables/cost.csv")} == {"evaluate"}
    assert (
        "No method of this study is trained" in (tmp_path / "plots/learning_curves.svg").read_text()
    )
