"""Grade answers in worker processes, so that no answer can hang, exhaust or crash the caller.

Answers that a text comparison can decide are graded in the calling process; only those that need
math-verify go to the pool. math-verify's own time limit uses a signal, which works neither in
threads nor in C code; here a worker that exceeds the limit is killed and replaced.

    with Grader() as grader:
        verdicts = grader.grade(["7", None, "9^9^9^9"], ["7", "7", "7"], "number")
"""

import logging
import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from typing import Self

from pebble import ProcessFuture, ProcessPool

from thinktuning.grading.answers import verify, verify_literally
from thinktuning.grading.whole_text import GradedAs, verify_whole_text

logger = logging.getLogger(__name__)


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
        time_limit: seconds per answer, counted from when a worker receives it.
        num_workers: processes; math-verify takes about 10 ms per answer (perf/grader.py).
    """

    def __init__(self, time_limit: float = 5.0, num_workers: int = 1) -> None:
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
    ) -> list[Verdict]:
        """Return one verdict per answer, in order; repeated answers are graded once.

        Args:
            answers: the extracted answers; None where there is none.
            golds: the gold answers, as `parse_gold` returns them.
            kinds: the kind of each answer, or of all; `whole_text`: the answers are whole texts.

        Raises:
            ValueError: the lengths differ, or a letter or yes/no gold answer is not one.
            BrokenProcessPool: the workers do not start; a script needs a `__main__` guard.
        """
        if isinstance(kinds, str):
            kinds = [kinds] * len(answers)
        cases = list(zip(answers, golds, kinds, strict=True))
        pending = {case: self._grade_one(*case) for case in dict.fromkeys(cases)}
        verdicts = {
            case: verdict if isinstance(verdict, Verdict) else _await(verdict, case[0])
            for case, verdict in pending.items()
        }
        return [verdicts[case] for case in cases]

    def _grade_one(
        self, answer: str | None, gold: str, kind: GradedAs
    ) -> Verdict | ProcessFuture[bool]:
        if answer is None:
            return Verdict.no_answer
        if kind != "whole_text":
            literal = verify_literally(answer, gold, kind)
            if literal is not None:
                return Verdict.correct if literal else Verdict.incorrect
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_prepare_worker,
                context=multiprocessing.get_context("spawn"),  # forking a process with CUDA fails
            )
        return self._pool.schedule(
            _verify_in_worker, args=(answer, gold, kind, self.time_limit), timeout=self.time_limit
        )


def _await(future: ProcessFuture[bool], answer: str | None) -> Verdict:
    match future.exception():
        case None:
            return Verdict.correct if future.result() else Verdict.incorrect
        case TimeoutError():
            return Verdict.timeout
        case BrokenProcessPool() as broken:
            raise BrokenProcessPool(
                "the grader's worker processes do not start. Each imports the script that uses the"
                ' grader, so a script has to do its work under `if __name__ == "__main__":`'
            ) from broken
        case error:
            logger.warning("The verifier failed on the answer %.80r: %r", answer, error)
            return Verdict.error


def _verify_in_worker(answer: str, gold: str, kind: GradedAs, time_limit: float) -> bool:
    """Run `verify`; if the parent was killed meanwhile, a timer ends the worker, even in C code."""
    signal.setitimer(signal.ITIMER_REAL, 2 * time_limit)  # by default SIGALRM kills the process
    try:
        if kind == "whole_text":
            return verify_whole_text(answer, gold)
        return verify(answer, gold, kind)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _prepare_worker() -> None:
    """Let SIGTERM kill the worker at once, and import sympy before the first answer is timed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler waits for C code to return
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # warns that its own limit is off
    verify("1", r"\frac{2}{2}", "latex")
