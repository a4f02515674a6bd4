"""Publish a finished run on the Hugging Face hub, or write what would be published.

    thinktuning push results/runs/thinktuning/seed0 --repo NAME/MODEL --dry-run
    thinktuning push results/runs/thinktuning/seed0 --repo NAME/MODEL --private

No stage of the workflow calls it: nothing is sent that the user did not name. The folder has the
model (safetensors, tokenizer, chat template), a model card, the run's provenance, and its accuracy
on benchmarks of the hub in `.eval_results/` (`huggingface_hub.EvalResultEntry`).
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from thinktuning.analysis.cells import confidence_text
from thinktuning.commands.finished import FinishedRun, read_run
from thinktuning.io.errors import StudyError
from thinktuning.io.files import disk_is_full, write_error, write_text_atomic
from thinktuning.models.config import model_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Benchmarks of the hub -> the id of their task; of any other data set, the name of its subset.
TASK_IDS = {"TIGER-Lab/MMLU-Pro": "mmlu_pro", "Idavidrein/gpqa": "gpqa_diamond"}
PRIVATE_KEYS = ("_name_or_path", "name_or_path")  # in a model's files: where it was loaded from
STALE = ["*.safetensors", "*.safetensors.index.json", ".eval_results/*"]


def push(
    directory: Path,
    repo: str,
    *,
    folder: Path | None = None,
    dry_run: bool = False,
    private: bool = False,
    update: bool = False,
    marked: bool = False,
    license: str | None = None,
) -> str:
    """Publish a run; return where it is.

    Args:
        directory: of the run.
        repo: `NAME/MODEL` on the hub.
        folder: where to write what is published; a temporary directory by default.
        dry_run: write the folder, and send nothing.
        private: whether the repository is private.
        update: add a commit to a repository that has files already.
        marked: publish a run that the tables mark, too.
        license: of the weights, an identifier of the hub.

    Raises:
        StudyError: the run cannot be published, or the hub refuses it.
    """
    check_repo(repo)
    if folder and folder.exists() and not folder.is_dir():
        raise StudyError(f"--output: {folder} is not a directory; name another one")
    if folder and folder.exists() and any(folder.iterdir()):
        raise StudyError(f"--output: {folder} is not empty; remove it or name another directory")
    run = read_run(directory)
    if run.marks and not marked:
        raise StudyError(
            f"{directory}: the tables mark this run ({'; '.join(run.marks)}): it is not what its"
            " name says; publish it with --marked, and its card will say so"
        )
    if not dry_run:
        api = connect()
        is_new = check_place(api, repo, private, update)
    with place_for(folder, directory) as place:
        write_folder(run, repo, place, license, link=folder is None)
        if dry_run:
            return f"{place}: written, nothing was sent"
        return upload(api, repo, place, private=private, is_new=is_new)


@contextmanager
def place_for(folder: Path | None, directory: Path) -> Iterator[Path]:
    """Yield where to write: the folder, removed again if that fails, or a temporary directory.

    Raises:
        StudyError: it cannot be written.
    """
    if folder is None:
        try:
            temporary = TemporaryDirectory(prefix=".push.", dir=directory)  # to link the weights
        except OSError:  # results that may only be read
            temporary = TemporaryDirectory(prefix="thinktuning-push-")
        with temporary as name:
            yield Path(name) / "model"
        return
    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException as error:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if folder.is_dir() and not was_there:
            folder.rmdir()
        if isinstance(error, OSError) and not disk_is_full(error):
            raise write_error(folder, error) from None
        raise


def check_repo(repo: str) -> None:
    """Refuse what is no id of a repository.

    Raises:
        StudyError: says how it should look.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise StudyError(f"--repo: {error}") from None
    if repo.count("/") != 1:
        raise StudyError(f"--repo: {repo!r} has no owner; write NAME/MODEL")


def connect() -> "HfApi":
    """Return the hub's API, with the user's token.

    Raises:
        StudyError: there is no token, or the hub is switched off.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise StudyError("HF_HUB_OFFLINE is set, so that nothing can be sent; unset it")
    if not (token := get_token()):
        raise StudyError(
            "there is no token for the hub; run `hf auth login`, or set HF_TOKEN to a token that"
            " may write"
        )
    return HfApi(token=token)


def check_place(api: "HfApi", repo: str, private: bool, update: bool) -> bool:
    """Check that a repository may be written, and return whether it is a new one.

    Raises:
        StudyError: it has files already, or is public where it should be private.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = ask(lambda: api.model_info(repo), repo, RepositoryNotFoundError)
    except RepositoryNotFoundError:
        return True
    if private and not found.private:
        raise StudyError(
            f"--private: {repo} exists and is public; make it private on its page first, or name"
            " another repository"
        )
    files = [file.rfilename for file in found.siblings or []]
    if set(files) - {".gitattributes", "README.md"} and not update:
        raise StudyError(
            f"--repo: {repo} exists and has {len(files)} files; --update adds a commit to it, which"
            " replaces the model"
        )
    return False


def ask(call: Any, repo: str, *passed: type[Exception]) -> Any:
    """Call the hub, and say what it answers if it refuses.

    Args:
        call: the call, without arguments.
        repo: the repository that it is about.
        passed: errors that the caller handles.

    Raises:
        StudyError: the hub refuses the call or cannot be reached.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]

    try:
        return call()
    except passed:
        raise
    except HfHubHTTPError as error:
        code = error.response.status_code
        fix = "check that the token may write there" if code in (401, 403) else "try again later"
        raise StudyError(f"{repo}: the hub refused ({error}); {fix}") from error
    except (ClientError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"{repo}: cannot be published ({type(error).__name__}: {error})"
        ) from error


def upload(api: "HfApi", repo: str, folder: Path, *, private: bool, is_new: bool) -> str:
    """Send a folder to the hub as one commit; return its address.

    Raises:
        StudyError: the hub refuses it.
    """
    if is_new:
        ask(lambda: api.create_repo(repo, private=private or None), repo)
    commit = ask(
        lambda: api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Publish a run of thinktuning",
            delete_patterns=None if is_new else STALE,
        ),
        repo,
    )
    return f"{repo}: {commit.commit_url}"


def write_folder(
    run: FinishedRun, repo: str, folder: Path, license: str | None, *, link: bool
) -> None:
    """Write what is published of a run.

    Args:
        run: the run.
        repo: the repository's id on the hub.
        folder: the directory to write.
        license: of the weights.
        link: link the weights to the run's own files, in a folder that is read once.

    Raises:
        StudyError: a file cannot be written.
    """
    from thinktuning.commands.model_card import model_card

    folder.mkdir(parents=True, exist_ok=True)
    for path in model_files(run.directory / "model"):
        target = folder / path.name
        if path.suffix == ".json" and (text := without_paths(path)):
            write_text_atomic(target, text)
        elif link and path.suffix == ".safetensors":
            link_or_copy(path, target)
        else:
            shutil.copyfile(path, target)
    made = {key: value for key, value in run.made.items() if key != "platform"}
    write_text_atomic(folder / "thinktuning.json", json.dumps(made, indent=2) + "\n")
    write_text_atomic(folder / "README.md", model_card(run, repo, license).content)
    for name, text in eval_results(run).items():
        write_text_atomic(folder / ".eval_results" / f"{name}.yaml", text)


def link_or_copy(path: Path, target: Path) -> None:
    """Link a large file, or copy it where that is not possible."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def without_paths(path: Path) -> str | None:
    """Return a JSON file's text without the directory that a model was loaded from; else None."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not values.keys() & set(PRIVATE_KEYS):
        return None
    kept = {key: value for key, value in values.items() if key not in PRIVATE_KEYS}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def eval_results(run: FinishedRun) -> dict[str, str]:
    """Return the files of `.eval_results/` by task: accuracies on whole data sets of the hub.

    What is generated, a local file, a part of a data set, or scored by a function of one's own, is
    no benchmark that others could compare with, and stands in the card only.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    texts = {}
    for name, task in run.tasks.items():
        source = run.data["tasks"].get(name, {}).get("data", {}) if run.data else {}
        if source.get("source") != "hub" or source.get("limit") or "mean_score" in task.results:
            continue
        row, sampling = task.row, task.results["sampling"]
        low, high = (100 * row[end] for end in ("ci_low", "ci_high"))
        entry = EvalResultEntry(
            dataset_id=source["repo"],
            task_id=TASK_IDS.get(source["repo"], source.get("name") or "default"),
            value=round(100 * row["mean"], 2),
            dataset_revision=source["revision"],
            notes=(
                f"split {source['split']}; zero-shot; accuracy in percent, mean of {row['k']}"
                f" samples at temperature {sampling['temperature']:g};"
                f" {confidence_text(run.study.comparison.confidence)} interval {low:.2f} to"
                f" {high:.2f} over questions; one training seed; graded by thinktuning"
            ),
        )
        texts[name] = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
    return texts
