"""The comparison as text: CSV for programs, Markdown for people, LaTeX for papers.

Markdown and LaTeX give shares in percent.
"""

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from thinktuning.analysis.cells import (
    confidence_text,
    detectable_text,
    estimate_text,
    p_value_text,
    successes_text,
)
from thinktuning.analysis.comparison import MEAN_OF_TASKS, ComparisonRow
from thinktuning.study.jobs import CompareJob


def csv_text(rows: Sequence[ComparisonRow], columns: Sequence[str]) -> str:
    """Return the given columns of rows as CSV; None and NaN become empty cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: csv_cell(value) for key, value in row.items()})
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """Return what a CSV cell shows: several values with spaces between them, NaN as nothing."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return None if is_nan(value) else value


def is_nan(value: Any) -> bool:
    """Tell whether a cell is NaN."""
    return isinstance(value, float) and math.isnan(value)


def markdown(
    job: CompareJob, rows: Sequence[ComparisonRow], training: str, commits: Sequence[str]
) -> str:
    """Return comparison.md, from the rows of comparison.csv.

    `training` is its section on training, "" for none; `commits` are those of the code that
    produced the answers.
    """
    parts = [f"# Study `{job.study}`: the methods compared", header(job, commits)]
    parts += filter(None, [surprises(job, rows)])
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        parts += [f"## {title(of_task[0])}", accuracy_table(of_task)]
        parts += filter(None, [successes_text(of_task)])
        for baseline in job.comparison.baselines:
            shown = [row for row in of_task if row["method"] != baseline]
            if shown:
                parts += [difference_table(shown, baseline, job.methods[baseline])]
    parts += filter(None, [training])
    return "\n\n".join([*parts, footnotes(job)]) + "\n"


def header(job: CompareJob, commits: Sequence[str]) -> str:
    """State the confidence level, the seeds and the commits behind the numbers."""
    lines = [f"- {confidence_text(job.comparison.confidence)} intervals in brackets."]
    seeds = next((seeds for seeds in job.seeds.values() if seeds), [])
    if len(seeds) > 1:
        listed = ", ".join(map(str, seeds))
        lines.append(f"- {len(seeds)} training seeds ({listed}) per trained method.")
        if len(seeds) == 2:
            lines[-1] += " Two have no interval over seeds: their values are shown."
    elif seeds:
        lines.append(
            f"- **One training seed** ({seeds[0]}): the intervals are over questions only, and "
            "another seed may fall outside them."
        )
    lines += filter(None, [anchors(job)])
    made = "commit" if len(commits) == 1 else f"{len(commits)} different commits"
    lines.append(f"- Answers produced by {made} {', '.join(f'`{c}`' for c in commits)}.")
    return "\n".join(lines)


def anchors(job: CompareJob) -> str:
    """State the KL term of each method's training; "" if none has one."""
    found: dict[float, list[str]] = {}
    for method, beta in job.betas.items():
        found.setdefault(beta, []).append(job.methods[method])
    if not found:
        return ""
    each = (f"{beta:g} for {', '.join(labels)}" for beta, labels in found.items())
    told = f"{next(iter(found)):g} for every trained method" if len(found) == 1 else "; ".join(each)
    return f"- KL to the base model (`training.beta`): {told}."


def surprises(job: CompareJob, rows: Sequence[ComparisonRow]) -> str:
    """List the accuracies outside `comparison.expected`, with likely causes."""
    lines = []
    for row in rows:
        band = job.comparison.expected.get(row["method"], {}).get(scope_key(row["task"]))
        if band and not band[0] <= 100 * row["mean"] <= band[1]:
            lines.append(
                f"- **{row['label']} on {row['task']}: {100 * row['mean']:.1f}% is outside the"
                f" expected {band[0]:g} to {band[1]:g}%.**"
                f" Likely causes: {'; '.join(causes(row))}."
            )
    return "\n".join(lines)


def causes(row: ComparisonRow) -> list[str]:
    """List likely causes of a surprising accuracy, those measured in the row first."""
    found = []
    if row["truncation_rate"] > 0.05:
        found.append(
            f"{100 * row['truncation_rate']:.0f}% of the answers reached the token limit (raise"
            " max_gen_toks)"
        )
    if row["no_answer_rate"] - row["truncation_rate"] > 0.05:
        found.append("many answers have no \\boxed{} (ask for it in prompt.suffix)")
    if row["error_rate"] > 0.01:
        found.append("the grader failed on some (see `verdict` in samples.jsonl)")
    return [
        *found,
        "a chat template, system prompt or suffix that differs from the published setup",
        "sampling where the published number is greedy, or zero-shot where it is few-shot",
        "another revision of the model or the data",
    ]


def scope_key(task: str) -> str:
    """Return a scope's key in `comparison.published` and `comparison.expected`."""
    return "mean" if task == MEAN_OF_TASKS else task


def title(row: ComparisonRow) -> str:
    """Return a task's heading, with its numbers of questions and samples."""
    samples = f", {row['k']} sample{'s' if row['k'] > 1 else ''} each" if row["k"] else ""
    name = "Mean of tasks" if row["task"] == MEAN_OF_TASKS else row["task"]
    return f"{name} ({row['n']} questions{samples})"


def accuracy_table(rows: Sequence[ComparisonRow]) -> str:
    """Return a task's first table: each method's accuracy, reflection rate and failures."""
    head = ["method", "seeds", "accuracy, %", "reflects, %", "tokens"]
    head += ["cut off, %", "no answer, %", "not graded, %"]
    body = [
        [
            row["label"],
            str(row["seeds"] or "-"),
            estimate_text(row, "mean", ""),
            estimate_text(row, "reflection_rate", "reflection_"),
            f"{row['mean_tokens']:.0f}",
            f"{100 * row['truncation_rate']:.1f}",
            f"{100 * row['no_answer_rate']:.1f}",
            f"{100 * row['error_rate']:.1f}",
        ]
        for row in rows
    ]
    return table(head, body)


def difference_table(rows: Sequence[ComparisonRow], baseline: str, label: str) -> str:
    """Return a task's table of differences to one baseline."""
    head = [f"minus {label}", "accuracy, points", "p", "p (Holm)", "detectable, points"]
    head += ["reflects, points"]
    body = [
        [
            row["label"],
            estimate_text(row, f"diff_{baseline}", sign="+"),
            p_value_text(row[f"diff_{baseline}_p"]),
            p_value_text(row[f"diff_{baseline}_p_holm"]),
            detectable_text(row, baseline),
            estimate_text(row, f"reflection_diff_{baseline}", sign="+"),
        ]
        for row in rows
    ]
    published = [row[f"published_{baseline}"] for row in rows]
    if any(points is not None for points in published):
        head.append("published, points")
        for line, points in zip(body, published, strict=True):
            line.append("" if points is None else f"{100 * points:+.2f}")
    return table(head, body)


def latex(job: CompareJob, rows: Sequence[ComparisonRow]) -> str:
    """Return comparison.tex: accuracies, then differences to each baseline; needs booktabs."""
    parts = [
        f"% Study {job.study}: accuracy in percent, {100 * job.comparison.confidence:g} percent"
        " intervals",
        latex_table(rows, ("mean", "ci_low", "ci_high"), sign=""),
    ]
    for baseline in job.comparison.baselines:
        shown = [row for row in rows if row["method"] != baseline]
        key = f"diff_{baseline}"
        if shown:
            parts += [f"% Minus {job.methods[baseline]}: percentage points, paired by question"]
            parts += [latex_table(shown, (key, f"{key}_ci_low", f"{key}_ci_high"), sign="+")]
    return "\n".join(parts)


def latex_table(rows: Sequence[ComparisonRow], keys: tuple[str, str, str], sign: str) -> str:
    """Return a table of methods by tasks; a cell is a value and, in smaller type, its interval.

    Without an interval the value stands alone.
    """
    import pandas as pd

    def cell(row: ComparisonRow) -> str:
        value, *ends = ("" if row[key] is None else f"{100 * row[key]:{sign}.1f}" for key in keys)
        return f"${value}$ {{\\scriptsize $[{', '.join(ends)}]$}}" if all(ends) else f"${value}$"

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    cells = {
        escaped(task): {row["method"]: cell(row) for row in rows if row["task"] == task}
        for task in tasks
    }
    labels = {row["method"]: escaped(row["label"]) for row in rows}
    style = pd.DataFrame(cells).rename(index=labels).style
    text: str = style.to_latex(hrules=True, column_format="l" + "r" * len(tasks))
    return text


def escaped(text: str) -> str:
    """Escape LaTeX's special characters."""
    return re.sub(r"([&%$#_{}])", r"\\\1", text).replace("~", r"\textasciitilde{}")


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [head, [":--"] + ["--:"] * (len(head) - 1), *body]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def footnotes(job: CompareJob) -> str:
    """Explain the columns."""
    notes = [
        "**accuracy**: the mean over questions of each question's share of correct samples. Its "
        "interval is over questions or, for a method trained with several seeds, over seeds "
        "crossed with questions. Two seeds, or seeds that succeed or fail, have no interval.",
        "**reflects**: the share of answers with at least one reflective behavior.",
        "**cut off**: reached the token limit. **not graded**: the grader failed or timed out. "
        "Both count as wrong.",
    ]
    if job.comparison.baselines:
        notes.append(
            "**minus**: the difference, paired by question and, between trained methods, by seed. "
            "**p**: of no difference, by the test that the interval comes from; neither is "
            "adjusted. **p (Holm)**: adjusted for all differences on this page, tasks x pairs of "
            "methods; those of the mean of tasks are a family of their own. **detectable**: the "
            "true difference that such a comparison finds four times in five."
        )
    if len(job.tasks) > 1:
        notes.append("**Mean of tasks**: all tasks have equal weight.")
    return "\n".join(f"- {note}" for note in notes)
