"""The grader's pool: verdicts, and the cost of hostile answers."""

import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from thinktuning.grading.grader import Grader, Verdict

TIME_LIMIT = 2.0
BIG_POWER = "9^{9^{9^9}}"


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
        assert grader.grade(["1/2"], ["0.5"], "number") == [Verdict.correct]
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
    grader.grade(["1/2"], ["0.5"], "number")  # starts the worker
    start = time.monotonic()
    (verdict,) = grader.grade([answer], ["7"], "number")
    assert time.monotonic() - start < TIME_LIMIT + 3  # including the start of a new worker
    assert verdict in (Verdict.incorrect, Verdict.timeout, Verdict.error)
    assert grader.grade(["1/2"], ["0.5"], "number") == [Verdict.correct]


def test_a_repeated_answer_times_out_once(grader):
    start = time.monotonic()
    verdicts = grader.grade([BIG_POWER, "1/2"] * 8, ["7", "0.5"] * 8, "number")
    assert verdicts == [Verdict.timeout, Verdict.correct] * 8
    assert time.monotonic() - start < 2 * TIME_LIMIT + 3


def test_a_failing_verifier_is_an_error_not_a_wrong_answer(grader):
    assert grader.grade(["???", "1"], ["???", "???"], "latex") == [Verdict.error, Verdict.error]


def test_a_killed_worker_is_an_error_and_is_replaced():
    with Grader(time_limit=30) as grader:
        before = set(multiprocessing.active_children())
        grader.grade(["1/2"], ["0.5"], "number")
        (worker,) = set(multiprocessing.active_children()) - before
        threading.Timer(0.5, worker.kill).start()
        assert grader.grade([BIG_POWER], ["7"], "number") == [Verdict.error]
        assert grader.grade(["1/2"], ["0.5"], "number") == [Verdict.correct]


def test_it_works_outside_the_main_thread(grader):
    # math-verify's own time limit raises here: signals only work in the main thread
    verdicts = []
    thread = threading.Thread(
        target=lambda: verdicts.extend(grader.grade(["1/2"], ["0.5"], "number"))
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
    graded = "print(Grader().grade([r'\\frac{1}{2}'], [r'\\frac12'], 'latex'))\n"
    script.write_text("from thinktuning.grading.grader import Grader\n\n" + graded)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode != 0
    assert '`if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    guarded = f'if __name__ == "__main__":\n    {graded}'
    script.write_text("from thinktuning.grading.grader import Grader\n\n" + guarded)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0 and "correct" in done.stdout, done.stderr
