r"""SDPO: privileged self-distillation on the student's own tokens.

Papers: SDPO (arXiv 2601.20802), a policy that sees feedback on its own rollout teaches the policy
that does not; OPSD (arXiv 2601.18734), the same with a solution as the privileged context.

The student answers. The frozen base reads a prompt with privileged context (`context`), then the
student's own completion, and predicts each of its tokens. The student is trained towards these
distributions: with pi of the bare question and q of the privileged prompt, at each token y_t of the
student's completion y

    forward   KL(q(. | y_<t) || pi(. | y_<t))
    reverse   KL(pi || q)
    jsd       (KL(pi || m) + KL(q || m)) / 2,  m = (pi + q) / 2

averaged over the tokens of a completion, then over all completions of the micro-batch, where those
that are not distilled count as 0 (as in TRL's experimental `SDPOTrainer`, whose loss it is at
`distillation_mode` `full_logits` or, with `top_k`, `topk_logits` with `distillation_add_tail`;
`distillation_alpha` 0, 1 and 0.5; `teacher_model_kind: base`; `distillation_is_clip: None`).

`context: prompt` asks the base itself to do better ({question} Check your answer.), so that no
teacher generates a token. `context: feedback` shows it the teacher's feedback on the completion.

What reaches a student that ends too early is the last position, its EOS: there the base that was
asked to check goes on, and the KL over the whole vocabulary moves probability from EOS to the token
that it goes on with. This takes the forward KL. The gradients of the reverse KL and the JSD weight
each token by pi, which is near 0 for all but EOS, and vanish with it; for the same reason it is not
enough to score the sampled token alone. Once the student goes on, its check is its own text, and
each token of it is distilled: the base that reads the same check says how it continues, and when it
ends. Nothing is scored after EOS. A completion that the token limit cut off is distilled with
`context: prompt` only, since a teacher is asked about whole answers.

Departures:
1. The teacher is the base before training, not the current policy or its moving average (SDPO), so
   it cannot drift with the student, and no longer improves with it.
2. Which rollouts are distilled follows `select` and `schedule`, as for ThinkTuning. The paper
   distills those that have a context, and always. `init: 1` and no cutoff distill all.
3. The papers' contexts, a successful rollout of the same group and a solution, are not offered.
4. No importance weight for tokens sampled by an earlier policy of the same rollout batch.

Rewards and advantages have no effect on the loss, so it is not separable.

Shapes: B completions of a (micro-)batch, T tokens, V vocabulary, M tokens of several completions.
"""

import math
import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import PositiveInt, field_validator, model_validator

from thinktuning.algorithms.batch import EXTRA, Lesson, RolloutBatch
from thinktuning.algorithms.guided import Guided, GuidedConfig
from thinktuning.algorithms.scoring import Texts
from thinktuning.io.section import remove
from thinktuning.models.chat import Chat
from thinktuning.models.documents import CHECK_SUFFIX
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor

Context = Literal["prompt", "feedback"]
Divergence = Literal["forward", "reverse", "jsd"]

TEMPLATES: Mapping[Context, str] = {
    "prompt": "{question}" + CHECK_SUFFIX,
    "feedback": "{question}\n\nAn earlier answer:\n\n{response}\n\nFeedback on it:\n\n{feedback}"
    "\n\nAnswer the question.",
}
FIELDS: Mapping[Context, Mapping[str, bool]] = {  # name -> whether a template needs it
    "prompt": {"question": True, "response": False},
    "feedback": {"question": True, "response": False, "feedback": True},
}
BRACED = re.compile(r"(?<!\w)\{(\w+)\}")  # not the argument of a LaTeX command


class SDPOAlgorithmConfig(GuidedConfig):
    """`algorithm: {type: sdpo}`.

    `context`: what the base sees that the student does not. `template`: the last turn of its
    prompt, with {question}, the student's own last turn, and {response} and, with `context:
    feedback`, {feedback}; null: `TEMPLATES`. `top_k`: compare the policy's `top_k` tokens and the
    rest as one; null: the whole vocabulary.
    """

    has_kl_term: ClassVar[bool] = False
    uses_rewards: ClassVar[bool] = False
    scores_texts: ClassVar[bool] = True
    type: Literal["sdpo"] = "sdpo"
    context: Context = "prompt"
    template: str | None = None
    divergence: Divergence = "forward"
    top_k: PositiveInt | None = None

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher gives feedback: not with `context: prompt`."""
        return self.context == "feedback"

    @property
    def untaught(self) -> str:
        """Says that nobody is asked for feedback, where that is so."""
        return f"algorithm {self.type} with context: {self.context} asks no teacher"

    def plain(self) -> dict[str, Any]:
        """Return the section with its template, also where that is the context's."""
        return super().plain() | {"template": self.template or TEMPLATES[self.context]}

    @field_validator("keep", "mask")
    @classmethod
    def _nothing_is_spliced(cls, value: str) -> str:
        if value not in ("all", "trajectory"):
            raise ValueError("nothing is spliced here; set keep to all, and mask to trajectory")
        return value

    @model_validator(mode="after")
    def _no_feedback(self) -> Self:
        if self.corruption and not self.uses_teacher:
            raise ValueError(
                "corruption changes feedback, and context: prompt has none; set context to"
                f" feedback, or {remove('corruption')}"
            )
        return self

    @model_validator(mode="after")
    def _template(self) -> Self:
        """Refuse a template that names what there is not, or lacks what there must be."""
        if self.template is None:
            return self
        named, known = {*BRACED.findall(self.template)}, FIELDS[self.context]
        if unknown := sorted(named - known.keys()):
            raise ValueError(
                f"template names {', '.join(unknown)} in braces, but with context: {self.context}"
                f" there are only {', '.join(known)}; correct the template or the context"
            )
        if missing := [name for name, needed in known.items() if needed and name not in named]:
            raise ValueError(
                f"template lacks {{{missing[0]}}}, which context: {self.context} needs; add it"
            )
        return self

    def filled(self, prompt: str | Chat, **values: str) -> str | Chat:
        """Return a student's prompt with the template as its last turn, `values` filled in."""
        values["question"] = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        template = self.template or TEMPLATES[self.context]
        # in one pass: a question may itself contain {response}
        text = BRACED.sub(lambda field: values[field[1]], template)
        return text if isinstance(prompt, str) else [*prompt[:-1], prompt[-1] | {"content": text}]

    def privileged_chat(self, chat: Chat) -> tuple[Chat, Collection[str]]:
        """Return the base's prompt, without answer and feedback, and those that it shows."""
        shown = {*BRACED.findall(self.template or TEMPLATES[self.context])} - {"question"}
        filled = self.filled(chat, response="", feedback="")
        assert not isinstance(filled, str)
        return filled, shown

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "SDPO":
        """Return the algorithm."""
        return SDPO(self, teacher, prompt)


class SDPO(Guided[SDPOAlgorithmConfig]):
    """Trains the student towards the base that has seen more."""

    refused: ClassVar[Mapping[str, str]] = {
        "beta": "its loss is a divergence from the base that has seen more, without a KL term",
        "entropy_coef": "its loss is a divergence, without an entropy bonus",
        "epsilon_high": "its loss is a divergence, without a clipped ratio",
        "use_adaptive_entropy": "its loss is a divergence, without an entropy bonus",
    }

    def eligible(self, batch: RolloutBatch) -> list[bool]:
        """Return (P * G,): all with `context: prompt`; a teacher is only asked about whole ones."""
        if self.config.uses_teacher:
            return super().eligible(batch)
        return [bool(ids) for ids in batch.student_ids]

    def give_lessons(self, batch: RolloutBatch, chosen: list[int]) -> None:
        """Mark the chosen rollouts, after asking the teacher about them if there is one."""
        if self.config.uses_teacher:
            super().give_lessons(batch, chosen)
        else:
            batch.lessons |= {i: Lesson(None, None, asked=False) for i in chosen}

    def splice(self, batch: RolloutBatch, i: int, lesson: Lesson) -> None:
        """Leave the completion as it is: the feedback is for the base to read."""
        lesson.start = len(batch.student_ids[i])

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return `guidance_mask` (B, T), and the privileged prompts, empty for other rows.

        What is scored in addition is the base's part: the policy's takes the place of TRL's pass.
        """
        taught = batch.taught
        ids = output["completion_ids"].new_zeros(len(batch.rows), 1)
        mask = ids
        if taught:
            prompts = [self.privileged(batch, i, lesson) for i, lesson in taught.items()]
            found = self.scorer.encode(prompts)
            ids, mask = (ids.new_zeros(len(ids), tensor.size(1)) for tensor in found)
            ids[list(taught)], mask[list(taught)] = found
        added = super().loss_inputs(batch, output)
        rows = added["guidance_mask"].any(1)
        read = mask[rows].sum() + output["completion_mask"][rows].sum()
        batch.metrics[EXTRA] = self.scorer.num_iterations * int(read)
        return added | {"privileged_ids": ids, "privileged_mask": mask}

    def privileged(self, batch: RolloutBatch, i: int, lesson: Lesson) -> Any:
        """Return the prompt that the base reads before completion i: the student's, filled in."""
        return self.config.filled(
            batch.rows[i]["prompt"],
            response=batch.decode([batch.student_ids[i]])[0],
            feedback=lesson.feedback.text.strip() if lesson.feedback else "",
        )

    def reads(self, inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return (B,), false: the loss has distributions, not log-probabilities of the tokens."""
        import torch

        return torch.zeros_like(inputs["completion_mask"][:, 0], dtype=torch.bool)

    def loss(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return the divergence, the mean over B of the means over tokens."""
        mask = inputs["guidance_mask"]
        rows = mask.any(1)
        measure = partial(divergence, kind=self.config.divergence, top_k=self.config.top_k)
        texts = Texts.of(inputs)
        teacher = Texts(
            inputs["privileged_ids"],
            inputs["privileged_mask"],
            texts.completion_ids,
            texts.completion_mask,
        )
        found = self.scorer.compare(texts.rows(rows), teacher.rows(rows), measure)
        means = (found * mask[rows]).sum(1) / mask[rows].sum(1)
        return means.sum() / len(mask) + 0 * logps.sum()


def divergence(
    student: "Tensor", teacher: "Tensor", *, kind: Divergence, top_k: int | None = None
) -> "Tensor":
    """Return the divergence (M,) of the next-token distributions at M positions.

    Args:
        student: (M, V), logits.
        teacher: (M, V), logits of the same positions.
        kind: see the module.
        top_k: compare the student's most likely tokens, and all others as one.
    """
    import torch

    p, q = student.log_softmax(-1), teacher.log_softmax(-1)
    if top_k is not None and top_k < p.size(-1):
        likely = p.topk(top_k).indices
        p, q = (with_rest(each.gather(-1, likely)) for each in (p, q))
    if kind == "forward":
        return kl(q, p)
    if kind == "reverse":
        return kl(p, q)
    m = torch.logaddexp(p, q) - math.log(2)
    return (kl(p, m) + kl(q, m)) / 2


def kl(p: "Tensor", q: "Tensor") -> "Tensor":
    """Return KL(p || q) of log-probabilities (M, V), in nats: (M,)."""
    return (p.exp() * (p - q)).sum(-1)


def with_rest(logps: "Tensor") -> "Tensor":
    """Append the log-probability of all tokens that are left out, at least 1e-7: (M, k + 1)."""
    import torch

    rest = torch.log(-torch.expm1(logps.logsumexp(-1, keepdim=True).clamp(max=-1e-7)))
    return torch.cat([logps, rest], dim=-1)
