"""The grader's pool: verdicts, and the cost of hostile answers."""

import itertools
import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from thinktuning.grading.grader import PASSES, Grader, Verdict, limit_of_pass

TIME_LIMIT = 2.0
BIG_POWER = "9^{9^{9^9}}"
LONG_SUM = r"\sum_{k=1}^{1000000000} \sin(k^2)"


@pytest.fixture(scope="module")
def grader():
    with Grader(time_limit=TIME_LIMIT) as grader:
        yield grader


def test_verdicts_keep_the_order_of_the_answers(grader):
    verdicts = grader.grade(
        ["7", None, r"\frac{14}{2}", "8", "(B)", r"\frac{1}{2}", "no", r"\frac{14}{2}"],
        ["7", "7", "7", "7", "B", "0.5", "yes", "8"],
        ["number"] * 4 + ["letter", "latex", "yes_no", "number"],
    )
    assert [str(verdict) for verdict in verdicts] == [
        "correct",
        "no_answer",
        "correct",
        "incorrect",
        "correct",
        "correct",
        "incorrect",
        "incorrect",
    ]


def test_plain_answers_start_no_process():
    before = multiprocessing.active_children()
    with Grader() as grader:
        verdicts = grader.grade(["7", "8", None], ["7", "7", "7"], "number")
        assert multiprocessing.active_children() == before
    assert verdicts == [Verdict.correct, Verdict.incorrect, Verdict.no_answer]


def test_leaving_the_block_ends_the_workers():
    before = set(multiprocessing.active_children())
    with Grader(num_workers=2) as grader:
        assert grader.grade([r"\sqrt{4}"], ["2"], "number") == [Verdict.correct]
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize(
    "answer",
    [
        "9^9^9^9",
        BIG_POWER,
        "{" * 50_000 + "}" * 50_000,
        "{}" * 50_000,
        "7\0",
        "\0",
        "7\ud800",
        "\\" * 100_000,
    ],
    ids=[
        "powers",
        "braced powers",
        "nested braces",
        "braces",
        "7 NUL",
        "NUL",
        "surrogate",
        "slashes",
    ],
)
def test_a_hostile_answer_costs_at_most_the_time_limit(grader, answer):
    grader.grade([r"\sqrt{4}"], ["2"], "number")  # starts the worker
    start = time.monotonic()
    (verdict,) = grader.grade([answer], ["7"], "number")
    assert time.monotonic() - start < TIME_LIMIT + 20  # including the start of a new worker
    assert verdict in (Verdict.incorrect, Verdict.timeout, Verdict.error)
    assert grader.grade([r"\sqrt{4}"], ["2"], "number") == [Verdict.correct]


def test_a_repeated_answer_times_out_once(grader):
    start = time.monotonic()
    verdicts = grader.grade([LONG_SUM, r"\sqrt{4}"] * 20, ["7", "2"] * 20, "latex")
    assert verdicts == [Verdict.timeout, Verdict.correct] * 20
    assert time.monotonic() - start < 20 * TIME_LIMIT  # it is graded once


def test_a_batch_has_a_budget():
    def shares(count, pending):
        return [
            limit_of_pass(*limits, count, left)
            for limits, left in zip(PASSES, pending, strict=True)
        ]

    assert shares(200, (200, 8, 4)) == [1 / 16, 1 / 4, 1]
    assert shares(2, (2, 2, 2)) == [1 / 16, 1 / 4, 1]
    assert shares(200, (200, 40, 16)) == [1 / 16, 1 / 10, 1 / 4]
    assert max(shares(200, (200, 200, 200))[1:]) < 1 / 16  # nobody gets a second chance
    for count, pending in itertools.product((1, 64, 200, 5000), repeat=2):
        cost = sum(pending * share for share in shares(count, [pending] * 3))
        assert pending > count or cost <= 20.5 * max(count / 200, 1)


@pytest.mark.slow
def test_the_limit_is_cpu_time_so_a_busy_machine_gives_the_same_verdicts():
    answers = [r"\sqrt{4}", LONG_SUM, r"\sqrt[3]{8}", r"\sin^2 3 + \cos^2 3 + 1", r"\sqrt{5}"]
    expected = ["correct", "timeout", "correct", "correct", "incorrect"]
    burn = "while True: pass"
    with Grader(time_limit=TIME_LIMIT) as grader:
        assert grader.grade(answers, ["2"] * 5, "latex") == expected
        busy = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(4)]
        try:
            assert grader.grade(answers, ["2"] * 5, "latex") == expected
        finally:
            for process in busy:
                process.kill()


def test_what_a_timer_interrupts_does_not_harm_what_follows(grader):
    hostile = [rf"\sum_{{k=1}}^{{{n}00000000}} \sin(k^{n})" for n in range(2, 5)]
    fine = [rf"\sqrt{{{n * n}}}" for n in range(2, 5)]
    answers = [answer for pair in zip(hostile, fine, strict=True) for answer in pair]
    golds = [str(n) for n in range(2, 5) for _ in range(2)]
    assert grader.grade(answers, golds, "latex") == [Verdict.timeout, Verdict.correct] * 3


def test_options_reach_the_verifier(grader):
    options = [["Rome", "Paris"], ["Paris", "Rome"], None]
    verdicts = grader.grade(["Paris"] * 3, ["B"] * 3, "letter", options)
    assert [str(verdict) for verdict in verdicts] == ["correct", "incorrect", "incorrect"]


def test_a_failing_verifier_is_an_error_not_a_wrong_answer(grader):
    assert grader.grade(["???", "1"], ["???", "???"], "latex") == [Verdict.error, Verdict.error]


def test_a_killed_worker_is_an_error_and_is_replaced():
    with Grader(time_limit=30) as grader:
        before = set(multiprocessing.active_children())
        grader.grade([r"\sqrt{4}"], ["2"], "number")
        (worker,) = set(multiprocessing.active_children()) - before
        threading.Timer(0.5, worker.kill).start()
        assert grader.grade([LONG_SUM], ["7"], "latex") == [Verdict.error]
        assert grader.grade([r"\sqrt{4}"], ["2"], "number") == [Verdict.correct]


def test_it_works_outside_the_main_thread(grader):
    # math-verify's own time limit raises here: signals only work in the main thread
    verdicts = []
    thread = threading.Thread(
        target=lambda: verdicts.extend(grader.grade([r"\sqrt{4}"], ["2"], "number"))
    )
    thread.start()
    thread.join()
    assert verdicts == [Verdict.correct]


def test_lists_of_different_lengths_are_refused(grader):
    with pytest.raises(ValueError):
        grader.grade(["7", "8"], ["7"], "number")


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path):
    """Workers are spawned, and import the script: without the guard each would grade again."""
    script = tmp_path / "script.py"
    graded = "print(Grader().grade([r'\\sqrt{4}'], ['2'], 'latex'))\n"
    script.write_text("from thinktuning.grading.grader import Grader\n\n" + graded)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode != 0
    assert '`if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    guarded = f'if __name__ == "__main__":\n    {graded}'
    script.write_text("from thinktuning.grading.grader import Grader\n\n" + guarded)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0 and "correct" in done.stdout, done.stderr
