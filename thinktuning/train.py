"""Train one method with one seed.

    thinktuning train --config results/runs/grpo/seed0/config.json ...

Writes model/ (safetensors), metrics.jsonl (a row a rollout batch), rollouts.jsonl (some of each
batch) and provenance.json. While it runs, all of that grows in checkpoints/: an interrupted run
resumes from its last complete checkpoint when it is started again with the same configuration,
model and data, and then repeats what it would have done. A finished run leaves no checkpoints.
"""

import hashlib
import json
import os
import shutil
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning import base, provenance
from thinktuning.config import Run, to_json
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl, write_text_atomic
from thinktuning.grading import Grader
from thinktuning.limits import check_context, check_gpus, check_teacher_context, checked_prompts
from thinktuning.questions import read_questions
from thinktuning.recorder import recorder

# How long a process waits for another: rank 0 alone writes checkpoints and may wait for a server.
PATIENCE = timedelta(hours=2)

if TYPE_CHECKING:
    from thinktuning.teacher import Teacher
    from thinktuning.trainer import ThinkTuningTrainer


def train(
    run: Run, model_dir: Path, data: Path, output: Path, teacher_dir: Path | None = None
) -> None:
    """Run or resume one training job.

    Args:
        teacher_dir: the teacher's model, for `teacher.backend: model`.

    Raises:
        StudyError: the data or the model do not fit the configuration.
    """
    import torch
    import transformers
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list, set_seed
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    check_vllm(run)
    rows = read_questions(data, run.answer_kind)
    base.check(model_dir, f"--model {model_dir}")
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    processes = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    check_gpus(torch.cuda.device_count(), processes.num_processes)
    prompts = checked_prompts(run, rows, tokenizer, data, processes.num_processes)
    check_context(run, rows, tokenizer, AutoConfig.from_pretrained(model_dir))
    teacher = build_teacher(run, rows, teacher_dir)
    checkpoints = output / "checkpoints"
    weights = [model_dir, *([teacher_dir] if teacher_dir else [])]
    resume_from = [None]  # one process looks, since it also removes what is not this job's
    if processes.is_main_process:
        resume_from = [prepare_checkpoints(checkpoints, fingerprint(run, weights, data))]
    broadcast_object_list(resume_from)
    transformers.logging.disable_progress_bar()
    set_seed(run.seed)
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    with Grader(num_workers=torch.get_num_threads()) as grader:  # the job's threads
        trainer = build_trainer(run, model, tokenizer, prompts, grader, teacher, checkpoints)
        keep_loss_in_float32(trainer)
        if vllm := run.training.vllm:  # which has seeded this process anew, and draws here
            set_seed(run.seed + processes.process_index // vllm.tensor_parallel_size)
        trainer.remove_callback(transformers.ProgressCallback)
        if processes.is_main_process:
            trainer.add_callback(
                recorder(trainer, checkpoints, started, run.training.rollouts_per_step)
            )
        trainer.train(resume_from_checkpoint=resume_from[0])
    save_model(run, trainer, checkpoints / "model")
    if processes.is_main_process:
        publish(run, checkpoints, output)
    if processes.num_processes > 1:  # one that ends badly takes the others with it, so all is done
        processes.wait_for_everyone()
        processes.destroy_process_group()


def check_vllm(run: Run) -> None:
    """Refuse rollouts by a vLLM that is not there, before anything is loaded."""
    if run.training.vllm and not find_spec("vllm"):
        raise StudyError(
            "training.vllm is set, and vLLM is not installed; docs/gpu.md says how, or remove"
            " training.vllm"
        )


def build_teacher(
    run: Run, rows: list[dict[str, Any]], teacher_dir: Path | None
) -> "Teacher | None":
    """Return the configured teacher; None without guidance."""
    if not run.guidance.enabled:
        return None
    from thinktuning.teacher import LocalTeacher, SelfTeacher, connect

    spec = run.teacher
    if spec.backend == "self":
        return SelfTeacher(
            max_completion_length=spec.max_completion_length, batch_size=spec.batch_size
        )
    if teacher_dir:
        base.check(teacher_dir, f"--teacher {teacher_dir}")
    teacher = connect(spec, teacher_dir, "--teacher")
    if isinstance(teacher, LocalTeacher):
        positions = getattr(teacher.model.config, "max_position_embeddings", None)
        if positions:
            check_teacher_context(run, rows, teacher.tokenizer, positions)
    return teacher


def build_trainer(
    run: Run,
    model: Any,
    tokenizer: Any,
    prompts: list[dict[str, Any]],
    grader: Grader,
    teacher: "Teacher | None",
    output: Path,
) -> "ThinkTuningTrainer":
    """Assemble trainer and reward from a resolved configuration."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from thinktuning.rewards import BoxedReward
    from thinktuning.teacher import eos_ids
    from thinktuning.trainer import ThinkTuningTrainer
    from thinktuning.trainer_config import ThinkTuningConfig

    lora = run.training.lora
    args = ThinkTuningConfig(
        output_dir=str(output),
        logging_steps=run.training.optimizer_steps_per_rollout_batch,
        save_strategy="steps",
        save_total_limit=1,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # a causal model uses all of them, and the search is slow
        **trainer_settings(run),
    )
    try:
        return ThinkTuningTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(prompts),
            processing_class=tokenizer,
            reward_funcs=BoxedReward(grader, run.answer_kind, eos_ids(model, tokenizer)),
            teacher=teacher,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora.model_dump()) if lora else None,
        )
    except ConnectionError as error:  # trl has waited for its server
        raise StudyError(f"training.vllm.server_base_url: {error} (docs/gpu.md)") from error


def trainer_settings(run: Run) -> dict[str, Any]:
    """Return what the study says of `ThinkTuningConfig`."""
    elsewhere = {"max_prompt_length", "rollouts_per_step", "lora", "vllm"}
    settings = run.training.model_dump(exclude=elsewhere)
    if vllm := run.training.vllm:
        settings |= {f"vllm_{name}": value for name, value in vllm.model_dump().items()}
        room = run.training.max_prompt_length + run.training.max_completion_length
        settings["vllm_max_model_length"] = vllm.max_model_length or room
    return settings | {
        "seed": run.seed,
        "use_vllm": vllm is not None,
        "guidance": run.guidance,
        "teacher_prompt": run.teacher.prompt,
        "teacher_behaviours": run.teacher.behaviours,
    }


def keep_loss_in_float32(trainer: "ThinkTuningTrainer") -> None:
    """Let FSDP2 compute in bfloat16, but not round log-probabilities and sums of gradients to it.

    Accelerate's policy for `bf16` casts what the model returns, the log-probabilities that trl's
    head has computed in float32 among them. Under DDP and on one GPU they stay float32.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin and trainer.args.bf16:
        plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)


def fingerprint(run: Run, model_dirs: list[Path], data: Path) -> str:
    """Identify a job by its configuration, its models' weights and its data."""
    digest = hashlib.sha256(to_json(run).encode())
    weights = [path for model in model_dirs for path in sorted(model.glob("*.safetensors"))]
    for path in [data, *weights]:
        digest.update(base.sha256(path).encode())
    return digest.hexdigest()


def prepare_checkpoints(directory: Path, job: str) -> str | None:
    """Return this job's last complete checkpoint; remove incomplete and other jobs' ones."""
    mark = directory / "job"
    if directory.exists() and (not mark.exists() or mark.read_text() != job):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    mark.write_text(job)
    found = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    # transformers writes trainer_state.json last
    complete = [path for path in found if (path / "trainer_state.json").exists()]
    for path in found:
        if path not in complete:
            shutil.rmtree(path)
    return str(complete[-1]) if complete else None


def save_model(run: Run, trainer: "ThinkTuningTrainer", directory: Path) -> None:
    """Save the trained model, LoRA merged in; all processes take part, since each may have a shard.

    It is not the job's output yet.
    """
    if run.training.lora:
        if trainer.accelerator.is_main_process:
            trainer.model.merge_and_unload().save_pretrained(directory)
            trainer.processing_class.save_pretrained(directory)
    else:
        trainer.save_model(str(directory))
    trainer.accelerator.wait_for_everyone()


def publish(run: Run, checkpoints: Path, output: Path) -> None:
    """Put the final files in place, each whole or not at all, and drop the checkpoints."""
    rows = list(read_jsonl(checkpoints / "metrics.jsonl"))
    partial = checkpoints / "model"
    (partial / "training_args.bin").unlink(missing_ok=True)
    shutil.rmtree(output / "model", ignore_errors=True)
    partial.rename(output / "model")
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        os.replace(checkpoints / name, output / name)
    made_by = provenance.collect() | {
        "method": run.method,
        "seed": run.seed,
        "wall_seconds": sum(row["time_step"] for row in rows),
        "peak_memory_mb": provenance.peak_memory_mb(),
        "num_generated_tokens": int(sum(row["student_tokens"] for row in rows)),
        "num_teacher_tokens": int(sum(row["teacher_tokens"] for row in rows)),
        "teacher_off_at": next((r["rollout_batch"] for r in rows if r["gamma"] == 0), None)
        if run.guidance.enabled
        else None,
    }
    write_text_atomic(output / "provenance.json", json.dumps(made_by, indent=2) + "\n")
    shutil.rmtree(checkpoints)
