"""Report what a study will take, before anything runs: `thinktuning plan STUDY`.

`estimates` computes the numbers; this module prints them and suggests the `resources` that the
study's jobs should request.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from thinktuning.io.files import write_text_atomic
from thinktuning.planning.budgets import budget_remarks
from thinktuning.planning.costs import GPUS
from thinktuning.planning.estimates import StageEstimate, suggested_mem_mb
from thinktuning.planning.pilot import lengths
from thinktuning.planning.points import check_pilot, estimate_points, pilot_of
from thinktuning.planning.writing import WRITE_BANDWIDTH
from thinktuning.study.study import Study

HEADROOM = 2  # minutes to request / minutes planned
SHORTEST = 30  # minutes to request at least: loading a model, starting an engine


def suggested_minutes(estimates: Sequence[StageEstimate], gpu: str) -> int:
    """Return the `runtime` to request for the jobs of a stage."""
    longest = max(estimate.minutes(gpu) for estimate in estimates)
    return max(SHORTEST, int(HEADROOM * longest) + 1)


def resources_block(study: Study, estimates: Sequence[StageEstimate], gpu: str) -> str:
    """Return the section `resources:` with headroom over the estimates: memory x 1.5, time x 2."""
    lines, train = ["resources:"], study.resources.train
    for stage in dict.fromkeys(estimate.stage for estimate in estimates):
        found = [estimate for estimate in estimates if estimate.stage == stage]
        given = getattr(study.resources, stage)
        values = {"threads": given.threads, "mem_mb": suggested_mem_mb(found)}
        runtime = given.runtime
        if given.gpu and stage != "model":  # whose time is not only that of the warm-up's training
            runtime = suggested_minutes(found, gpu)
        values |= {"runtime": runtime} | ({"gpu": given.gpu} if given.gpu else {})
        if stage == "train" and train.num_processes > 1:
            values |= {"nodes": train.nodes} if train.nodes > 1 else {}
            values["distributed"] = train.distributed
        lines.append(f"  {stage}: {{{', '.join(f'{k}: {v}' for k, v in values.items())}}}")
    return "\n".join(lines)


def show(
    study: Study, results: Path | None, gpu: str, as_json: bool, resources: Path | None
) -> None:
    """Print the plan as a table or JSON; write the suggested resources to a file, or print them."""
    check_pilot(study, results)
    by_point = estimate_points(study, results)
    estimates = [estimate for found in by_point.values() for estimate in found]
    if resources:
        write_text_atomic(resources, resources_block(study, estimates, gpu) + "\n")
    if as_json:
        print(json.dumps(as_rows(study, by_point), indent=2))
        return
    from rich.table import Table

    from thinktuning.io.terminal import console

    table = Table(title=f"Study {study.name}", title_justify="left", box=None, padding=(0, 1))
    rows = estimates
    if study.sweep:
        rows = [replace(total(found), stage=point) for point, found in by_point.items()]
    names = [
        "point" if study.sweep else "stage",
        "method",
        "jobs",
        "prompts",
        "student tokens",
        "teacher tokens",
        "TFLOP",
    ]
    names += [f"{gpu} hours", "GPU GiB", "host GiB", "disk GiB"]
    for name in names:
        left = name in ("stage", "point", "method")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    whole = total(estimates)
    for row in [*rows, whole]:
        counts = (row.prompts, row.student_tokens, row.teacher_tokens, row.tflop)
        table.add_row(
            *(row.stage, row.method, str(row.jobs)),
            *(f"{number:,.0f}" if number else "" for number in counts),
            f"{row.gpu_hours[gpu]:,.2f}" if row.gpu_hours else "",
            f"{row.gpu_memory_gb:,.1f}" if row.gpu_memory_gb else "",
            f"{row.host_memory_mb / 1024:,.1f}",
            f"{row.disk_gb:,.1f}",
        )
    out = console()
    if not out.is_terminal:
        out.width = 140
    out.print(table)
    hours = ", ".join(f"{name} {found:,.1f}" for name, found in whole.gpu_hours.items())
    out.print(f"\nTotal GPU-hours: {hours}.")
    written = [] if study.sweep else writing(study, estimates, gpu)
    for remark in [*written, *waiting(study, estimates, gpu)]:
        out.print(remark)
    of_points = [
        remark
        for point, each in study.points().items()
        for remark in [
            *remarks(each, pilot_of(point, results)),
            *budget_remarks(each, pilot_of(point, results)),
        ]
    ]
    for remark in dict.fromkeys(of_points):  # each once
        out.print(remark)
    if not resources:
        out.print(f"\nSuggested resources, with {gpu} GPUs where the study requests GPUs:\n")
        out.print(resources_block(study, estimates, gpu))


def as_rows(study: Study, by_point: Mapping[str, Sequence[StageEstimate]]) -> list[dict[str, Any]]:
    """Return the estimates as plain data; those of a sweep name their point."""
    return [
        ({"point": point} if study.sweep else {}) | asdict(estimate)
        for point, found in by_point.items()
        for estimate in found
    ]


def writing(study: Study, estimates: Sequence[StageEstimate], gpu: str) -> Iterator[str]:
    """Say how many checkpoints the trainings write, of what size, and how long that takes."""
    training = [estimate for estimate in estimates if estimate.stage == "train"]
    for estimate in training:
        found = estimate.checkpoints[gpu]
        share = ""
        if study.resources.train.gpu:
            share = f", in {60 * found.hours / estimate.minutes(gpu):.1%} of their time"
        yield (
            f"Checkpoints of {estimate.method}: {found.number} of {found.gib:,.2f} GiB in each run;"
            f" with the models, {estimate.jobs} runs write"
            f" {estimate.jobs * found.written_gib:,.1f} GiB{share}."
        )
    if training and study.resources.train.gpu:
        yield f"That is at {WRITE_BANDWIDTH / 1e9:g} GB a second."


def waiting(study: Study, estimates: Sequence[StageEstimate], gpu: str) -> Iterator[str]:
    """Compare the wall time that jobs on GPUs request with what is planned."""
    for stage in ("train", "evaluate"):
        found = [estimate for estimate in estimates if estimate.stage == stage]
        given = getattr(study.resources, stage)
        if given.gpu and found:
            longest = max(estimate.minutes(gpu) for estimate in found)
            yield (
                f"A job of {stage} requests {given.runtime} minutes; the longest is planned to take"
                f" {longest:,.0f} on {gpu}."
            )


def remarks(study: Study, results: Path | None) -> Iterator[str]:
    """Say how reliable the token counts are: budgets, one seed of a pilot, or seeds that differ."""
    found = {m: lengths(study.train_job(m, study.seeds[0]), results) for m in study.trained()}
    bounds = [method for method, each in found.items() if not each.seeds]
    if bounds:
        yield (
            f"Tokens of {', '.join(bounds)} are upper bounds: the token budgets. For an estimate,"
            " train each for a few steps and pass the results: --results DIR."
        )
    single = [method for method, each in found.items() if len(each.seeds) == 1]
    if single and len(study.seeds) > 1:
        yield (
            f"Tokens of {', '.join(single)} come from the pilot's only seed; another seed may learn"
            " longer or shorter answers."
        )
    for method, each in found.items():
        if each.seeds and max(each.seeds) > 1.1 * min(each.seeds):
            yield (
                f"The pilot's seeds of {method} differ: {min(each.seeds):,.0f} to"
                f" {max(each.seeds):,.0f} tokens per answer. Other seeds may take more."
            )


def total(estimates: Sequence[StageEstimate]) -> StageEstimate:
    """Return the sum of the estimates; for memory the largest."""
    summed = ("jobs", "prompts", "student_tokens", "teacher_tokens", "tflop", "disk_gb")
    values: dict[str, Any] = {key: sum(getattr(one, key) for one in estimates) for key in summed}
    for key in ("gpu_memory_gb", "host_memory_mb"):
        values[key] = max((getattr(one, key) for one in estimates), default=0)
    hours = {name: sum(one.gpu_hours.get(name, 0.0) for one in estimates) for name in GPUS}
    return StageEstimate("all", "", gpu_hours=hours, **values)
