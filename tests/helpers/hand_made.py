"""A rollout batch of letters, and feedback on it, for algorithms that need no model."""

from thinktuning.algorithms.batch import Lesson, RolloutBatch
from thinktuning.algorithms.feedback import Feedback
from thinktuning.teachers.protocol import Teacher

END = ord("E")
FEEDBACK = Feedback("incorrect", "Wait: 2+2=4.", "So 4")


class Silent(Teacher):
    """Never replies."""

    def generate(self, chats):
        return [None for _ in chats]


def letters(texts, num_generations=2, **changes):
    """Return a batch whose tokens are the bytes of texts; an `E` ends one.

    A completion is right if its text has a 4 in it.
    """

    def decode(completions):
        return [bytes(ids).decode().removesuffix("E") for ids in completions]

    settings = dict(
        rows=[{"prompt": [{"role": "user", "content": f"Q{i}?"}]} for i in range(len(texts))],
        num_generations=num_generations,
        t=0,
        num_batches=1,
        seed=0,
        first_group=0,
        eos_token_ids=[END],
        max_completion_length=40,
        decode=decode,
        extend=lambda ids, text: list(text.encode()),
        grade=lambda completions: [float("4" in text) for text in decode(completions)],
    )
    batch = RolloutBatch(**(settings | changes))
    batch.sampled([list(text.encode()) for text in texts], None)
    return batch


def taught(batch, algorithm, feedback):
    """Give a batch feedback, `{row: Feedback}`, as `augment` does."""
    batch.lessons = {i: Lesson("...", given) for i, given in feedback.items()}
    algorithm.teach(batch, list(feedback))
    algorithm.settle(batch)
    return [bytes(ids).decode() for ids in batch.completion_ids]
