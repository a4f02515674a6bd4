"""Study: the contents of a study file, and the jobs that it resolves into.

Unknown keys, wrong types and contradictions are refused, with the key path and the fix.
`Study.train_job(method, seed)` and its siblings resolve the study into jobs.

Methods are data: named sets of overrides of the sections `prompt`, `training`, `algorithm` and
`teacher`. Vanilla GRPO is `algorithm: {type: grpo}`.

Imports neither torch nor transformers: `thinktuning --help` and the Snakefile import it.
"""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.data.config import DataConfig, PromptConfig
from thinktuning.evaluation.config import (
    EvaluationConfig,
    JudgeConfig,
    StudyEvaluationConfig,
    TaskConfig,
)
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.section import Name, Plain, Section, Seed
from thinktuning.models.chat import check_options
from thinktuning.models.config import Model, WarmupConfig
from thinktuning.models.documents import CHECK_SUFFIX
from thinktuning.study.budget import BudgetConfig, check_references
from thinktuning.study.config import ComparisonConfig, MethodConfig
from thinktuning.study.effects import check_distinct, check_overrides, labels
from thinktuning.study.extra import refusal
from thinktuning.study.faults import check_sampling, check_tasks, unguided
from thinktuning.study.held_out import check_held_out
from thinktuning.study.jobs import (
    CompareJob,
    DataJob,
    EvaluateJob,
    ExemplarsJob,
    JudgeJob,
    TaskData,
    TrainJob,
    WarmupJob,
)
from thinktuning.study.merging import merge
from thinktuning.study.points import points_of
from thinktuning.study.resources import StagesConfig, check_sharding
from thinktuning.study.reward import check_reward
from thinktuning.study.sweep import SweepConfig
from thinktuning.study.tracked import check_run_names
from thinktuning.study.training import TrainingConfig
from thinktuning.teachers.config import TeacherConfig

OVERRIDABLE = ("prompt", "training", "algorithm", "teacher")
TemplateOptions = Annotated[dict[str, Plain], AfterValidator(check_options)]


class Study(Section):
    """A complete study."""

    name: Name
    seeds: Annotated[list[Seed], Field(min_length=1)]
    data: DataConfig
    model: Model
    warmup: WarmupConfig | None = None
    prompt: PromptConfig
    chat_template_kwargs: TemplateOptions = Field(default_factory=dict)
    training: TrainingConfig
    algorithm: AnyAlgorithmConfig
    teacher: TeacherConfig
    methods: Annotated[dict[Name, MethodConfig], Field(min_length=1)]
    tasks: Annotated[dict[Name, TaskConfig], Field(min_length=1)]
    evaluation: StudyEvaluationConfig
    comparison: ComparisonConfig
    judge: JudgeConfig | None = None
    resources: StagesConfig = StagesConfig()
    sweep: SweepConfig | None = None
    _points: dict[str, "Study"] = PrivateAttr(default_factory=dict)
    _point: str = PrivateAttr("")  # the name of this one, if it is a point of a sweep

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat; list each training seed once")
        if unknown := [b for b in self.comparison.baselines if b not in self.methods]:
            raise ValueError(
                f"comparison.baselines names {unknown}, not among methods {list(self.methods)}"
            )
        check_tasks(self.tasks)
        self._check_references()
        self._check_documents()
        check_sampling(self)
        train = self.resources.train
        kinds = {task: spec.answer_kind for task, spec in self.tasks.items()}
        check_references(self.budgets(), self.methods, self.trained())
        for name in self.methods:
            job = self.train_job(name, self.seeds[0])
            if job.train:
                check_reward(name, job, self.data)
                given = (kinds, self.data.answer_kind, train.num_processes)
                check_held_out(name, job.training.held_out, *given, job.training.rewards)
                check_sharding(name, job, train)
                if reason := refusal(job.algorithm, job.training):
                    raise ValueError(f"method {name}: {reason}")
            check_overrides(self, name, job)
        if self.sweep:
            self._points = points_of(self, self.sweep)
        if not (info.context or {}).get("is_point"):
            check_distinct(self.methods, self.points())
        check_run_names(self.points())
        return self

    def points(self) -> dict[str, "Study"]:
        """Return the studies of a sweep by point; without a sweep, this one under ""."""
        return self._points or {"": self}

    def _check_references(self) -> None:
        """Refuse names in `published` and `expected` that are unknown or ambiguous."""
        if "mean" in self.tasks:
            raise ValueError("tasks.mean: rename it; in `comparison`, mean is that of all tasks")
        known = {"method": set(self.methods), "task": {*self.tasks, "mean"}}
        found = []
        for method, baselines in self.comparison.published.items():
            found += [("published", "method", name) for name in (method, *baselines)]
            found += [("published", "task", t) for tasks in baselines.values() for t in tasks]
        for method, tasks in self.comparison.expected.items():
            found += [("expected", "method", method)]
            found += [("expected", "task", task) for task in tasks]
        for key, kind, name in found:
            if name not in known[kind]:
                raise ValueError(
                    f"comparison.{key} names the {kind} {name!r}, which is not among the study's"
                    f" {sorted(known[kind])}"
                )

    def _check_documents(self) -> None:
        """Refuse a warm-up on the toy model's documents where they contradict the study."""
        if self.warmup and not self.warmup.documents and self.data.answer_kind == "text":
            raise ValueError("warmup writes gold answers into boxes; not those of kind text")
        if not self.warmup or not self.warmup.documents:
            return
        if self.data.answer_kind not in ("number", "latex"):
            raise ValueError(
                f"warmup.documents are sums, but data.answer_kind is {self.data.answer_kind};"
                " remove them, to warm up on worked answers to training questions"
            )
        if CHECK_SUFFIX.strip() in self.prompt.suffix:
            raise ValueError(
                f"prompt.suffix has {CHECK_SUFFIX.strip()!r}, with which warmup.documents ask for"
                " a check, so that their terse answers would ignore it; put it into the prompt of"
                " a method"
            )

    def train_job(self, method: str, seed: int) -> TrainJob:
        """Resolve a training job: the study's sections with the method's overrides merged in.

        Raises:
            StudyError: the merged sections are invalid.
        """
        spec = self.methods[method]
        merged = {
            section: merge(getattr(self, section).model_dump(), getattr(spec, section), (section,))
            for section in OVERRIDABLE
        }
        job = {
            "method": method,
            "seed": seed,
            "train": spec.train,
            "answer_kind": self.data.answer_kind,
            "chat_template_kwargs": self.chat_template_kwargs,
        }
        try:
            found = TrainJob.model_validate(job | merged)
        except ValidationError as error:
            raise StudyError(describe(error, TrainJob, f"methods.{method}.")) from None
        parts = {"method": method, "seed": str(seed)}
        run = f"{method}-seed{seed}"
        recorded = found.training.named(run, self.name, self._point, **parts)
        return found.model_copy(update={"training": recorded})

    def evaluate_job(self, method: str, seed: int | None, task: str) -> EvaluateJob:
        """Resolve an evaluation job; `seed` is None for an untrained method."""
        spec = self.tasks[task]
        job = self.train_job(method, self.seeds[0])
        return EvaluateJob(
            method=method,
            seed=seed,
            task=task,
            lm_eval=spec.lm_eval,
            answer_kind=spec.answer_kind,
            num_samples=spec.num_samples,
            prompt=job.prompt,
            evaluation=self.task_evaluation(task),
            chat_template_kwargs=self.chat_template_kwargs,
            reward=spec.reward,
            right_from=spec.right_from,
        )

    def task_evaluation(self, task: str) -> EvaluationConfig:
        """Return how a task's answers are sampled."""
        return self.evaluation.of_task(self.tasks[task])

    def data_job(self) -> DataJob:
        """Resolve the data job."""
        return DataJob(
            data=self.data,
            tasks={
                name: TaskData(data=task.data, answer_kind=task.answer_kind)
                for name, task in self.tasks.items()
            },
        )

    def exemplars_job(self) -> ExemplarsJob:
        """Resolve the check of the teachers' exemplars; without a teacher it has no prompts."""
        jobs = [self.train_job(method, self.seeds[0]) for method in self.trained()]
        return ExemplarsJob(
            teacher_prompts=sorted({j.teacher.prompt for j in jobs if j.algorithm.uses_teacher}),
            ngram=self.data.ngram,
            max_ngram_count=self.data.max_ngram_count,
        )

    def compare_job(self, point: str = "", elsewhere: dict[str, str] | None = None) -> CompareJob:
        """Resolve the comparison job.

        Args:
            point: of the sweep.
            elsewhere: the directories of results that other points have (`sharing.elsewhere`).
        """
        betas = {m: self.train_job(m, self.seeds[0]).training.beta for m in self.trained()}
        return CompareJob(
            study=f"{self.name}/{point}" if point else self.name,
            methods=labels(self),
            seeds={name: self.seeds if m.train else [] for name, m in self.methods.items()},
            evaluated_seeds={name: self.evaluated_seeds(name) for name in self.methods},
            tasks=list(self.tasks),
            answer_kinds={name: task.answer_kind for name, task in self.tasks.items()},
            comparison=self.comparison,
            judged=self.judge is not None,
            elsewhere=elsewhere or {},
            betas=betas if any(betas.values()) else {},
            unguided=unguided(self),
        )

    def warmup_job(self) -> WarmupJob:
        """Resolve the warm-up job; the study must have a `warmup`."""
        assert self.warmup
        tutors = self.warmup.has_tutor
        return WarmupJob(
            answer_kind=self.data.answer_kind,
            prompt=self.prompt,
            teacher_prompt=self.teacher.prompt if tutors else None,
            behaviors=self.teacher.behaviors if tutors else None,
            warmup=self.warmup.named("warmup", self.name, self._point),
            chat_template_kwargs=self.chat_template_kwargs,
        )

    def judge_job(self, task: str) -> JudgeJob:
        """Resolve the judge's jobs on a task; the study must have a `judge`."""
        assert self.judge
        return JudgeJob(answer_kind=self.tasks[task].answer_kind, judge=self.judge)

    def models(self) -> dict[str, Model]:
        """Return the models to fetch or train: `base`, and `judge` and `teacher_METHOD` if any.

        With a warm-up the first is called `raw`, and the warm-up trains `base` from it.
        """
        found = {"raw" if self.warmup else "base": self.model}
        if self.judge and self.judge.model:
            found["judge"] = self.judge.model
        for method in self.trained():
            job = self.train_job(method, self.seeds[0])
            if job.algorithm.uses_teacher and job.teacher.model:
                found[f"teacher_{method}"] = job.teacher.model
        return found

    def trained(self) -> list[str]:
        """Return the methods that train a model, in the study's order."""
        return [name for name, method in self.methods.items() if method.train]

    def budgets(self) -> dict[str, BudgetConfig]:
        """Return trained method -> the tokens that end its trainings, for those with a budget."""
        found = {m: self.train_job(m, self.seeds[0]).training.budget for m in self.trained()}
        return {method: budget for method, budget in found.items() if budget}

    def evaluated_seeds(self, method: str) -> list[int]:
        """Return the seeds to evaluate a method with; an untrained one is evaluated once."""
        return self.seeds if self.methods[method].train else self.seeds[:1]
