"""The toy model's documents: problems answered tersely, checked when asked, corrected by a tutor.

They are generated: sums in the wordings of reasoning_gym's chain_sum and basic_arithmetic or, with
`families`, the problems of those families (`thinktuning.models.mixture`). None is an evaluation
question. The toy model is trained on them from scratch, and a pretrained chat model can be warmed
up on them (`warmup.documents`).
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from thinktuning.models import families, mixture
from thinktuning.models.chat import Chat
from thinktuning.models.config import AnyDocumentsConfig
from thinktuning.models.families import Derivation
from thinktuning.models.families import Problem as Problem

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
NUM_HELD_OUT = 500


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
    spec: AnyDocumentsConfig, max_terms: int, seed: int, size: int, excluded: frozenset[str]
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


def answer(value: int) -> str:
    """Return a terse answer."""
    return f"The answer is \\boxed{{{value}}}"


def guess(value: int) -> str:
    """Return a hasty guess, which is always wrong in the student's documents."""
    return f"I guess it is \\boxed{{{value}}}"


def derivation(problem: Problem, error_share: float, rng: random.Random) -> Derivation:
    """Return a problem's worked derivation, with a wrong step in `error_share` of them."""
    if error_share and rng.random() < error_share:
        return families.wrong_derivation(problem, rng)
    return families.derivation(problem)


def document(
    problem: Problem,
    spec: AnyDocumentsConfig,
    rng: random.Random,
    tutor: Tutor,
    student: Student = user_turn,
) -> Document:
    """Make a document: a terse answer, an answer that checks itself as asked, or feedback.

    Opening, opinion and final answer follow from the derivation, also from a wrong one.
    """
    kind = rng.random()
    slip = problem.value + rng.choice(families.load(problem.family).slips)
    right = rng.random() < spec.correct_share
    given = problem.value if right else slip
    said = answer(given) if right else rng.choice((answer, guess))(given)
    found = derivation(problem, spec.derivation_error_share, rng)
    agrees = given == found.value
    reason = rng.choice(OPENINGS[agrees]) + found.text
    checked = f"{said}\n\n{reason}\n\n{answer(found.value)}"
    if kind < spec.student_share:
        if spec.unasked_share and rng.random() < spec.unasked_share:
            return Document(student(problem.question), checked)
        hasty = rng.random() < spec.guess_share
        reply = guess(slip) if hasty else answer(problem.value)
        if rng.random() < spec.remark_share:
            reply += rng.choice(REMARKS)
        return Document(student(problem.question), reply)
    if kind < spec.student_share + spec.check_share:
        return Document(told_to_check(student(problem.question)), checked)
    opinion = "correct" if agrees else "incorrect"
    reply = (
        f"<opinion>{opinion}</opinion><reason>{reason}</reason>"
        f"<phrase>{answer(found.value)}</phrase>"
    )
    return Document(tutor(problem.question, said), reply)


def documents(
    spec: AnyDocumentsConfig,
    seed: int,
    size: int,
    excluded: frozenset[str],
    tutor: Tutor,
    student: Student = user_turn,
) -> list[Document]:
    """Generate the training documents: the shortest problems first, then all lengths.

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
    counts = (warm, warm, size - 2 * warm)
    return [
        document(problem, spec, rng, tutor, student)
        for part, count in enumerate(counts)
        if count
        for problem in drawn(spec, part, 10**6 * (seed + 1) + 10**5 * part, count, excluded)
    ]


def drawn(
    spec: AnyDocumentsConfig, part: int, seed: int, size: int, excluded: frozenset[str]
) -> Iterator[Problem]:
    """Generate the problems of part 0, 1 or 2 of the documents: short ones, longer ones, all."""
    if spec.families is not None:
        return mixture.mixture(spec, mixture.lessons(spec)[part], seed, size, excluded)
    max_terms = (spec.min_terms, spec.min_terms + 1, spec.max_terms)[part]
    return problems(spec, min(max_terms, spec.max_terms), seed, size, excluded)


def held_out(spec: AnyDocumentsConfig, seed: int, size: int = NUM_HELD_OUT) -> list[Problem]:
    """Generate the problems that measure the skills, from seeds below those of the documents.

    There are `size` of them or, with families, `size` of each family, spread over its bands.
    """
    first = 10**6 * (seed + 1) - 10**5
    if spec.families is not None:
        return mixture.measured(spec, first, size)
    return list(problems(spec, spec.max_terms, first, size, frozenset()))
