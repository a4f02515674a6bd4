"""Cut, force and swap the reflection in the answers of a finished study.

    thinktuning intervene results --output results/interventions

Each model of the study goes on from changed beginnings of its own answers
(`thinktuning.evaluation.interventions`), with the sampling of its evaluation, for up to
`max_gen_toks` tokens more. Results of the same answers, model and settings are kept, so that an
interrupted command can be repeated.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinktuning.analysis import interventions as analysis
from thinktuning.analysis.results import evaluations, read_json
from thinktuning.commands.asking import checked_prompts, sampling
from thinktuning.commands.inputs import fingerprint
from thinktuning.data.questions import read_questions
from thinktuning.evaluation.config import CPU_BATCH
from thinktuning.evaluation.interventions import (
    KINDS,
    Beginning,
    Kind,
    Sample,
    beginning,
    reflecting,
    usable,
)
from thinktuning.evaluation.lm import Answer, batches, progress, recording_model
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import detect
from thinktuning.grading.grader import Grader
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, sha256, write_text_atomic
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import CompareJob, EvaluateJob, read_config


@dataclass(frozen=True)
class Settings:
    """What is done to the answers, and with which words a forced reflection begins."""

    kinds: tuple[Kind, ...] = KINDS
    doubt: str = "Wait, let me check: "
    agree: str = "Let me go through it again: "


@dataclass(frozen=True)
class Case:
    """One answer to make: the sample that it changes, and what it begins with."""

    kind: Kind
    sample: Sample
    given: Beginning


def intervene(
    results: Path,
    output: Path,
    methods: Sequence[str],
    tasks: Sequence[str],
    settings: Settings,
) -> None:
    """Make the answers of each model under each intervention, then the tables and the figure.

    Args:
        results: a study's results.
        output: the directory to write.
        methods: those to look at; none: all of the study.
        tasks: the same.
        settings: the interventions.

    Raises:
        StudyError: the results are not complete, or a name is not the study's.
    """
    if output.exists() and not output.is_dir():
        raise StudyError(f"--output: {output} is not a directory; name another one")
    job = study_of(results)
    methods = chosen(methods, list(job.methods), "--methods")
    tasks = chosen(tasks, job.tasks, "--tasks")
    made: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for method in methods:
        for seed in job.evaluated_seeds[method]:
            directories = [job.place(results, f"eval/{method}/seed{seed}") / t for t in tasks]
            model = model_of(job, results, method, seed)
            files = [output / method / f"seed{seed}" / f"{task}.json" for task in tasks]
            make(directories, job.place(results, "data") / "eval", model, files, settings)
            for task, file in zip(tasks, files, strict=True):
                made.setdefault((method, task), []).append(read_json(file, ["rows"])["rows"])
    analysis.write(made, recorded(job, results, methods, tasks), job, output)


def study_of(results: Path) -> CompareJob:
    """Return the comparison job of a study's results.

    Raises:
        StudyError: there are none.
    """
    path = results / "tables" / "config.json"
    if not path.is_file():
        raise StudyError(
            f"{results}: no study has been run here (tables/config.json is missing); give the"
            " directory of its results or, of a sweep, that of one point"
        )
    return read_config(path, CompareJob)


def chosen(named: Sequence[str], known: Sequence[str], option: str) -> list[str]:
    """Return the chosen names, all if none is.

    Raises:
        StudyError: one is not known.
    """
    if unknown := [name for name in named if name not in known]:
        raise StudyError(
            f"{option}: the study has no {', '.join(unknown)}; choose from {', '.join(known)}"
        )
    return [name for name in known if name in named or not named]


def model_of(job: CompareJob, results: Path, method: str, seed: int) -> Path:
    """Return the directory of the model that a method has with a seed."""
    if method in job.seeds and seed in job.seeds[method]:
        return job.place(results, f"runs/{method}/seed{seed}") / "model"
    return job.place(results, "models/base")


def recorded(
    job: CompareJob, results: Path, methods: Sequence[str], tasks: Sequence[str]
) -> dict[tuple[str, str], list[list[Sample]]]:
    """Return the usable answers as they are, of each method and task, for each seed."""
    data = job.place(results, "data") / "eval"
    with Grader() as grader:
        return {
            (method, task): [
                as_they_are(directory, data / f"{task}.jsonl", grader)
                for directory in evaluations(job, results, method, task)
            ]
            for method in methods
            for task in tasks
        }


def as_they_are(directory: Path, questions: Path, grader: Grader) -> list[Sample]:
    """Return the usable answers of an evaluation; one that keeps its first answer `follows` it."""
    kind = read_config(directory / "config.json", EvaluateJob).answer_kind
    options = {row["id"]: row.get("options") for row in read_questions(questions, kind)}
    samples = usable(list(read_jsonl(directory / "samples.jsonl")))
    last, first = ([sample[key] for sample in samples] for key in ("answer", "first_answer"))
    verdicts = grader.grade(last, first, kind, [options[sample["id"]] for sample in samples])
    return [
        {**sample, "follows": verdict == "correct"}
        for sample, verdict in zip(samples, verdicts, strict=True)
    ]


def make(
    directories: Sequence[Path],
    data: Path,
    model_dir: Path,
    files: Sequence[Path],
    settings: Settings,
) -> None:
    """Make one model's answers on each task, those that are not there yet."""
    lm: Any = None
    model = model_sha256(model_dir)
    for directory, file in zip(directories, files, strict=True):
        samples = directory / "samples.jsonl"
        if not samples.is_file():
            raise StudyError(f"{samples} is missing; run the study to its end first")
        job = read_config(directory / "config.json", EvaluateJob)
        inputs = {"model": model, "samples": sha256(samples), "settings": str(asdict(settings))}
        made_from = fingerprint(job, inputs)
        if kept_fingerprint(file) == made_from:
            continue
        lm = lm or recording_model(model_dir, job.evaluation, job.chat_template_kwargs)
        print(f"{file}: being made")
        rows = answered(job, usable(list(read_jsonl(samples))), data, lm, settings)
        found = {"fingerprint": made_from, "settings": asdict(settings), "rows": rows}
        write_text_atomic(file, json.dumps(found) + "\n")


def kept_fingerprint(file: Path) -> str | None:
    """Return what kept answers were made from; None if there are none, or only broken ones."""
    try:
        return str(read_json(file, ["fingerprint", "rows"])["fingerprint"])
    except StudyError:
        return None


def answered(
    job: EvaluateJob, samples: Sequence[Sample], data: Path, lm: Any, settings: Settings
) -> list[dict[str, Any]]:
    """Return a row per answer and intervention: what was planted, said, and its verdicts."""
    path = data / f"{job.task}.jsonl"
    questions = read_questions(path, job.answer_kind)
    prompts = dict(
        zip(
            (row["id"] for row in questions),
            checked_prompts(job, questions, lm, path),
            strict=True,
        )
    )
    donors = reflecting(samples)
    cases = [
        Case(kind, sample, given)
        for kind in settings.kinds
        for sample in samples
        if (given := beginning(kind, sample, samples, settings.doubt, settings.agree, donors))
    ]
    said = gone_on(job, cases, prompts, lm)
    texts = [case.given.text + answer.text for case, answer in zip(cases, said, strict=True)]
    finals = [
        extract_boxed(text) if answer.ended else None
        for text, answer in zip(texts, said, strict=True)
    ]
    options = {row["id"]: row.get("options") for row in questions}
    with Grader() as grader:
        golds = [case.sample["gold"] for case in cases]
        of_each = [options[case.sample["id"]] for case in cases]
        verdicts = grader.grade(finals, golds, job.answer_kind, of_each)
        planted = [case.given.planted for case in cases]
        follows = grader.grade(finals, planted, job.answer_kind, of_each)
    return [
        {
            "intervention": case.kind,
            "id": case.sample["id"],
            "sample": case.sample["sample"],
            "beginning": case.given.text,
            "planted": case.given.planted,
            "text": text,
            "answer": final,
            "correct": verdict == "correct",
            "follows": follow == "correct",
            "reflects": bool(detect(text)),
        }
        for case, text, final, verdict, follow in zip(
            cases, texts, finals, verdicts, follows, strict=True
        )
    ]


def gone_on(
    job: EvaluateJob, cases: Sequence[Case], prompts: dict[str, list[int]], lm: Any
) -> list[Answer]:
    """Return how the model goes on from each beginning, which `cut` ends at once.

    Raises:
        StudyError: a beginning leaves no room for `max_gen_toks`.
    """
    import torch

    lm.begin(job.evaluation)
    torch.manual_seed(job.evaluation.seed)
    answers = {i: Answer("", 0, True) for i, case in enumerate(cases) if case.kind == "cut"}
    open_cases = [i for i in range(len(cases)) if i not in answers]
    encoded = [
        prompts[cases[i].sample["id"]]
        + lm.tokenizer.encode(cases[i].given.text, add_special_tokens=False)
        for i in open_cases
    ]
    budget = job.evaluation.max_gen_toks
    if (longest := max(map(len, encoded), default=0)) + budget > lm.max_length:
        raise StudyError(
            f"{job.task}: a prompt and the beginning of its answer have {longest} tokens; with"
            f" max_gen_toks = {budget} that exceeds the model's context length of {lm.max_length}"
            " tokens; leave this task out with --tasks"
        )
    size = job.evaluation.batch_size
    size = CPU_BATCH if size == "auto" else size
    texts = [cases[i].given.text for i in open_cases]
    for batch in progress(batches([len(ids) for ids in encoded], texts, size), len(encoded)):
        found = lm.complete([encoded[j] for j in batch], sampling(job.evaluation))
        answers |= {open_cases[j]: answer for j, answer in zip(batch, found, strict=True)}
    return [answers[i] for i in range(len(cases))]
