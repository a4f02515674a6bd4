"""Grade answers in worker processes, so that no answer can hang, exhaust or crash the caller.

Answers that need no sympy are graded in the calling process; only the others go to the pool. Their
limit is CPU time of the worker, so that a loaded machine gives the same verdicts: first an
exception raised by a timer ends the comparison, and if C code holds that up, a second timer ends
the worker, which is replaced. math-verify's own time limit is wall-clock time, and its signal works
neither in threads nor in C code.

A batch has a budget, too (`PASSES`). All its answers get a 16th of the time limit; those that need
more share 4 times the limit, up to a quarter of it each, and what is left 4 times the limit, up to
the whole of it each; more for batches of more than 200. So a few hard answers get all the time, and
a batch of 200 takes at most 21 s of CPU time with the default limit, shared by the workers, even if
all are hostile. What the budget does not cover is a timeout, whatever its place in the batch.

    with Grader() as grader:
        verdicts = grader.grade(["7", None, "9^9^9^9"], ["7", "7", "7"], "number")
"""

import logging
import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from typing import Any, Self

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from thinktuning.grading.answers import verify, verify_literally
from thinktuning.grading.whole_text import GradedAs, verify_whole_text

logger = logging.getLogger(__name__)


Case = tuple[str | None, str, GradedAs, tuple[str, ...]]  # answer, gold, kind, options
WARM_UP = [
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\frac{\sqrt{3}+x^2}{2\pi}", r"\frac{x^2+\sqrt{3}}{\pi+\pi}"),
    (r"x^2 + 3x - \sin(2)", r"x(x+3) - \sin 2"),
]

# The most time for an answer, and the budget of the pass in batches of up to 200, both in units of
# the time limit.
PASSES = [(1 / 16, 12.5), (1 / 4, 4), (1, 4)]
TICK = 0.05  # seconds until the exception is raised again, in case that a library swallowed it


class Verdict(StrEnum):
    """The verdict on an answer; `error` and `timeout` are failures of the verifier."""

    correct = "correct"
    incorrect = "incorrect"
    no_answer = "no_answer"
    error = "error"
    timeout = "timeout"


class Grader:
    """A pool of verifier processes, started by the first answer that needs it.

    Args:
        time_limit: seconds of CPU time per answer, at most.
        num_workers: processes; math-verify takes about 10 ms per answer (perf/grader.py).
    """

    def __init__(self, time_limit: float = 1.0, num_workers: int = 1) -> None:
        self.time_limit = time_limit
        self.num_workers = num_workers
        self._pool: ProcessPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    def grade(
        self,
        answers: Sequence[str | None],
        golds: Sequence[str],
        kinds: Sequence[GradedAs] | GradedAs,
        options: Sequence[Sequence[str] | None] | None = None,
    ) -> list[Verdict]:
        """Return one verdict per answer, in order; repeated answers are graded once.

        Args:
            answers: the extracted answers; None where there is none.
            golds: the gold answers, as `parse_gold` returns them.
            kinds: the kind of each answer, or of all; `whole_text`: the answers are whole texts.
            options: the texts of each question's options A, B, ..., None where there are none.

        Raises:
            ValueError: the lengths differ, or a letter or yes/no gold answer is not one.
            BrokenProcessPool: the workers do not start; a script needs a `__main__` guard.
        """
        if isinstance(kinds, str):
            kinds = [kinds] * len(answers)
        choices = [tuple(texts or ()) for texts in options or [None] * len(answers)]
        cases = list(zip(answers, golds, kinds, choices, strict=True))
        verdicts: dict[Case, Verdict] = {}
        pending: list[Case] = []
        for case in dict.fromkeys(cases):
            verdict = _at_once(case)
            if verdict is None:
                pending.append(case)
            else:
                verdicts[case] = verdict
        count, last = len(pending), 0.0
        for longest, least in PASSES:
            limit = limit_of_pass(longest, least, count, len(pending)) * self.time_limit
            if limit <= last:  # too many are left to give each of them more
                continue
            futures = {case: self._schedule(case, limit) for case in pending}
            verdicts |= {case: _await(future, case) for case, future in futures.items()}
            pending = [case for case in pending if verdicts[case] == Verdict.timeout]
            last = limit
        return [verdicts[case] for case in cases]

    def _schedule(self, case: Case, limit: float) -> ProcessFuture[bool | None]:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_prepare_worker,
                context=multiprocessing.get_context("spawn"),  # forking a process with CUDA fails
            )
        backstop = 30 + 20 * limit  # wall-clock time, for a machine that is very loaded
        return self._pool.schedule(_verify_in_worker, args=(case, limit), timeout=backstop)


def limit_of_pass(longest: float, least: float, count: int, pending: int) -> float:
    """Return the CPU time that each pending answer of a batch gets, in units of the time limit.

    Args:
        longest: what it gets at most.
        least: the budget of the pass, in a batch of up to 200 answers.
        count: answers in the batch.
        pending: answers that are still undecided.
    """
    return min(longest, least * max(count / 200, 1) / max(pending, 1))


def _at_once(case: Case) -> Verdict | None:
    answer, gold, kind, options = case
    if answer is None:
        return Verdict.no_answer
    if kind == "whole_text":
        return None
    try:
        literal = verify_literally(answer, gold, kind, options)
    except ValueError as error:
        if kind in ("letter", "yes_no"):
            raise
        logger.warning("The verifier failed: %s", error)
        return Verdict.error
    if literal is None:
        return None
    return Verdict.correct if literal else Verdict.incorrect


def _await(future: ProcessFuture[bool | None], case: Case) -> Verdict:
    match future.exception():
        case None:
            if (equal := future.result()) is None:
                return Verdict.timeout
            return Verdict.correct if equal else Verdict.incorrect
        case TimeoutError() | _OutOfTime():
            return Verdict.timeout
        case ProcessExpired() as expired if expired.exitcode == -signal.SIGPROF:
            return Verdict.timeout
        case BrokenProcessPool() as broken:
            raise BrokenProcessPool(
                "the grader's worker processes do not start. Each imports the script that uses the"
                ' grader, so a script has to do its work under `if __name__ == "__main__":`'
            ) from broken
        case error:
            logger.warning("The verifier failed on the answer %.80r: %r", case[0], error)
            return Verdict.error


class _OutOfTime(BaseException):
    """The limit is reached; not an `Exception`, which sympy might catch."""


def _verify_in_worker(case: Case, limit: float) -> bool | None:
    """Run `verify`; None if it takes more CPU time than the limit."""
    try:
        signal.setitimer(signal.ITIMER_PROF, limit + 1)  # by default SIGPROF ends the process
        signal.setitimer(signal.ITIMER_VIRTUAL, limit, TICK)
        answer, gold, kind, options = case
        if kind == "whole_text":
            return verify_whole_text(answer or "", gold)
        return verify(answer, gold, kind, options)
    except _OutOfTime:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _out_of_time(*_: Any) -> None:
    raise _OutOfTime


def _prepare_worker() -> None:
    """Let SIGTERM kill the worker at once, and warm sympy up before the first answer is timed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler waits for C code to return
    signal.signal(signal.SIGVTALRM, _out_of_time)
    for answer, gold in WARM_UP:
        verify(answer, gold, "latex")
