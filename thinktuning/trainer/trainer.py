"""ThinkTuningTrainer: `trl.GRPOTrainer` with the hooks of an algorithm.

Short methods are overridden and none is copied:

- `_generate_single_turn`: the algorithm's `augment` changes what was sampled. TRL then decodes,
  rewards and measures the changed completions.
- `_calculate_rewards`: keeps the rewards, for the rollout records.
- `_generate_and_score_completions`: adds the algorithm's `loss_inputs` to the batch, which TRL
  shuffles and splits along with it.
- `_compute_loss` and `_get_per_token_logps_and_entropies`: the algorithm's `shape` replaces inputs
  of TRL's surrogate once log pi is known, or its `loss` replaces the surrogate. With vLLM, log pi
  is also compared with the log-probabilities that vLLM sampled with.
- `training_step`: checks that our `_compute_loss` ran.
- `_get_train_sampler`: on request, seeds each epoch's order separately.
- `_run_epoch`: takes no step after the last one, when resuming from a checkpoint of that.
- `log`: adds the used share of a token budget (`budget`).

A run is the algorithm in its configuration only if the hooks run. Training therefore stops if a TRL
release no longer calls one of them, reads an input of the loss before `shape` has replaced it, or
does not read it afterwards.

Its base class `ResamplingTrainer` samples without padding, also what TRL does not ask for, and that
one's, `SparingTrainer`, computes TRL's log-probabilities without padding, and leaves out what
cannot change a gradient. With `algorithm: {type: grpo}` the gradients are stock TRL's, to
rounding; with `skip_padding=False` everything equals stock TRL bit for bit.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl.trainer.utils import RepeatSampler

from thinktuning.algorithms.batch import EXTRA, SUMMED, UNCORRUPTED, RolloutBatch
from thinktuning.algorithms.hooks import LossInputs, broken_hook, require
from thinktuning.algorithms.papers import paper_of
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.algorithms.rollout import Rollout, summarize
from thinktuning.grading.once import GradedOnce, graded_once
from thinktuning.models.chat import continuation
from thinktuning.teachers.local import SelfTeacher
from thinktuning.teachers.prompts import load
from thinktuning.teachers.protocol import Teacher
from thinktuning.trainer.arguments import algorithm_config, changed_options
from thinktuning.trainer.budget import TokenBudget, scored_tokens
from thinktuning.trainer.replies import messages
from thinktuning.trainer.resampling import ResamplingTrainer
from thinktuning.trainer.sampling import differences, refuse_other_weights
from thinktuning.trainer.scoring import TextScorer


class ThinkTuningTrainer(ResamplingTrainer):
    """GRPO with an algorithm's hooks.

    After each rollout batch, `rollouts` holds the `Rollout`s of all processes.

    Args:
        args: positional arguments of `trl.GRPOTrainer`.
        teacher: gives feedback, for an algorithm that uses one.
        algorithm: an algorithm object; by default the one that `args.algorithm` selects.
        kwargs: keyword arguments of `trl.GRPOTrainer`.

    Raises:
        ValueError: the teacher is missing or superfluous, or the algorithm cannot honor an option.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Teacher | None = None,
        algorithm: Algorithm[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if algorithm is None:
            config = algorithm_config(self.args)
            prompt = None
            if config.uses_teacher:
                prompt = load(self.args.teacher_prompt).select(self.args.teacher_behaviors)
            algorithm = config.build(teacher, prompt)
        algorithm.check(changed_options(self))
        self.algorithm: Algorithm[Any] = algorithm
        if named := paper_of(algorithm.config.type):  # for TRL's `create_model_card`
            self._name, self._paper = named
            self._tag_names = [*ResamplingTrainer._tag_names, "thinktuning"]
        if algorithm.augments or self.max_resamplings:
            self.reward_funcs: list[Any] = [graded_once(function) for function in self.reward_funcs]
        if isinstance(algorithm.teacher, SelfTeacher):
            algorithm.teacher.attach(self.model, self._tokenizer, self.accelerator.device)
        if algorithm.config.scores_texts:
            algorithm.scorer = TextScorer(self)
        self.budget = TokenBudget(getattr(self.args, "budget", None))
        self.add_callback(self.budget)
        self.rollouts: list[Rollout] = []
        self._loss_inputs: LossInputs | None = None
        self._sampled_at = -1  # the optimizer step whose weights sampled the rollouts
        self._differences: list[Tensor] = []

    @property
    def rollout_batch(self) -> int:
        """t, the rollout batches so far; from the trainer's state alone, so that it resumes."""
        accumulation = self.args.gradient_accumulation_steps
        micro_steps = self.state.global_step * accumulation + self._step % accumulation
        return int(micro_steps // (self.args.steps_per_generation * self.num_iterations))

    @property
    def num_rollout_batches(self) -> int:
        """The number of rollout batches in the whole training."""
        uses = self.args.steps_per_generation * self.num_iterations
        return int(-(-self.state.max_steps * self.args.gradient_accumulation_steps // uses))

    def _new_batch(self, rows: list[dict[str, Any]]) -> RolloutBatch:
        training = self.model.training
        num_generations = self.num_generations if training else self.num_generations_eval
        for function in self.reward_funcs:
            if isinstance(function, GradedOnce):
                function.forget()
        return RolloutBatch(
            rows=rows,
            num_generations=num_generations,
            t=self.rollout_batch if training else 0,
            num_batches=self.num_rollout_batches if training else 0,
            seed=self.args.seed,
            first_group=self.accelerator.process_index * (len(rows) // num_generations),
            eos_token_ids=self.eos_token_ids,
            max_completion_length=self.max_completion_length,
            decode=self._decode,
            extend=lambda ids, text: continuation(ids, text, self._tokenizer),
            grade=self._grade,
            budget_used=self.budget.used if training else None,
            right_from=getattr(self.args, "right_from", None),
            sample=self._sample,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.batch = self._new_batch(inputs)
        if self.model.training:
            self._sampled_at = self.state.global_step
        with self._timed("time_rollout"):
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.algorithm.augments and (self.tools or not self.batch.student_ids):
            # several turns, or `rollout_func`: take the completions that TRL trains on
            ids, mask = output["completion_ids"], output["completion_mask"]
            own = mask * output.get("tool_mask", mask)  # without what tools wrote
            self.batch.student_ids, self.batch.completion_ids = (
                [row[used.bool()].tolist() for row, used in zip(ids, kept, strict=True)]
                for kept in (own, mask)
            )
        require(len(self.batch.student_ids) == len(inputs), "did not call _generate_single_turn")
        require(len(self.batch.rewards) == len(inputs), "did not call _calculate_rewards")
        self.batch.metrics["scored_tokens"] = scored_tokens(self, output["prompt_mask"], self.batch)
        output |= self.algorithm.loss_inputs(self.batch, output)
        self._record(output["advantages"].tolist())
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with self._timed("time_generation"), self._open_rows_only():
            completion_ids, logprobs = super()._generate_single_turn(*args, **kwargs)
        if len(completion_ids) == len(self.batch.rows):  # not a later turn, with tools
            self._prompt_ids = args[0]
            self.batch.sampled(completion_ids, logprobs)
            if self.model.training:
                self._resample_equal(*args, **kwargs)
                if self.algorithm.augments:
                    self.algorithm.augment(self.batch)
                return self.batch.completion_ids, self.batch.logprobs
        return completion_ids, logprobs

    def _grade(self, completion_ids: Any) -> list[float]:
        """Reward completions outside TRL's own scoring of the batch; NaN: no verdict."""
        prompts = [row["prompt"] for row in self.batch.rows]
        if isinstance(prompts[0], str):
            completions: list[Any] = self._decode(completion_ids)
        else:
            completions = messages(self._tokenizer, self._prompt_ids, completion_ids)
        extra = {name: list(values) for name, values in self._pending_extra_logs.items()}
        self._calculate_rewards(self.batch.rows, prompts, completions, completion_ids)
        self._pending_extra_logs.clear()  # TRL wants one value per row, and will add its own
        self._pending_extra_logs.update(extra)
        rewards, self.batch.rewards = self.batch.rewards, []  # TRL's own scoring sets them
        return rewards

    def _calculate_rewards(self, *args: Any) -> Tensor:
        per_function: Tensor = super()._calculate_rewards(*args)  # (rollouts of all, functions)
        weighted = per_function * self.reward_weights.to(per_function.device)
        silent = weighted.isnan().all(dim=1)  # as in TRL: no verdict at all, not a reward of 0
        rewards = weighted.nansum(dim=1).masked_fill(silent, torch.nan)
        start = self.accelerator.process_index * len(self.batch.rows)
        self.batch.rewards = rewards[start : start + len(self.batch.rows)].tolist()
        return per_function

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train for an epoch, unless the checkpoint that was loaded is of the last step.

        transformers compares with `max_steps` only after a step.
        """
        ended = self.state.global_step >= self.state.max_steps
        if ended or self.budget.ends(self.args, self.state):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train on a micro-batch, and check that our `_compute_loss` ran."""
        self._loss_ran = False
        loss = super().training_step(*args, **kwargs)
        self._micro_batch = None
        require(self._loss_ran, "did not call _compute_loss")
        return loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._loss_ran = True
        self._micro_batch = inputs if self.model.training else None
        if not self.algorithm.changes_loss:
            return super()._compute_loss(model, inputs)
        # a copy: the buffer is reused if num_iterations > 1
        self._loss_inputs = shaped = LossInputs(inputs)
        try:
            loss = super()._compute_loss(model, shaped)
        finally:
            self._loss_inputs = None
        if shaped.logps is None:
            raise broken_hook("did not call _get_per_token_logps_and_entropies")
        shaped.check_read()
        own = self.algorithm.loss(shaped.logps, inputs)
        if own is None:
            return loss
        return own / (self.current_gradient_accumulation_steps if self.model.training else 1)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        logps, *rest = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if (batch := self._micro_batch) is not None:
            if self._computed is not None:
                mask = batch["completion_mask"] * self._computed[:, None]
                batch = batch | {"completion_mask": mask}
            self._compare_with_engine(logps, batch)
        if (inputs := self._loss_inputs) is not None:
            inputs.shape(logps, self.algorithm)
        return logps, *rest

    def _compare_with_engine(self, logps: Tensor, inputs: dict[str, Any]) -> None:
        """Compare log pi with vLLM's, for the weights that sampled; log and check it each batch."""
        sampled = self.use_vllm and "sampling_per_token_logps" in inputs
        if not sampled or self.state.global_step != self._sampled_at:
            return
        self._differences.append(differences(logps, inputs))
        if not self.accelerator.sync_gradients:  # more micro-batches before the optimizer step
            return
        local = torch.stack(self._differences).sum(0)
        self._differences = []
        total, count = self.accelerator.gather(local).view(-1, 2).sum(0).tolist()
        if count:
            self._metric("sampling_logp_difference", total / count)
            limit = getattr(self.args, "max_logp_difference", None)
            refuse_other_weights(total / count, limit, self.args.top_p)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        shuffled = isinstance(sampler, RepeatSampler) and sampler.shuffle
        if getattr(self.args, "reseed_each_epoch", False) and shuffled:
            seed = sampler.seed
            sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(seed + epoch)
        return sampler

    def _decode(self, completion_ids: Any) -> list[str]:
        decode = self.processing_class.decode  # batch_decode reads an empty list as one empty text
        return [decode(ids, skip_special_tokens=True) for ids in completion_ids]

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._metric(name, time.perf_counter() - started)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as TRL does, with the used share of the token budget."""
        if "loss" in logs and (used := self.budget.used) is not None:
            logs = logs | {"budget_used": used}
        super().log(logs, *args, **kwargs)

    def _metric(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _record(self, advantages: list[float]) -> None:
        """Keep the rollouts of all processes, and log their metrics."""
        self.rollouts = gather_object(self.batch.records(advantages))
        metrics = self.batch.metrics | {"num_cut_off": self.batch.num_cut_off}
        summed = (*SUMMED, EXTRA, UNCORRUPTED)
        counts = gather_object([{n: v for n, v in metrics.items() if n in summed}])
        metrics |= {name: sum(each[name] for each in counts) for name in counts[0]}
        metrics = summarize(self.rollouts, self.batch.right_from) | metrics
        metrics["student_tokens"] += metrics["resampled_tokens"]
        if self.model.training:
            self.budget.count(metrics)
        for name, value in metrics.items():
            self._metric(name, value)
