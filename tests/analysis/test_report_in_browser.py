"""The report in headless Chromium: untrusted rollouts, filters, keyboard, size."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMEDRIVER, CHROMIUM, MISSING, Browser, browser
from finished_study import HARMLESS, rollout, write_page

DOWN, END, HOME = "\ue015", "\ue010", "\ue011"  # WebDriver's codes of the keys
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip(MISSING)
    with browser() as session:
        yield session


def text_of(chromium: Browser, name: str) -> str:
    return str(chromium.run(f"return document.getElementById('{name}').textContent.toWellFormed()"))


def choose(chromium: Browser, **filters: str) -> str:
    """Set filters as a user would; return the status."""
    values = json.dumps({"method": "", "seed": "", "verdict": "", "teacher": ""} | filters)
    chromium.run(
        f"for (const [id, value] of Object.entries({values}))"
        " document.getElementById(id).value = value;"
        "document.getElementById('filters').dispatchEvent(new Event('input'));"
    )
    return text_of(chromium, "status")


def coded(text: str) -> str:
    """Return a hostile text as the page shows it: control characters as codes."""
    codes = {"\u2028": "2028", "\u2029": "2029", "\r": "000D", "\x00": "0000", "\x1b": "001B"}
    codes |= {"\u202e": "202E", "\u2066": "2066", "\ufeff": "FEFF"}
    for character, code in codes.items():
        text = text.replace(character, f"\u27e8U+{code}\u27e9")
    return text.replace("\ud83d", "\ufffd")  # half a surrogate pair: `toWellFormed`


def test_hostile_rollouts_are_shown_as_text(tmp_path: Path, chromium: Browser) -> None:
    controls = ["NUL \x00 and \x1b[31m", "\u202eright to left\u2066", "\ufeff\u0645\u0631\u062d"]
    texts = [*HOSTILE, *controls]
    rows = [rollout(text, question=text, taught=True) for text in texts]
    chromium.open(write_page(tmp_path, {0: rows, 1: []}))
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
    """If a text became markup after all, it could not do anything."""
    chromium.open(write_page(tmp_path, HARMLESS))
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
    chromium.open(write_page(tmp_path, rows))
    assert choose(chromium) == "5 of 5 rollouts"
    for filters, expected in (
        ({"seed": "1"}, 2),
        ({"step": "2"}, 2),
        ({"method": "taught", "seed": "0"}, 3),
        ({"verdict": "student_wrong"}, 3),
        ({"verdict": "right"}, 2),
        ({"verdict": "fixed"}, 1),
        ({"verdict": "broken"}, 0),
        ({"verdict": "ungraded"}, 1),
        ({"teacher": "taught"}, 1),
        ({"teacher": "untaught"}, 4),
        ({"teacher": "dropped"}, 1),
        ({"search": "ALPHA"}, 1),  # case-insensitive
        ({"search": "p[ha"}, 1),  # not a regular expression
        ({"search": "no format"}, 1),  # also in the teacher's reply
        ({"search": "wait:"}, 1),
    ):
        found = choose(chromium, **({"step": "", "search": ""} | filters))
        assert (filters, found) == (filters, f"{expected} of 5 rollouts")
    choose(chromium, step="", search="no format")
    assert text_of(chromium, "spliced") == "nothing: the reply is malformed"
    chromium.run("document.querySelector('#filters [type=reset]').click()")
    chromium.run("return new Promise((done) => setTimeout(done, 50))")
    assert text_of(chromium, "status") == "5 of 5 rollouts"
    choose(chromium, search="nothing has this")
    assert chromium.run("return document.getElementById('rollout').hidden") is True


def test_the_keyboard_moves_through_the_list(tmp_path: Path, chromium: Browser) -> None:
    rows = [rollout(f"text {i}") for i in range(1000)]
    chromium.open(write_page(tmp_path, {0: rows, 1: []}))

    def chosen() -> tuple[str, str]:
        """Return the rollout that is shown, and the one that a screen reader announces."""
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
    chromium.open(write_page(tmp_path, {0: rows, 1: []}))
    visible = "return document.querySelectorAll('#rows > [role=option]').length"
    assert 10 < chromium.run(visible) < 40
    chromium.run("document.getElementById('list').scrollTop = 500 * 28")
    shown = "return [...document.querySelectorAll('#rows > *')].map((r) => r.lastChild.textContent)"
    deadline = time.monotonic() + 10
    while "text 505" not in chromium.run(shown) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "text 505" in chromium.run(shown)
    assert chromium.run(visible) < 40


def test_a_text_of_a_megabyte_is_truncated(tmp_path: Path, chromium: Browser) -> None:
    rows = [rollout("x" * 1_000_000, taught=True), rollout("<" * 1_000_000)]
    page = write_page(tmp_path, {0: rows, 1: []})
    assert page.stat().st_size < 500_000
    chromium.open(page)
    shown = text_of(chromium, "student")
    assert shown == "x" * 20_000 + "\n[... 980,000 more characters, in rollouts.jsonl]"
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert chromium.run(f"return {overflow}") == 0


@pytest.mark.slow
def test_ten_thousand_rollouts_open(tmp_path: Path, chromium: Browser) -> None:
    rows = [
        rollout(f"{i} " + f"word{i} " * 50, step=i // 16, taught=i % 3 == 0) for i in range(10_000)
    ]
    page = write_page(tmp_path, {0: rows[:6000], 1: rows[6000:]})
    assert page.stat().st_size < 5_000_000
    chromium.open(page)  # perf/report.py measures how long it takes
    assert re.fullmatch(
        r"([\d,]+) of \1 rollouts, a random sample of the 10,000 in rollouts.jsonl",
        text_of(chromium, "status"),
    )
