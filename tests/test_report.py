"""The report: the page and, in headless Chromium, what it does with rollouts that mean harm."""

import csv
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMEDRIVER, CHROMIUM, MISSING, Browser, browser

from thinktuning.behaviours import PATTERNS
from thinktuning.config import CompareRun
from thinktuning.errors import StudyError
from thinktuning.report import content_hash, report
from thinktuning.schema import Comparison

DOWN, END, HOME = "\ue015", "\ue010", "\ue011"  # as WebDriver calls the keys
RUN = CompareRun(
    study="tiny",
    methods={"base": "zero-shot", "taught": "<i>a & b</i>"},
    seeds={"base": [], "taught": [0, 1]},
    evaluated_seeds={"base": [0], "taught": [0, 1]},
    tasks=["sums", "products"],
    comparison=Comparison(baselines=["base"]),
)
SCRIPT = "<script>document.title = 'pwned'</script>"
HOSTILE = [
    SCRIPT,
    f"</script>{SCRIPT}",
    f"</script {SCRIPT}",
    f"<!-- <script> {SCRIPT}",
    "<!--<script never ends",
    "--><img src=x onerror=\"document.title = 'pwned'\">",
    "<svg onload=\"document.title='pwned'\"><b>bold</b>",
    "{{ 7 * 7 }} ${7 * 7} &lt;&amp;",
    '"];document.title="pwned";["',
    "]]></textarea></style></title>",
    "<base href=//example.org><meta http-equiv=refresh content=0;url=//example.org>",
    "line\u2028separator\u2029and\r\nreturn",
    "lone surrogate \ud83d, a pair \U0001f600",
]


def rollout(text: str, **changes: Any) -> dict[str, Any]:
    """A row of rollouts.jsonl; the student says `text`, the teacher adds to it if `taught`."""
    taught = changes.get("taught", False)
    row = {"step": 1, "question": "1 + 1 = ?", "student_text": text}
    row |= {"text": f"{text}\n\nWait: {text}" if taught else text}
    row |= {"student_reward": 0.0, "reward": 1.0 if taught else 0.0, "advantage": -0.5}
    row |= {"student_length": 3, "completion_length": 9, "asked": taught, "parsed": taught}
    row |= {"taught": taught, "teacher_reply": f"<reason>{text}</reason>" if taught else None}
    return row | changes


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_results(results: Path, rollouts: dict[int, list[dict[str, Any]]]) -> None:
    """Write what the earlier stages leave; `rollouts` of each seed."""
    shares = {"mean": 0.5, "ci_low": 0.25, "ci_high": 0.75}
    shares |= {f"reflection_{key}": 0.125 for key in ("rate", "ci_low", "ci_high")}
    gain = {"diff_base": 0.375, "diff_base_ci_low": -0.1, "diff_base_ci_high": 0.85}
    comparison = [
        {"method": method, "label": label, "task": task, "n": 4, "mean_tokens": 12.4}
        | shares
        | (gain if method == "taught" else dict.fromkeys(gain))
        | {"diff_base_p": 0.0004 if method == "taught" else None}
        for task in ("sums", "products", "mean of tasks")
        for method, label in RUN.methods.items()
    ]
    write_table(results / "tables/comparison.csv", comparison)
    cost = {"method": "taught", "label": RUN.methods["taught"], "stage": "train"}
    cost |= {"seed": "mean", "wall_seconds": 90.0, "num_generated_tokens": 12345.0}
    cost |= {"num_teacher_tokens": 67.0, "peak_memory_mb": 1000.4}
    write_table(results / "tables/cost.csv", [cost])
    flips = {"wrong_to_right": 0.123, "right_to_wrong": 0, "right_to_right": 0.8}
    row = {"method": "taught", "label": "taught", "task": "sums"} | flips | {"wrong_to_wrong": None}
    write_table(results / "tables/flips.csv", [row])
    rates = {f"{name}_rate": 0.456 for name in PATTERNS} | {"mean_words": 5.2}
    row = {"method": "taught", "label": "taught", "task": "mean of tasks"} | rates
    write_table(results / "tables/behaviours.csv", [row])
    for name in ("accuracy", "differences", "flips", "learning_curves"):
        path = results / f"plots/{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"/>')
    for seed, rows in rollouts.items():
        directory = results / f"runs/taught/seed{seed}"
        write_rows(directory / "rollouts.jsonl", rows)
        made = {"commit": f"c0ffee{seed}", "python": "3.11.7", "versions": {"torch": "2.13"}}
        (directory / "provenance.json").write_text(json.dumps(made))
    for evaluation in ("base/seed0", "taught/seed0", "taught/seed1"):
        for task in RUN.tasks:
            path = results / f"eval/{evaluation}/{task}/results.json"
            path.parent.mkdir(parents=True)
            path.write_text('{"commit": "c0ffee0"}')


def make_page(directory: Path, rollouts: dict[int, list[dict[str, Any]]]) -> Path:
    """Write results and their report."""
    page = directory / "index.html"
    write_results(directory, rollouts)
    report(RUN, directory, page)
    return page


HARMLESS = {0: [rollout("a"), rollout("b", taught=True)], 1: [rollout("c")]}


class Elements(HTMLParser):
    """Collects a page's elements, and the text of each kind."""

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


def test_tables_of_the_page(tmp_path: Path) -> None:
    found = cells(make_page(tmp_path, HARMLESS))
    assert "Mean of tasks (4 questions)" in found
    assert {"50.0 [25.0, 75.0]", "+37.5 [-10.0, +85.0]", "< 0.001", "12.5 [12.5, 12.5]"} <= {*found}
    assert {"<i>a & b</i>", "minus zero-shot, points"} <= {*found}
    assert {"train", "1.5", "12,345", "67", "1,000", "mean"} <= {*found}  # cost, in minutes
    assert "c0ffee0, c0ffee1" in found


def test_flips_and_behaviours_are_shown(tmp_path: Path) -> None:
    found = cells(make_page(tmp_path, HARMLESS))
    assert {"Answer flips", "wrong to right, %", "12.3", "0.0", "80.0", ""} <= {*found}
    assert {"Behaviours (mean of tasks)", "self-conflict, %", "45.6", "5"} <= {*found}


def test_the_page_repeats_and_needs_nothing_else(tmp_path: Path) -> None:
    page = make_page(tmp_path, HARMLESS)
    first = page.read_bytes()
    report(RUN, tmp_path, page)
    assert page.read_bytes() == first
    elements = Elements(page)
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in elements.found]
    links = [source for source in sources if source]
    assert len(links) > 5
    assert [
        link for link in links if not link.startswith(("data:image/svg+xml;base64,", "#"))
    ] == []
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)


def test_the_policy_allows_our_own_script_and_style_alone(tmp_path: Path) -> None:
    elements = Elements(make_page(tmp_path, HARMLESS))
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
    run = RUN.model_copy(update={"seeds": {"base": [], "taught": []}, "methods": {"base": "base"}})
    report(run, tmp_path, tmp_path / "index.html")
    tags = [tag for tag, _ in Elements(tmp_path / "index.html").found]
    assert "table" in tags
    assert "script" not in tags


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        ("tables/comparison.csv", None, "cannot be read .*`snakemake .*` writes it"),
        ("tables/comparison.csv", "method,task\n", "has no column label, n, .*diff_base; "),
        ("tables/cost.csv", "", "has no column stage, wall_seconds"),
        ("plots/accuracy.svg", None, "cannot be read"),
        ("runs/taught/seed1/rollouts.jsonl", None, "cannot be read"),
        ("runs/taught/seed1/rollouts.jsonl", '{"step": 1}', "rollout 1 has no advantage, asked"),
        ("runs/taught/seed1/rollouts.jsonl", "{", "rollouts.jsonl:1: is not valid JSON"),
        ("eval/taught/seed1/sums/results.json", "{}", "has no commit"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, path: str, damage: str | None, message: str
) -> None:
    write_results(tmp_path, HARMLESS)
    if damage is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_text(damage)
    with pytest.raises(StudyError, match=message) as caught:
        report(RUN, tmp_path, tmp_path / "index.html")
    assert path in str(caught.value)
    assert not (tmp_path / "index.html").exists()


# --- in Chromium ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip(MISSING)
    with browser() as session:
        yield session


def text_of(chromium: Browser, name: str) -> str:
    return str(chromium.run(f"return document.getElementById('{name}').textContent.toWellFormed()"))


def choose(chromium: Browser, **filters: str) -> str:
    """Set filters as a user would, and return the status."""
    values = json.dumps({"method": "", "seed": "", "verdict": "", "teacher": ""} | filters)
    chromium.run(
        f"for (const [id, value] of Object.entries({values}))"
        " document.getElementById(id).value = value;"
        "document.getElementById('filters').dispatchEvent(new Event('input'));"
    )
    return text_of(chromium, "status")


def coded(text: str) -> str:
    """What the page shows of the hostile texts' characters that are not text."""
    codes = {"\u2028": "2028", "\u2029": "2029", "\r": "000D", "\x00": "0000", "\x1b": "001B"}
    codes |= {"\u202e": "202E", "\u2066": "2066", "\ufeff": "FEFF"}
    for character, code in codes.items():
        text = text.replace(character, f"\u27e8U+{code}\u27e9")
    return text.replace("\ud83d", "\ufffd")  # half a character: `toWellFormed`


def test_hostile_rollouts_are_text(tmp_path: Path, chromium: Browser) -> None:
    controls = ["NUL \x00 and \x1b[31m", "\u202eright to left\u2066", "\ufeff\u0645\u0631\u062d"]
    texts = [*HOSTILE, *controls]
    rows = [rollout(text, question=text, taught=True) for text in texts]
    chromium.open(make_page(tmp_path, {0: rows, 1: []}))
    chromium.run("document.getElementById('list').focus()")
    for text in texts:
        assert text_of(chromium, "question") == coded(text)
        assert text_of(chromium, "student") == coded(text)
        assert text_of(chromium, "reply") == f"<reason>{coded(text)}</reason>"
        assert text_of(chromium, "spliced") == f"{coded(text)}\n\nWait: {coded(text)}"
        mark = "document.querySelector('#spliced mark').textContent.toWellFormed()"
        assert chromium.run(f"return {mark}") == f"\n\nWait: {coded(text)}"
        chromium.press("j")
    assert chromium.run("return document.title") == "tiny: ThinkTuning report"
    foreign = "#viewer :is(script, img, svg, b, base, meta, iframe)"
    assert chromium.run(f"return document.querySelectorAll('{foreign}').length") == 0
    assert chromium.run("return document.scripts.length") == 2
    assert chromium.log() == []


def test_the_policy_refuses_scripts_handlers_and_requests(
    tmp_path: Path, chromium: Browser
) -> None:
    """Were a text to become markup after all, it could do nothing."""
    chromium.open(make_page(tmp_path, HARMLESS))
    chromium.run(
        """
        const script = document.createElement("script");
        script.textContent = "document.title = 'pwned'";
        document.body.append(script);
        document.body.insertAdjacentHTML(
            "beforeend",
            `<img src="data:," onerror="document.title = 'pwned'">
             <img src="https://example.org/?leak"><p id="styled" style="color: red">x</p>`,
        );
        """
    )
    deadline, refused = time.monotonic() + 10, ""
    while time.monotonic() < deadline and refused.count("violates the following") < 4:
        refused += "\n".join(chromium.log())
        time.sleep(0.05)
    for directive in ("script-src", "img-src", "style-src"):
        assert re.search(f"violates the following.*{directive}", refused)
    assert chromium.run("return document.title") == "tiny: ThinkTuning report"


def test_filters_and_search(tmp_path: Path, chromium: Browser) -> None:
    rows = {
        0: [
            rollout("Alpha", taught=True),
            rollout("beta", step=2, student_reward=1.0, reward=1.0),
            rollout("gamma", step=2, asked=True, teacher_reply="no format"),
        ],
        1: [rollout("delta", step=3, student_reward=None, reward=None), rollout("alp[ha")],
    }
    chromium.open(make_page(tmp_path, rows))
    assert choose(chromium) == "5 of 5 rollouts"
    for filters, expected in (
        ({"seed": "1"}, 2),
        ({"step": "2"}, 2),
        ({"method": "taught", "seed": "0"}, 3),
        ({"verdict": "student_wrong"}, 3),
        ({"verdict": "right"}, 2),
        ({"verdict": "mended"}, 1),
        ({"verdict": "spoiled"}, 0),
        ({"verdict": "ungraded"}, 1),
        ({"teacher": "taught"}, 1),
        ({"teacher": "untaught"}, 4),
        ({"teacher": "dropped"}, 1),
        ({"search": "ALPHA"}, 1),  # in any case,
        ({"search": "p[ha"}, 1),  # and no pattern;
        ({"search": "no format"}, 1),  # in the teacher's reply too
        ({"search": "wait:"}, 1),
    ):
        found = choose(chromium, **({"step": "", "search": ""} | filters))
        assert (filters, found) == (filters, f"{expected} of 5 rollouts")
    choose(chromium, step="", search="no format")
    assert text_of(chromium, "spliced") == "nothing: the reply is not in the format"
    chromium.run("document.querySelector('#filters [type=reset]').click()")
    chromium.run("return new Promise((done) => setTimeout(done, 50))")
    assert text_of(chromium, "status") == "5 of 5 rollouts"
    choose(chromium, search="nothing has this")
    assert chromium.run("return document.getElementById('rollout').hidden") is True


def test_the_keyboard_moves_through_the_list(tmp_path: Path, chromium: Browser) -> None:
    rows = [rollout(f"text {i}") for i in range(1000)]
    chromium.open(make_page(tmp_path, {0: rows, 1: []}))

    def chosen() -> tuple[str, str]:
        """The rollout shown, and the one that a screen reader is told."""
        active = "document.getElementById('list').getAttribute('aria-activedescendant')"
        option = f"document.getElementById({active})"
        selected = chromium.run(f"return {option}.lastChild.textContent")
        assert chromium.run(f"return {option}.getAttribute('aria-selected')") == "true"
        return text_of(chromium, "student"), selected

    assert chosen() == ("text 0", "text 0")
    chromium.run("document.getElementById('list').focus()")
    for keys, expected in (
        ([DOWN, "j", "j"], "text 3"),
        (["k"], "text 2"),
        ([END], "text 999"),
        ([DOWN], "text 999"),
        ([HOME], "text 0"),
    ):
        chromium.press(*keys)
        assert chosen() == (expected, expected)
    chromium.press("/", "7", "7", "7")
    assert chromium.run("return document.activeElement.id") == "search"
    assert text_of(chromium, "status") == "1 of 1,000 rollouts"
    assert text_of(chromium, "student") == "text 777"


def test_only_the_visible_rows_are_in_the_document(tmp_path: Path, chromium: Browser) -> None:
    rows = [rollout(f"text {i}") for i in range(1000)]
    chromium.open(make_page(tmp_path, {0: rows, 1: []}))
    visible = "return document.querySelectorAll('#rows > [role=option]').length"
    assert 10 < chromium.run(visible) < 40
    chromium.run("document.getElementById('list').scrollTop = 500 * 28")
    shown = "return [...document.querySelectorAll('#rows > *')].map((r) => r.lastChild.textContent)"
    deadline = time.monotonic() + 10
    while "text 505" not in chromium.run(shown) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "text 505" in chromium.run(shown)
    assert chromium.run(visible) < 40


def test_a_line_of_a_megabyte_is_cut(tmp_path: Path, chromium: Browser) -> None:
    rows = [rollout("x" * 1_000_000, taught=True), rollout("<" * 1_000_000)]
    page = make_page(tmp_path, {0: rows, 1: []})
    assert page.stat().st_size < 500_000
    chromium.open(page)
    shown = text_of(chromium, "student")
    assert shown == "x" * 20_000 + "\n[... 980,000 more characters, in rollouts.jsonl]"
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert chromium.run(f"return {overflow}") == 0


@pytest.mark.slow
def test_ten_thousand_rollouts_open_in_time(tmp_path: Path, chromium: Browser) -> None:
    rows = [
        rollout(f"{i} " + f"word{i} " * 50, step=i // 16, taught=i % 3 == 0) for i in range(10_000)
    ]
    page = make_page(tmp_path, {0: rows[:6000], 1: rows[6000:]})
    assert page.stat().st_size < 5_000_000
    started = time.perf_counter()
    chromium.open(page)
    assert time.perf_counter() - started < 2
    assert re.fullmatch(
        r"([\d,]+) of \1 rollouts, drawn at random from the 10,000 in rollouts.jsonl",
        text_of(chromium, "status"),
    )
