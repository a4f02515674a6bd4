"""Which tokens are trained as guided, on short completions."""

import pytest
import torch

from thinktuning.algorithms.batch import Lesson, RolloutBatch
from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

FEEDBACK = Feedback("incorrect", "Wait.", "So 4")
PROMPT = TeacherPrompt(system="S", user="{question} {response}")


class Silent(Teacher):
    def generate(self, chats):
        return [None for _ in chats]


def batch_of(lessons: dict[int, Lesson], num_rows: int) -> RolloutBatch:
    batch = RolloutBatch(
        rows=[{"prompt": "1 + 1 ="}] * num_rows,
        num_generations=num_rows,
        t=0,
        num_batches=1,
        seed=0,
        first_group=0,
        eos_token_ids=[2],
        max_completion_length=6,
        decode=lambda completions: ["" for _ in completions],
        extend=lambda ids, text: [7, 8],
        grade=lambda completions: [0.0 for _ in completions],
    )
    batch.lessons = lessons
    return batch


@pytest.mark.parametrize("kind", [ThinkTuningAlgorithmConfig, SFTAlgorithmConfig])
@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("trajectory", [True, True, True, True, False, False]),
        ("teacher", [False, False, True, True, False, False]),
    ],
)
def test_the_mask_covers_the_trajectory_or_the_teacher(kind, mask, expected):
    algorithm = kind(mask=mask).build(Silent(), PROMPT)
    lessons = {
        0: Lesson("...", FEEDBACK, start=2),
        2: Lesson("...", FEEDBACK, start=2, kept=False),
        3: Lesson("off format", None),
    }
    output = {
        "completion_ids": torch.full((4, 6), 5),
        "completion_mask": torch.tensor([[1, 1, 1, 1, 0, 0]] * 4),
    }
    added = algorithm.loss_inputs(batch_of(lessons, 4), output)
    assert added.keys() == {"guidance_mask"} and added["guidance_mask"].dtype == torch.bool
    untaught = [False] * 6
    assert added["guidance_mask"].tolist() == [expected, untaught, untaught, untaught]
