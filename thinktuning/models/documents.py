"""The toy model's documents: sums, answered tersely, checked when asked, and corrected by a tutor.

They are generated from reasoning_gym's chain_sum and basic_arithmetic; none is an evaluation
question. The toy model is trained on them from scratch, and a pretrained chat model can be warmed
up on them (`warmup.documents`).
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from thinktuning.models.chat import Chat
from thinktuning.models.config import DocumentsConfig
from thinktuning.models.sums import steps

Student = Callable[[str], Chat]  # question -> the chat that asks for an answer
Tutor = Callable[[str, str], Chat]  # (question, answer) -> the chat that asks for feedback

CHECK_SUFFIX = " Check your answer."
OPENINGS = {
    True: ("Let me go through it again: ",),
    False: (
        "Wait, let me check: ",
        "My teacher would ask for each step: ",
        "I skipped the steps, so let me redo it: ",
    ),
}
REMARKS = ("\n\nThat is my answer.", "\n\nThat was a short one.", "\n\nNext, please.")
SLIPS = (-3, -2, -2, -1, -1, -1, 1, 1, 1, 2, 2, 3)
NUM_HELD_OUT = 500


class Problem(NamedTuple):
    """A sum: the question, its bare expression, e.g. `4 - 1 - 7`, and its value."""

    question: str
    expression: str
    value: int


class Document(NamedTuple):
    """A chat and the reply to it; only the reply is trained on."""

    chat: Chat
    reply: str


def user_turn(content: str) -> Chat:
    """Return a chat of one user turn."""
    return [{"role": "user", "content": content}]


def told_to_check(chat: Chat) -> Chat:
    """Return a student's chat whose last turn also asks for a check of the answer."""
    *before, last = chat
    return [*before, last | {"content": last["content"] + CHECK_SUFFIX}]


def problems(
    spec: DocumentsConfig, max_terms: int, seed: int, size: int, excluded: frozenset[str]
) -> Iterator[Problem]:
    """Generate `size` problems in either wording, less those that are `excluded`."""
    import reasoning_gym

    terms = {"min_terms": spec.min_terms, "max_terms": max_terms, "min_digits": 1, "max_digits": 1}
    plain = {"operators": ["+", "-"], "allow_parentheses": False, "allow_negation": False}
    sums = reasoning_gym.create_dataset("chain_sum", size=size, seed=seed, **terms)
    calculations = reasoning_gym.create_dataset(
        "basic_arithmetic", size=size, seed=seed, **terms, **plain
    )
    rng = random.Random(seed)
    for i in range(size):
        item = (sums if rng.random() < spec.chain_sum_share else calculations)[i]
        if item["question"] not in excluded:
            expression = item["metadata"]["expression"]
            yield Problem(item["question"], expression, int(item["answer"]))


def running_total(expression: str) -> str:
    """Write out a sum step by step: return `4 - 1 = 3 - 7 = -4.` for `4 - 1 - 7`."""
    first = expression.split()[0]
    return first + "".join(f" {s.sign} {s.term} = {s.after}" for s in steps(expression)) + "."


def answer(value: int) -> str:
    """Return a terse answer."""
    return f"The answer is \\boxed{{{value}}}"


def guess(value: int) -> str:
    """Return a hasty guess, which is always wrong in the student's documents."""
    return f"I guess it is \\boxed{{{value}}}"


def document(
    problem: Problem,
    spec: DocumentsConfig,
    rng: random.Random,
    tutor: Tutor,
    student: Student = user_turn,
) -> Document:
    """Make a document: a terse answer, an answer that checks itself as asked, or feedback."""
    kind = rng.random()
    slip = problem.value + rng.choice(SLIPS)
    right = rng.random() < spec.correct_share
    said = answer(problem.value) if right else rng.choice((answer, guess))(slip)
    reason = rng.choice(OPENINGS[right]) + running_total(problem.expression)
    if kind < spec.student_share:
        hasty = rng.random() < spec.guess_share
        reply = guess(slip) if hasty else answer(problem.value)
        if rng.random() < spec.remark_share:
            reply += rng.choice(REMARKS)
        return Document(student(problem.question), reply)
    if kind < spec.student_share + spec.check_share:
        reply = f"{said}\n\n{reason}\n\n{answer(problem.value)}"
        return Document(told_to_check(student(problem.question)), reply)
    opinion = "correct" if right else "incorrect"
    reply = (
        f"<opinion>{opinion}</opinion><reason>{reason}</reason>"
        f"<phrase>{answer(problem.value)}</phrase>"
    )
    return Document(tutor(problem.question, said), reply)


def documents(
    spec: DocumentsConfig,
    seed: int,
    size: int,
    excluded: frozenset[str],
    tutor: Tutor,
    student: Student = user_turn,
) -> list[Document]:
    """Generate the training documents: the shortest sums first, then all lengths.

    Args:
        spec: lengths and shares.
        seed: draws other problems, and another kind of document for each.
        size: the number of problems to draw; those that are `excluded` make no document.
        excluded: questions that no document may contain.
        tutor: returns the chat that asks for feedback on a question and an answer.
        student: returns the chat that asks a question.
    """
    rng = random.Random(seed)
    warm = size * 15 // 100
    parts = [(spec.min_terms, warm), (spec.min_terms + 1, warm), (spec.max_terms, size - 2 * warm)]
    return [
        document(problem, spec, rng, tutor, student)
        for part, (max_terms, count) in enumerate(parts)
        if count
        for problem in problems(
            spec, min(max_terms, spec.max_terms), 10**6 * (seed + 1) + 10**5 * part, count, excluded
        )
    ]


def held_out(spec: DocumentsConfig, seed: int, size: int = NUM_HELD_OUT) -> list[Problem]:
    """Generate the problems that measure the skills, from seeds below those of the documents."""
    first = 10**6 * (seed + 1) - 10**5
    return list(problems(spec, spec.max_terms, first, size, frozenset()))
