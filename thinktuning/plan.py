"""Say what a study will take, before anything runs: `thinktuning plan STUDY`.

The estimates are those of `thinktuning.jobs`; here they become a table, and the resources that the
study's jobs should ask SLURM for.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thinktuning.config import Study
from thinktuning.costs import GPUS
from thinktuning.files import write_text_atomic
from thinktuning.jobs import Job, estimate, lengths, suggested_mem_mb


def resources_block(study: Study, jobs: Sequence[Job], gpu: str) -> str:
    """Return the `resources:` that the estimates suggest, with room: memory x 1.5, time x 2."""
    lines, train = ["resources:"], study.resources.train
    for stage in dict.fromkeys(job.stage for job in jobs):
        found = [job for job in jobs if job.stage == stage]
        given = getattr(study.resources, stage)
        values = {"threads": given.threads, "mem_mb": suggested_mem_mb(found)}
        runtime = given.runtime
        if given.gpu and stage != "base":  # a warm-up's time is not estimated
            hours = max(job.longest_gpu_hours[gpu] for job in found)
            gpus = train.num_processes if stage == "train" else given.gpu
            runtime = max(30, int(120 * hours / gpus) + 1)
        values |= {"runtime": runtime} | ({"gpu": given.gpu} if given.gpu else {})
        if stage == "train" and train.num_processes > 1:
            values |= {"nodes": train.nodes} if train.nodes > 1 else {}
            values["distributed"] = train.distributed
        lines.append(f"  {stage}: {{{', '.join(f'{k}: {v}' for k, v in values.items())}}}")
    return "\n".join(lines)


def show(
    study: Study, results: Path | None, gpu: str, as_json: bool, resources: Path | None
) -> None:
    """Print the plan, a table or JSON, and write the resources to a file or print them too."""
    jobs = estimate(study, results)
    if resources:
        write_text_atomic(resources, resources_block(study, jobs, gpu) + "\n")
    if as_json:
        print(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    from rich.table import Table

    from thinktuning.terminal import console

    table = Table(title=f"Study {study.name}", title_justify="left", box=None, padding=(0, 1))
    names = ["stage", "method", "jobs", "prompts", "student tokens", "teacher tokens", "TFLOP"]
    names += [f"{gpu} hours", "GPU GiB", "host GiB", "disk GiB"]
    for name in names:
        left = name in ("stage", "method")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    whole = total(jobs)
    for job in [*jobs, whole]:
        counts = (job.prompts, job.student_tokens, job.teacher_tokens, job.tflop)
        table.add_row(
            *(job.stage, job.method, str(job.jobs)),
            *(f"{number:,.0f}" if number else "" for number in counts),
            f"{job.gpu_hours[gpu]:,.2f}" if job.gpu_hours else "",
            f"{job.gpu_memory_gb:,.1f}" if job.gpu_memory_gb else "",
            f"{job.host_memory_mb / 1024:,.1f}",
            f"{job.disk_gb:,.1f}",
        )
    out = console()
    if not out.is_terminal:
        out.width = 140
    out.print(table)
    hours = ", ".join(f"{name} {found:,.1f}" for name, found in whole.gpu_hours.items())
    out.print(f"\nGPU-hours in all: {hours}.")
    for remark in remarks(study, results):
        out.print(remark)
    if resources:
        out.print(f"\nRun it with what {resources} allows: --configfile STUDY {resources}")
        return
    out.print(f"\nSuggested for the study, for {gpu} where it asks for GPUs:\n")
    out.print(resources_block(study, jobs, gpu))


def remarks(study: Study, results: Path | None) -> Iterator[str]:
    """Say how sure the tokens are: budgets, or a pilot's, whose seeds may differ."""
    found = {m: lengths(study.run_config(m, study.seeds[0]), results) for m in study.trained()}
    bounds = [method for method, each in found.items() if not each.seeds]
    if bounds:
        yield (
            f"Tokens of {', '.join(bounds)} are upper bounds, the budgets. Train one for a few"
            " steps and name its results for an estimate: --results DIR."
        )
    single = [method for method, each in found.items() if len(each.seeds) == 1]
    if single and len(study.seeds) > 1:
        yield (
            f"Tokens of {', '.join(single)} are those of the pilot's one seed; another seed may"
            " learn to answer at other lengths."
        )
    for method, each in found.items():
        if each.seeds and max(each.seeds) > 1.1 * min(each.seeds):
            yield (
                f"The pilot's seeds of {method} differ: {min(each.seeds):,.0f} to"
                f" {max(each.seeds):,.0f} tokens an answer. Others may take more."
            )


def total(jobs: Iterable[Job]) -> Job:
    """Add jobs up; memory is the largest."""
    jobs = list(jobs)
    summed = ("jobs", "prompts", "student_tokens", "teacher_tokens", "tflop", "disk_gb")
    values: dict[str, Any] = {key: sum(getattr(job, key) for job in jobs) for key in summed}
    for key in ("gpu_memory_gb", "host_memory_mb"):
        values[key] = max(getattr(job, key) for job in jobs)
    hours = {name: sum(job.gpu_hours.get(name, 0.0) for job in jobs) for name in GPUS}
    return Job("all", "", gpu_hours=hours, **values)
