r"""Interventions on reflection at test time: how an answer goes on after a changed beginning.

An answer that reflects has three parts: what it says up to its first box, the reflection, and the
statement of its last box. Whether a reflection corrects or only confirms is not visible in answers
as they are, since a model may reflect differently where it is wrong. So the beginning is set, and
the model goes on from it:

    cut          nothing follows: the first answer counts
    doubt        the first answer stays, and doubt begins a reflection
    agree        the first answer stays, and agreement begins a reflection
    right_first  the right answer takes the first one's place; the model goes on as it likes
    wrong_first  a wrong answer takes the first one's place; the model goes on as it likes
    swap         the reflection of another question's answer follows the first answer; the model
                 states the result

Each but `swap` plants an answer at the first box; `swap` plants what the other answer's reflection
came to. A final answer that equals it *follows* what was planted. A model whose reflection corrects
is right under `wrong_first` as often as under `right_first`; one that confirms follows both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from thinktuning.grading.answers import boxes

Kind = Literal["cut", "doubt", "agree", "right_first", "wrong_first", "swap"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Sample = Mapping[str, Any]
T = TypeVar("T")


class Parts(NamedTuple):
    """The parts of an answer; together they are its text."""

    first: str
    reflection: str
    statement: str


class Beginning(NamedTuple):
    """What an answer begins with, and the answer that it plants."""

    text: str
    planted: str


def parts(text: str) -> Parts | None:
    """Split an answer at its first box and at the line of its last one; None without a box.

    With one box, all that follows it is the reflection, and nothing is stated.
    """
    found = boxes(text)
    if not found:
        return None
    first, last = found[0], found[-1]
    stated = len(text)
    if len(found) > 1:
        stated = max(text.rfind("\n", first.end, last.start) + 1, first.end)
    return Parts(text[: first.end], text[first.end : stated], text[stated:])


def usable(samples: Sequence[Sample]) -> list[Sample]:
    """Return the answers that committed to something and ended."""
    return [sample for sample in samples if sample["first_answer"] is not None]


def with_answer(first: str, answer: str) -> str:
    """Put an answer into the first box of a text that ends with it."""
    start = boxes(first)[0].start
    return f"{first[:start]}\\boxed{{{answer}}}"


def beginning(
    kind: Kind,
    sample: Sample,
    samples: Sequence[Sample],
    doubt: str,
    agree: str,
    donors: Sequence[Sample] | None = None,
) -> Beginning | None:
    """Return what an answer begins with under an intervention; None if there is nothing to use.

    Args:
        kind: the intervention.
        sample: one of `samples`, a row of samples.jsonl.
        samples: the usable answers of the same model and task, where a wrong answer and another
            reflection are found.
        doubt: the words that begin a reflection, after an empty line.
        agree: the same.
        donors: `reflecting(samples)`, where it is known already.
    """
    found = parts(sample["text"])
    if found is None:
        return None
    first, own = found.first, str(sample["first_answer"])
    if kind == "cut":
        return Beginning(first, own)
    if kind in ("doubt", "agree"):
        return Beginning(f"{first}\n\n{doubt if kind == 'doubt' else agree}", own)
    if kind == "right_first":
        return Beginning(with_answer(first, sample["gold"]), sample["gold"])
    if kind == "wrong_first":
        wrong = wrong_answer(sample, samples)
        return None if wrong is None else Beginning(with_answer(first, wrong), wrong)
    donor = another_reflection(sample, reflecting(samples) if donors is None else donors)
    if donor is None:
        return None
    return Beginning(first + parts_of(donor).reflection, str(donor["answer"]))


def parts_of(sample: Sample) -> Parts:
    """Return the parts of an answer that has a box."""
    found = parts(sample["text"])
    assert found
    return found


def wrong_answer(sample: Sample, samples: Sequence[Sample]) -> str | None:
    """Return a wrong first answer to the same question, else another question's right answer."""
    same = [other for other in samples if other["id"] == sample["id"]]
    wrong = [str(each["first_answer"]) for each in same if not each["first_correct"]]
    others = [str(o["gold"]) for o in samples if o["gold"] not in (sample["gold"], *wrong)]
    return _drawn(wrong or others, sample)


def reflecting(samples: Sequence[Sample]) -> list[Sample]:
    """Return the answers that reflect and then state a result.

    None of them if they are fewer than a tenth of all: these few are not like the others.
    """
    complete = [sample for sample in samples if is_complete(sample)]
    return complete if 10 * len(complete) >= len(samples) else []


def another_reflection(sample: Sample, donors: Sequence[Sample]) -> Sample | None:
    """Return one of the answers that is to another question and ends in another answer."""
    own = {sample["gold"], sample["answer"], sample["first_answer"]}
    return _drawn([d for d in donors if d["id"] != sample["id"] and d["answer"] not in own], sample)


def is_complete(sample: Sample) -> bool:
    """Return whether an answer has a reflection and a statement after it."""
    _, reflection, statement = parts_of(sample)
    return bool(reflection.strip()) and bool(statement.strip())


def _drawn(candidates: Sequence[T], sample: Sample) -> T | None:
    """Draw one by the hash of the answer's place, the same one whenever it is asked."""
    if not candidates:
        return None
    place = hashlib.sha256(f"{sample['id']}/{sample['sample']}".encode()).digest()
    return candidates[int.from_bytes(place[:8], "big") % len(candidates)]
