"""What a job reads of its configuration: the keys without effect, and a plain form of the rest.

A method, or a point of a sweep, that differs from another only in keys that nothing reads is not
what its name says. Each section states what it does not read (`unread`) and how it writes what can
be written in several ways (`plain`); here are the keys of `training`, which several sections decide
about, and what is only recorded.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from thinktuning.io.section import flattened
from thinktuning.models.config import AnyDocumentsConfig, OrganismConfig
from thinktuning.study import optimizers
from thinktuning.study.extra import CLIPPED, known

if TYPE_CHECKING:
    from thinktuning.algorithms.config import AlgorithmConfig
    from thinktuning.models.config import Model
    from thinktuning.study.jobs import TrainJob
    from thinktuning.study.study import Study
    from thinktuning.study.training import TrainingConfig

OF_TRAINING = ("training", "algorithm", "teacher")  # what an untrained method does not use
REWARDS = ("training.reward", "training.reward_weights")
# Keys that say what is written down, and when a training is stopped as broken: no method is
# another one by these, but it may need them.
RECORDS = (
    *(f"training.{key}" for key in ("save_steps", "save_minutes", "rollouts_per_step")),
    *(f"training.{key}" for key in ("held_out", "max_prompt_length", "vllm.max_logp_difference")),
    *(f"training.{key}" for key in ("report_to", "run_name", "project")),
    *(f"training.extra.{key}" for key in ("log_level", "log_level_replica")),
    *(f"training.extra.vllm_{key}" for key in ("group_port", "server_timeout")),
    "algorithm.max_untaught_batches",
)


def unread(job: "TrainJob") -> Iterator[tuple[str, str]]:
    """Yield the keys of a job that have no effect on its results, and why.

    A key stands for all below it.
    """
    if not job.train:
        yield from ((section, "train is false") for section in OF_TRAINING)
        return
    yield from job.algorithm.unread(job.training)
    yield from job.teacher.unread()
    yield from optimizers.unread(job.training.extra)
    yield from _clips(job.algorithm, job.training)
    if not (_uses_rewards(job) or job.training.held_out):
        reason = f"the loss of algorithm {job.algorithm.type} does not depend on rewards"
        yield from ((key, reason) for key in REWARDS)


def recorded(job: "TrainJob") -> Iterator[str]:
    """Yield the keys of a trained method's job that only decide what is written down."""
    yield from RECORDS
    algorithm: Any = job.algorithm
    if not _uses_rewards(job):
        yield from REWARDS
    own = hasattr(algorithm, "min_reward") and algorithm.min_reward is None
    if not (algorithm.asks_what_is_right() or own):
        yield "training.right_from"


def _uses_rewards(job: "TrainJob") -> bool:
    asked = job.algorithm.uses_rewards or job.algorithm.asks_what_is_right()
    return bool(asked or job.training.max_resamplings)


def _clips(algorithm: "AlgorithmConfig", training: "TrainingConfig") -> Iterator[tuple[str, str]]:
    """Yield the clips of the ratio that do nothing to the loss of TRL.

    Where each rollout batch has one optimizer step, TRL has no old log-probabilities, and the ratio
    is exactly 1: within all clips. (With vLLM's correction it does have them.)
    """
    if not algorithm.has_kl_term:  # `OF_SURROGATE`
        return
    if training.loss_type in CLIPPED:
        corrected = training.vllm and training.vllm.importance_sampling_correction
        if training.optimizer_steps_per_rollout_batch > 1 or corrected:
            return
        reason = (
            "a rollout batch has one optimizer step, in which the ratio is 1 (training."
            "steps_per_generation * num_iterations is gradient_accumulation_steps)"
        )
        for key in ("epsilon", "extra.epsilon_high", "delta"):
            yield f"training.{key}", reason
    elif training.loss_type != "cispo":
        yield "training.epsilon", f"loss_type {training.loss_type} has no clip"
    elif "epsilon_high" in training.extra:
        yield "training.epsilon", "loss_type cispo clips above only, at extra.epsilon_high"


def why_unread(job: "TrainJob", key: str) -> tuple[str, str] | None:
    """Return the key that makes a dotted key of a job unread, itself or one above, and why.

    None if it is read.
    """
    section, _, rest = key.partition(".")
    if section == "algorithm" and rest.split(".")[0] not in type(job.algorithm).model_fields:
        return key, f"algorithm {job.algorithm.type} has no such key"
    found = ((above, why) for above, why in unread(job) if f"{key}.".startswith(f"{above}."))
    return next(found, None)


def what_it_does(study: "Study", method: str) -> str:
    """Return all that a method's results depend on, whatever it is called and however written."""
    job = study.train_job(method, study.seeds[0])
    prompt = {"system": job.prompt.system or None, "suffix": job.prompt.suffix}
    if not job.train:
        return json.dumps(prompt)
    found = job.model_dump(include={"teacher", "answer_kind", "chat_template_kwargs"})
    found |= {"prompt": prompt, "algorithm": job.algorithm.plain()}
    found["training"] = plain(job.training)
    for key in (*(key for key, _ in unread(job)), *recorded(job)):
        drop(found, key)
    return json.dumps(found, sort_keys=True)


def what_it_makes(study: "Study") -> str:
    """Return all that the results of a study depend on, however it is written.

    Seeds, tasks and how answers are sampled are left out: they are the same at all points.
    """
    warmup, options = study.warmup_job() if study.warmup else None, study.chat_template_kwargs
    parts = [study.data_job().model_dump(), plain_model(study.model), options]
    if warmup:
        section = warmup.warmup.unnamed()
        parts += [warmup.model_dump(exclude={"warmup"}), section.model_dump(exclude={"documents"})]
        parts.append(plain_model(section.documents) if section.documents else {})
    return json.dumps([*parts, *(what_it_does(study, method) for method in study.methods)])


def unread_at(study: "Study", key: str) -> str | None:
    """Return why nothing reads a dotted key of a study's sections, None if something does."""
    section, _, rest = key.partition(".")
    documents: AnyDocumentsConfig | None = None
    if section == "model" and isinstance(study.model, OrganismConfig):
        documents = study.model
    if key.startswith("warmup.documents.") and study.warmup:
        documents, rest = study.warmup.documents, rest.removeprefix("documents.")
    if documents:
        return dict(documents.unread()).get(rest)
    of_tutor = key.startswith(("teacher.prompt", "teacher.behaviors"))
    if section not in OF_TRAINING or (of_tutor and study.warmup and study.warmup.has_tutor):
        return None
    reasons: dict[str, list[str]] = {}
    for name in study.trained():
        own = flattened({section: getattr(study.methods[name], section)})
        if any(f"{key}.".startswith(f"{each}.") for each in own):
            reason = "it is overridden"
        elif found_here := why_unread(study.train_job(name, study.seeds[0]), key):
            reason = found_here[1]
        else:
            return None
        reasons.setdefault(reason, []).append(name)
    told = [f"{reason} ({', '.join(methods)})" for reason, methods in reasons.items()]
    return ", ".join(told) or "no method is trained"


def plain(training: "TrainingConfig") -> dict[str, Any]:
    """Return the section as what it does: TRL's defaults left out, and rewards in one order."""
    found = training.model_dump(exclude={"reward_weights"})
    weights = training.reward_weights or [1.0] * len(training.rewards)
    found["reward"] = sorted(zip(training.rewards, weights, strict=True))
    defaults = {name: option["default"] for name, option in known().items()}
    defaults |= {"epsilon_high": training.epsilon, "min_p": 0.0, "optim": optimizers.DEFAULT}
    found["extra"] = {
        name: value for name, value in training.extra.items() if value != defaults[name]
    }
    return found


def plain_model(model: "Model | AnyDocumentsConfig") -> dict[str, Any]:
    """Return the section of a model, or of documents, without the keys that it does not read."""
    found = model.model_dump()
    for key, _ in model.unread() if isinstance(model, AnyDocumentsConfig) else ():
        del found[key]
    return found


def drop(values: dict[str, Any], key: str) -> None:
    """Remove the entry of a dotted key from nested values, if there is one."""
    *above, last = key.split(".")
    place: Any = values
    for part in above:
        place = place.get(part)
        if not isinstance(place, dict):
            return
    place.pop(last, None)
