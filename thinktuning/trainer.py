"""ThinkTuningTrainer: `trl.GRPOTrainer` whose rollouts a teacher corrects.

Five short methods are overridden and none is copied:

- `_generate_single_turn`: after the student's rollout, some are taught: the teacher's feedback is
  spliced on. Decoding, rewards, lengths and log-probabilities downstream follow by themselves.
- `_generate_and_score_completions`: adds the guidance mask (B, T) to the batch, which TRL shuffles
  and splits along.
- `_compute_loss` and `_get_per_token_logps_and_entropies`: for shaped tokens, the advantage becomes
  A * pi / (pi + gamma(A)) and the old log-probability sg(log pi): the ratio is exactly 1, clipping
  is inert, and TRL's surrogate has the value and the gradient of the guided loss (see `objective`).
  TRL reads both after the log-probability call; a golden test holds that.
- `_get_train_sampler`: each epoch's order is seeded by itself, so that a run resumed in a later one
  sees the order that it would have seen. Only there does a run without guidance leave stock TRL.

Vanilla GRPO is this class with guidance off, and equals stock TRL bit for bit.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from thinktuning.feedback import ended, guidance_row, parse_feedback, splice
from thinktuning.objective import guided_advantages
from thinktuning.prompts import TeacherPrompt
from thinktuning.rollouts import Lesson, Rollout, summarise
from thinktuning.schedules import gamma_at, select_rollouts
from thinktuning.schema import Guidance
from thinktuning.teacher import Teacher


@dataclass
class ThinkTuningConfig(GRPOConfig):
    """`trl.GRPOConfig` with the defaults of the paper's recipe."""

    loss_type: str = "bnpo"
    delta: float | None = 3.0
    weight_decay: float = 0.01
    lr_scheduler_type: str = "constant"
    mask_truncated_completions: bool = False


class ThinkTuningTrainer(GRPOTrainer):
    """GRPO with guidance. All arguments of `trl.GRPOTrainer`, and:

    Args:
        teacher: who gives feedback; not needed without guidance.
        teacher_prompt: how it is asked.
        guidance: schedule, selection, mask and shaping; None is vanilla GRPO.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Teacher | None = None,
        teacher_prompt: TeacherPrompt | None = None,
        guidance: Guidance | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.guidance = guidance if guidance is not None and guidance.enabled else None
        if self.guidance and (teacher is None or teacher_prompt is None):
            raise ValueError("guidance needs a teacher and a teacher_prompt")
        self.teacher = teacher
        self.teacher_prompt = teacher_prompt
        self.rollouts: list[Rollout] = []
        self._rows: list[dict[str, Any]] = []
        self._lessons: dict[int, Lesson] = {}
        self._loss_inputs: dict[str, Any] | None = None

    # --- the rollout batch ------------------------------------------------------------------------

    @property
    def rollout_batch(self) -> int:
        """t, the rollout batches before this one; from the trainer's state alone, so it resumes."""
        accumulation = self.args.gradient_accumulation_steps
        micro_steps = self.state.global_step * accumulation + self._step % accumulation
        return micro_steps // (self.args.steps_per_generation * self.num_iterations)

    @property
    def num_rollout_batches(self) -> int:
        """Rollout batches of the whole training."""
        uses = self.args.steps_per_generation * self.num_iterations
        return -(-self.state.max_steps * self.args.gradient_accumulation_steps // uses)

    @property
    def gamma(self) -> float:
        """gamma_t of this rollout batch; 0 without guidance or once the teacher has left."""
        if self.guidance is None or not self.model.training:
            return 0.0
        schedule = self.guidance.schedule.model_dump()
        return gamma_at(self.rollout_batch, self.num_rollout_batches, **schedule)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self._metric("time_generation", time.perf_counter() - started)
        self._student_ids = [list(ids) for ids in completion_ids]
        self._lessons = {}
        self._student_rewards: list[float] | None = None
        self._teacher_tokens = 0
        if self.gamma > 0:
            self._student_rewards = self._grade(self._student_ids)
            started = time.perf_counter()
            completion_ids, logprobs = self._teach(completion_ids, logprobs)
            self._metric("time_teacher", time.perf_counter() - started)
        elif self.guidance and self.teacher and self.model.training:
            self.teacher.close()
            self.teacher = None
        return completion_ids, logprobs

    def _teach(self, completion_ids: list[list[int]], logprobs: Any) -> tuple[Any, Any]:
        """Select rollouts, ask the teacher about them and splice its feedback on."""
        assert self.guidance and self.teacher and self.teacher_prompt and self._student_rewards
        num_groups = len(completion_ids) // self.num_generations
        chosen = select_rollouts(
            [ended(ids, self.eos_token_ids) for ids in completion_ids],
            self.num_generations,
            self.gamma,
            seed=self.args.seed,
            t=self.rollout_batch,
            first_group=self.accelerator.process_index * num_groups,
            correct=[reward > 0 for reward in self._student_rewards],
            rule=self.guidance.select,
        )
        texts = self._decode([completion_ids[i] for i in chosen])
        chats = [
            self.teacher_prompt.chat(question_of(self._rows[i]), text)
            for i, text in zip(chosen, texts, strict=True)
        ]
        completion_ids = list(completion_ids)
        said_before = self.teacher.num_generated_tokens
        replies = self.teacher.generate(chats)
        self._teacher_tokens = self.teacher.num_generated_tokens - said_before
        for i, reply in zip(chosen, replies, strict=True):
            lesson = self._lessons[i] = Lesson(reply, parse_feedback(reply))
            if lesson.feedback is None:
                continue
            ids = completion_ids[i]
            feedback_ids = self._tokenizer.encode(lesson.feedback.text, add_special_tokens=False)
            spliced, lesson.start = splice(ids, feedback_ids, ids[-1], self.max_completion_length)
            completion_ids[i] = spliced
            if logprobs is not None:  # text that was not sampled: None becomes the ratio 1 in TRL
                said = logprobs[i][: lesson.start]
                logprobs[i] = said + [None] * (len(spliced) - len(said))
        return completion_ids, logprobs

    def _grade(self, completion_ids: list[list[int]]) -> list[float]:
        """Reward completions outside the batch's own scoring; NaN where there is no verdict."""
        texts = self._decode(completion_ids)
        prompts = [row["prompt"] for row in self._rows]
        chats = not isinstance(prompts[0], str)
        completions = [[{"role": "assistant", "content": t}] for t in texts] if chats else texts
        per_function = self._calculate_rewards(self._rows, prompts, completions, completion_ids)
        self._pending_metrics.clear()
        self._pending_extra_logs.clear()
        rewards = (per_function * self.reward_weights.to(per_function.device)).sum(dim=1)
        return self._own(rewards.tolist())

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        started = time.perf_counter()
        self._rows = inputs
        output = super()._generate_and_score_completions(inputs)
        self._metric("time_rollout", time.perf_counter() - started)
        length = output["completion_ids"].size(1)
        lengths = output["completion_mask"].sum(dim=1).tolist()
        if self.guidance:
            rows = [[False] * length for _ in inputs]
            for i, lesson in self._lessons.items():
                if lesson.feedback:
                    mask = self.guidance.mask
                    rows[i] = guidance_row(lengths[i], lesson.start, length, mask)
            output["guidance_mask"] = torch.tensor(rows, device=output["completion_ids"].device)
        self._record(output, lengths)
        return output

    # --- the loss ---------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        shaped = self.guidance and self.guidance.aas.variant != "off"
        if not shaped or not inputs["guidance_mask"].any():
            return super()._compute_loss(model, inputs)
        self._loss_inputs = dict(inputs)  # a copy: the buffer is used again when num_iterations > 1
        try:
            return super()._compute_loss(model, self._loss_inputs)
        finally:
            self._loss_inputs = None

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        logps, *rest = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        inputs = self._loss_inputs
        if inputs is not None:
            aas = self.guidance.aas.model_dump()
            advantages, shaped = guided_advantages(
                logps, inputs["advantages"], inputs["guidance_mask"], **aas
            )
            old_logps = inputs.get("old_per_token_logps")
            if old_logps is not None:
                inputs["old_per_token_logps"] = torch.where(shaped, logps.detach(), old_logps)
            inputs["advantages"] = advantages
        return logps, *rest

    # --- order, metrics, records ------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        return epoch_aware(sampler) if isinstance(sampler, RepeatSampler) else sampler

    def _decode(self, completion_ids: list[list[int]]) -> list[str]:
        decode = self.processing_class.decode  # batch_decode takes an empty list for one empty text
        return [decode(ids, skip_special_tokens=True) for ids in completion_ids]

    def _own(self, values: list[float]) -> list[float]:
        """Return this process's slice of values gathered from all."""
        size = len(self._rows)
        return values[self.accelerator.process_index * size :][:size]

    def _metric(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _record(self, output: dict[str, Any], lengths: list[int]) -> None:
        """Keep the batch's rollouts, and log their figures."""
        by_function = [list(self._logs["rewards"][name]) for name in self.reward_func_names]
        weights = self.reward_weights.tolist()
        rewards = self._own(
            [
                sum(w * r for w, r in zip(weights, row, strict=True))
                for row in zip(*by_function, strict=True)
            ]
        )
        student_rewards = self._student_rewards or rewards
        texts = self._decode(output["completion_ids"])
        student_texts = self._decode(self._student_ids)
        self.rollouts = [
            Rollout(
                question=question_of(row),
                student_text=student_texts[i],
                text=texts[i],
                student_reward=verdict(student_rewards[i]),
                reward=verdict(rewards[i]),
                advantage=output["advantages"][i].item(),
                student_length=len(self._student_ids[i]),
                completion_length=lengths[i],
                asked=i in self._lessons,
                taught=i in self._lessons and self._lessons[i].feedback is not None,
                teacher_reply=self._lessons[i].reply if i in self._lessons else None,
            )
            for i, row in enumerate(self._rows)
        ]
        for name, value in summarise(self.rollouts).items():
            self._metric(name, value)
        self._metric("gamma", self.gamma)
        self._metric("teacher_tokens", self._teacher_tokens)


def verdict(reward: float) -> float | None:
    """Return a reward, None for TRL's NaN."""
    return None if math.isnan(reward) else reward


def question_of(row: dict[str, Any]) -> str:
    """Return the question as the teacher sees it: column `question`, else the last turn."""
    prompt = row["prompt"]
    return row.get("question") or (prompt if isinstance(prompt, str) else prompt[-1]["content"])


def epoch_aware(sampler: RepeatSampler) -> RepeatSampler:
    """Reseed each epoch's order: after a resume TRL's sampler would replay the first."""
    seed = sampler.seed
    sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(seed + epoch)
    return sampler
