"""The report: its tables, its content security policy, and broken files."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from finished_study import HARMLESS, JOB, write_page, write_results

from thinktuning.analysis.report.page import content_hash, read_table
from thinktuning.commands.report import report
from thinktuning.io.errors import StudyError
from thinktuning.study.config import ComparisonConfig


class Elements(HTMLParser):
    """Collects a page's elements, and its texts by tag."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.found:
            self.texts[self.found[-1][0]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}))
        self.texts.setdefault("", []).append("")


def cells(page: Path) -> list[str]:
    elements = Elements(page)
    return [text.strip() for tag in ("th", "td", "h2") for text in elements.texts[tag]]


def test_the_page_shows_accuracies_costs_and_commits(tmp_path: Path) -> None:
    found = cells(write_page(tmp_path, HARMLESS))
    assert "Mean of tasks (4 questions)" in found
    assert {"50.0 [25.0, 75.0]", "+37.5 [-10.0, +85.0]", "< 0.001", "12.5 [12.5, 12.5]"} <= {*found}
    assert {"<i>a & b</i>", "minus zero-shot, points"} <= {*found}
    assert {"train", "1.5", "12,345", "67", "1,000", "mean"} <= {*found}  # cost, in minutes
    assert "c0ffee0, c0ffee1" in found


def test_a_name_that_reads_as_a_number_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "comparison.csv"
    path.write_text("method,label,task,mean\ngrpo,1e-4,0020,0.5\nnan,inf,sums,\n")
    assert read_table(path, ["label"]) == [
        {"method": "grpo", "label": "1e-4", "task": "0020", "mean": 0.5},
        {"method": "nan", "label": "inf", "task": "sums", "mean": None},
    ]


def test_the_page_states_the_confidence_that_it_has(tmp_path: Path) -> None:
    job = JOB.model_copy(update={"comparison": ComparisonConfig(baselines=[], confidence=0.995)})
    write_results(tmp_path, HARMLESS)
    report(job, tmp_path, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "99.5% intervals in brackets" in text and "if its 99.5% interval excludes" in text
    assert "is below 0.005." in text


def test_the_page_shows_what_was_taught(tmp_path: Path) -> None:
    page = write_page(tmp_path, HARMLESS)
    assert {"Training", "parsed, %", "1,234.5", "32.1", "no signal, %"} <= {*cells(page)}
    assert "(taught 0 of N asked)" in page.read_text()


def test_the_page_shows_behaviors_and_answer_changes(tmp_path: Path) -> None:
    found = cells(write_page(tmp_path, HARMLESS))
    assert {"Answer changes", "wrong to right, %", "12.3", "0.0", "80.0", ""} <= {*found}
    assert {"Behaviors (mean of tasks)", "self-conflict, %", "45.6", "5"} <= {*found}


def test_the_page_is_reproducible_and_self_contained(tmp_path: Path) -> None:
    page = write_page(tmp_path, HARMLESS)
    first = page.read_bytes()
    report(JOB, tmp_path, page)
    assert page.read_bytes() == first
    elements = Elements(page)
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in elements.found]
    links = [source for source in sources if source]
    assert len(links) > 5
    assert [
        link for link in links if not link.startswith(("data:image/svg+xml;base64,", "#"))
    ] == []
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)


def test_the_policy_allows_only_our_own_script_and_style(tmp_path: Path) -> None:
    elements = Elements(write_page(tmp_path, HARMLESS))
    (policy,) = (
        attributes["content"]
        for _, attributes in elements.found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    data, script = elements.texts["script"]
    (style,) = elements.texts["style"]
    assert json.loads(data)["texts"]
    assert policy == (
        f"default-src 'none'; script-src '{content_hash(script)}'; style-src"
        f" '{content_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_a_study_without_training_has_no_viewer(tmp_path: Path) -> None:
    write_results(tmp_path, HARMLESS)
    job = JOB.model_copy(update={"seeds": {"base": [], "taught": []}, "methods": {"base": "base"}})
    report(job, tmp_path, tmp_path / "index.html")
    tags = [tag for tag, _ in Elements(tmp_path / "index.html").found]
    assert "table" in tags
    assert "script" not in tags


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        ("tables/comparison.csv", None, "cannot be read .*`snakemake .*` writes it"),
        ("tables/comparison.csv", "method,task\n", "has no column label, n, .*diff_base; "),
        ("tables/cost.csv", "", "has no column stage, wall_seconds"),
        ("tables/training.csv", "label,seed", "has no column num_batches, num_guided"),
        ("runs/taught/seed1/metrics.jsonl", "{}", "rows without rollout_batch, guidance_rate"),
        ("plots/accuracy.svg", None, "cannot be read"),
        ("runs/taught/seed1/rollouts.jsonl", None, "cannot be read"),
        (
            "runs/taught/seed1/rollouts.jsonl",
            '{"step": 1}',
            "rollout 1: advantage, asked, .* missing",
        ),
        ("runs/taught/seed1/rollouts.jsonl", "{", "rollouts.jsonl:1: is not valid JSON"),
        ("eval/taught/seed1/sums/results.json", "{}", "has no commit"),
    ],
)
def test_broken_files_are_refused_by_name(
    tmp_path: Path, path: str, damage: str | None, message: str
) -> None:
    write_results(tmp_path, HARMLESS)
    if damage is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_text(damage)
    with pytest.raises(StudyError, match=message) as caught:
        report(JOB, tmp_path, tmp_path / "index.html")
    assert path in str(caught.value)
    assert not (tmp_path / "index.html").exists()
