"""A warm-up's documents from training questions: worked answers, and a tutor's feedback on answers.

The tutor's student gives the answer to another question, and so mostly a wrong one, half of the
time.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.data.prompt import student_chat
from thinktuning.models.documents import Document
from thinktuning.study.jobs import WarmupJob
from thinktuning.teachers.prompts import load


def worked_answers(job: WarmupJob, rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Return a document for every question, in an order drawn from the warm-up's seed."""
    rng = random.Random(job.warmup.seed)
    rows = list(rows)
    rng.shuffle(rows)
    tutor = load(job.teacher_prompt).select(job.behaviors) if job.teacher_prompt else None
    found = []
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        question, right = row["question"], worked(row)
        chat, reply = student_chat(question, job.prompt), right
        if tutor and rng.random() < job.warmup.tutor_share:
            wrong = rng.random() < 0.5
            response = f"The answer is \\boxed{{{other['answer']}}}." if wrong else right
            is_wrong = wrong and other["answer"] != row["answer"]
            chat, reply = tutor.chat(question, response), feedback(row, is_wrong, rng)
        found.append(Document(chat, reply))
    return found


def worked(row: Mapping[str, Any]) -> str:
    r"""Return the worked solution, if the data has one, and the answer in a \boxed{}."""
    boxed = f"The answer is \\boxed{{{row['answer']}}}."
    solution = row.get("solution", "").strip()
    return f"{solution}\n{boxed}" if solution else boxed


def feedback(row: Mapping[str, Any], wrong: bool, rng: random.Random) -> str:
    """Return a tutor's reply in the teacher's format, which works the question out again."""
    opening = rng.choice(DOUBTS if wrong else CONFIRMATIONS)
    solution = row.get("solution", "").strip()
    verdict = "incorrect" if wrong else "correct"
    reason = f"{opening} {solution}".strip()
    reply = (
        f"<opinion>{verdict}</opinion><reason>{reason}</reason>"
        f"<phrase>The answer is \\boxed{{{row['answer']}}}.</phrase>"
    )
    assert parse_feedback(reply), reply
    return reply


DOUBTS = (
    "Wait, let me check that.",
    "Hmm, I jumped to the answer, so let me work it out step by step.",
    "My teacher would ask for the steps, so let me write them down.",
)
CONFIRMATIONS = (
    "Let me go through it again to be sure.",
    "Let me double-check this step by step.",
)
