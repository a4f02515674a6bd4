"""Train one method with one seed.

    thinktuning train --config results/runs/grpo/seed0/config.json ...

Writes model/ (safetensors), metrics.jsonl (one row per rollout batch), rollouts.jsonl (some of each
batch) and provenance.json. Until training ends, these are in checkpoints/. An interrupted run that
is started again with the same configuration, model and data resumes from its last complete
checkpoint and reproduces the uninterrupted run. A finished run leaves no checkpoints.
"""

import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.commands.budgets import spent, with_budget
from thinktuning.commands.checkpoints import (
    checkpointer,
    gather_when_saving,
    prepare_checkpoints,
    remove_checkpoints,
)
from thinktuning.commands.held_out import held_out
from thinktuning.commands.inputs import check_tokens, fingerprint, read_inputs
from thinktuning.commands.recorder import diverged, recorder
from thinktuning.commands.settings import (
    check_extra,
    check_vocabulary,
    keep_loss_in_float32,
    naming_extra,
    trainer_settings,
    try_optimizer,
    untracked,
)
from thinktuning.commands.trackers import tracking
from thinktuning.data.curriculum import easy_first
from thinktuning.data.questions import read_questions
from thinktuning.grading.grader import Grader
from thinktuning.io import provenance
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, sha256, write_text_atomic
from thinktuning.io.trackers import check_installed
from thinktuning.models.chat import only_turn_ends
from thinktuning.models.checks import check
from thinktuning.models.config import model_sha256
from thinktuning.models.probe import saved_as_trained
from thinktuning.planning.limits import (
    check_adapter,
    check_context,
    check_gpus,
    check_teacher_context,
    check_vllm,
    checked_prompts,
)
from thinktuning.study.jobs import TrainJob

RECORDS = ("metrics.jsonl", "rollouts.jsonl")
# Timeout between processes: only rank 0 writes checkpoints, and it may wait for a server.
TIMEOUT = timedelta(hours=2)

if TYPE_CHECKING:
    from thinktuning.teachers.protocol import Teacher
    from thinktuning.trainer.trainer import ThinkTuningTrainer


def train(
    job: TrainJob,
    model_dir: Path,
    data: Path,
    output: Path,
    teacher_dir: Path | None = None,
    budget_runs: Sequence[Path] = (),
) -> None:
    """Run or resume one training job.

    Args:
        job: the resolved configuration.
        model_dir: the base model.
        data: the prepared training questions.
        output: the run's directory.
        teacher_dir: the teacher's model, for `teacher.backend: model`.
        budget_runs: the provenance.json of the runs that `training.budget` refers to.

    Raises:
        StudyError: the data or the model do not match the configuration, the saved model is not the
            one that was trained, or a run that the budget refers to is missing.
    """
    import torch
    import transformers
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list, set_seed
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from thinktuning.models.emulated import products_in_float32

    # trl reads and calls these at every rollout batch; no setting of ours avoids it
    old_names = "`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated"
    warnings.filterwarnings("ignore", old_names, FutureWarning, r"transformers\.modeling_utils")
    check_vllm(job)
    check_installed(job.training, "training")
    check_extra(job)
    job = with_budget(job, budget_runs)
    rows = read_questions(data, job.answer_kind)
    teaches = job.algorithm.uses_teacher and job.teacher.backend == "self"
    check(
        model_dir,
        f"--model {model_dir}",
        system=bool(job.prompt.system) or teaches,
        template_kwargs=job.chat_template_kwargs,
    )
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    processes = PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)
    check_gpus(torch.cuda.device_count(), processes.num_processes)
    prompts = checked_prompts(job, rows, tokenizer, data, processes.num_processes)
    check_context(job, rows, tokenizer, AutoConfig.from_pretrained(model_dir))
    teacher = build_teacher(job, rows, teacher_dir)
    if measure := job.training.curriculum:
        size = job.training.num_prompts * processes.num_processes
        prompts = easy_first(prompts, measure, size, job.seed)
    checkpoints = output / "checkpoints"
    inputs: dict[str, str | None] = {}
    resume_from: list[str | None] = [None]
    if processes.is_main_process:  # alone, since it also removes checkpoints of other jobs
        inputs = read_inputs(job, tokenizer, model_dir, data, teacher_dir)
        made_from = fingerprint(untracked(job), inputs, processes.num_processes)
        adaptive = bool(job.training.extra.get("use_adaptive_entropy"))
        resume_from = [prepare_checkpoints(checkpoints, made_from, adaptive)]
    broadcast_object_list(resume_from)
    transformers.logging.disable_progress_bar()
    set_seed(job.seed)
    started = time.perf_counter()
    loading = job.training.extra.get("model_init_kwargs", {})
    with naming_extra(job):
        model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", **loading)
    check_vocabulary(job, model.config.get_text_config().vocab_size)
    model.generation_config = only_turn_ends(model, tokenizer)
    check_adapter(job, model)
    with Grader(num_workers=torch.get_num_threads()) as grader:  # the job's threads
        with naming_extra(job):
            trainer = build_trainer(job, model, tokenizer, prompts, grader, teacher, checkpoints)
            try_optimizer(trainer)
        check_tokens(trainer, prompts[:8], job.chat_template_kwargs)
        keep_loss_in_float32(trainer)
        if vllm := job.training.vllm:  # its engine samples here, and has reset the seed
            set_seed(job.seed + processes.process_index // vllm.tensor_parallel_size)
        trainer.remove_callback(transformers.ProgressCallback)
        trainer.add_callback(checkpointer(job.training))
        if job.training.held_out:
            trainer.add_callback(held_out(job, trainer, grader, data))
        if processes.is_main_process:
            record = recorder(trainer, checkpoints, started, job.training.rollouts_per_step)
            trainer.add_callback(record)
            if job.training.trackers:
                config = untracked(job).model_dump()
                so_far = checkpoints / "metrics.jsonl"
                trainer.add_callback(
                    tracking(job.training, config, output, lambda: record.row, so_far)
                )
        try:
            with products_in_float32(job.training.bf16):
                trainer.train(resume_from_checkpoint=resume_from[0])
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # torch.multinomial's complaint
                raise
            what = f"the student's next-token probabilities are not finite ({error})"
            raise diverged(trainer, checkpoints, what) from error
    with saved_as_trained(trainer, tokenizer, checkpoints / "model"):
        save_model(job, trainer, checkpoints / "model")
    if processes.is_main_process:
        publish(job, inputs, checkpoints, output, processes.num_processes)
    if processes.num_processes > 1:  # if one process fails, the launcher kills all: wait for them
        processes.wait_for_everyone()
        processes.destroy_process_group()


def build_teacher(
    job: TrainJob, rows: list[dict[str, Any]], teacher_dir: Path | None
) -> "Teacher | None":
    """Return the configured teacher; None if the algorithm uses none."""
    if not job.algorithm.uses_teacher:
        return None
    from thinktuning.teachers.connect import connect
    from thinktuning.teachers.local import LocalTeacher, SelfTeacher

    if teacher_dir:
        check(teacher_dir, f"--teacher {teacher_dir}", system=True)
    teacher = connect(job.teacher, teacher_dir, "--teacher", job.chat_template_kwargs)
    if isinstance(teacher, LocalTeacher) and not isinstance(teacher, SelfTeacher):
        positions = getattr(teacher.model.config, "max_position_embeddings", None)
        if positions:
            check_teacher_context(job, rows, teacher.tokenizer, positions)
    return teacher


def build_trainer(
    job: TrainJob,
    model: Any,
    tokenizer: Any,
    prompts: list[dict[str, Any]],
    grader: Grader,
    teacher: "Teacher | None",
    output: Path,
) -> "ThinkTuningTrainer":
    """Build the trainer and its reward from a resolved configuration."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from thinktuning.grading.own_reward import reward_functions
    from thinktuning.models.chat import eos_ids
    from thinktuning.trainer.arguments import ThinkTuningConfig
    from thinktuning.trainer.trainer import ThinkTuningTrainer

    lora = job.training.lora
    rewarded = (job.training.rewards, set(prompts[0]) - {"prompt"}, grader, job.answer_kind)
    args = ThinkTuningConfig(
        output_dir=str(output),
        logging_steps=job.training.optimizer_steps_per_rollout_batch,
        save_strategy="no",  # `checkpointer` decides
        logging_nan_inf_filter=False,  # or a loss that is not finite would be logged as the mean
        save_total_limit=1,
        report_to="none",  # `tracking` reports
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # a causal model uses all; searching is slow
        **trainer_settings(job),
    )
    try:
        return ThinkTuningTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(prompts),
            processing_class=tokenizer,
            reward_funcs=reward_functions(*rewarded, eos_ids(model, tokenizer)),
            teacher=teacher,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora.model_dump()) if lora else None,
        )
    except ConnectionError as error:  # trl could not reach its server
        raise StudyError(
            f"training.vllm.server_base_url: {error}; start the server first (docs/gpu.md)"
        ) from error
    except ValueError as error:  # peft adapts no module of this kind
        if not lora or "arget module" not in str(error):
            raise
        raise StudyError(f"training.lora.target_modules: {error}") from error


def save_model(job: TrainJob, trainer: "ThinkTuningTrainer", directory: Path) -> None:
    """Save the trained model, with LoRA merged in, into the checkpoints.

    All processes must call this: each may hold a shard.
    """
    if job.training.lora:
        if trainer.accelerator.is_main_process:
            trainer.model.merge_and_unload().save_pretrained(directory)
            trainer.processing_class.save_pretrained(directory)
    else:
        gather_when_saving(trainer)
        trainer.save_model(str(directory))
    trainer.accelerator.wait_for_everyone()


def publish(
    job: TrainJob,
    inputs: Mapping[str, str | None],
    checkpoints: Path,
    output: Path,
    num_processes: int,
) -> None:
    """Put the final files into place, each complete or not at all, then remove the checkpoints.

    Until the last file is written the checkpoints keep all that publishing needs again.
    """
    rows = list(read_jsonl(checkpoints / "metrics.jsonl"))
    partial = checkpoints / "model"
    (partial / "training_args.bin").unlink(missing_ok=True)
    shutil.rmtree(output / "model", ignore_errors=True)
    partial.rename(output / "model")
    for name in RECORDS:
        write_text_atomic(output / name, (checkpoints / name).read_text(encoding="utf-8"))
    recorded = [output / name for name in (*RECORDS, "config.json")]
    made_by = provenance.collect() | {
        "inputs": inputs,
        "model_sha256": model_sha256(output / "model"),
        "records_sha256": {path.name: sha256(path) for path in recorded if path.is_file()},
        "method": job.method,
        "seed": job.seed,
        "num_processes": num_processes,
        "wall_seconds": sum(row["time_step"] for row in rows),
        "peak_memory_mb": provenance.peak_memory_mb(),
        **spent(job, rows),
        "teacher_off_at": next((r["rollout_batch"] for r in rows if r["guidance_rate"] == 0), None)
        if job.algorithm.uses_teacher
        else None,
    }
    write_text_atomic(output / "provenance.json", json.dumps(made_by, indent=2) + "\n")
    remove_checkpoints(checkpoints)
