"""Read a study file, and the study that it extends, into a `Study`.

    extends: ../config.yaml     # the study to change; the path is relative to this file
    name: mine
    methods:
      thinktuning_paper:
        algorithm: {aas: {variant: paper}}

The keys of an extending study are merged into the other study (`merging`). In `methods` and
`tasks`, null removes an entry, which the other study must have. A new entry goes last or, if an
existing entry follows it in the file, before that entry; tables and figures use this order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from thinktuning.io.errors import StudyError, describe, did_you_mean
from thinktuning.io.files import read_yaml
from thinktuning.study.merging import merge
from thinktuning.study.study import Study

NAMED = ("methods", "tasks")  # sections whose entries the user names
OF_SWEEP = ("axes", "points")  # entries of the section `sweep`, which null removes


def load_study(path: str | Path) -> Study:
    """Read and validate a study file.

    Raises:
        StudyError: the file cannot be read, or is invalid; one line per error, with its key path.
    """
    return parse_study(read_values(path), str(path))


def parse_study(values: Any, where: str) -> Study:
    """Validate a study given as plain data; `where` names it in messages.

    Raises:
        StudyError: the study is invalid; one line per error, with its key path.
    """
    if values is None:
        raise StudyError(f"{where}: is empty; extend config.yaml, or edit a copy of it")
    if not isinstance(values, dict):
        raise StudyError(f"{where}: expected a mapping of keys, found {type(values).__name__}")
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise StudyError(f"{where} is not a valid study:\n{describe(error, Study)}") from None


def read_values(path: str | Path, extended_by: Sequence[Path] = ()) -> Any:
    """Read a study file as plain data, merged into the study that it extends.

    Args:
        path: the study file.
        extended_by: the files whose `extends` led here, outermost first.

    Raises:
        StudyError: a file cannot be read, or extends itself.
    """
    values = read_yaml(path)  # or say why not, before the path is resolved
    return extended(values, Path(path).parent, str(path), [*extended_by, Path(path).resolve()])


def extended(values: Any, directory: Path, where: str, chain: Sequence[Path] = ()) -> Any:
    """Return a study's plain data, merged into the study that it extends, if any.

    Args:
        values: the data.
        directory: the directory that `extends` is relative to.
        where: names the data in messages.
        chain: the files whose `extends` led here, outermost first, and that of the data.

    Raises:
        StudyError: a file cannot be read, or extends itself.
    """
    if not isinstance(values, dict) or "extends" not in values:
        return values
    override = {key: value for key, value in values.items() if key != "extends"}
    base = values["extends"]
    if not isinstance(base, str):
        raise StudyError(f"{where}: extends: expected the path of a study, found {base!r:.80}")
    target = directory / base
    if not target.is_file():
        relative = "this study" if chain else "the working directory"
        raise StudyError(
            f"{where}: extends: there is no file {target}; the path is relative to {relative}"
        )
    if target.resolve() in chain:
        names = " -> ".join(file.name for file in [*chain, target.resolve()])
        raise StudyError(f"{where}: extends: {base} makes this study extend itself ({names})")
    return lay_over(read_values(target, chain), override, str(target), where)


def laid_over(layers: Sequence[tuple[str, Any]]) -> Any:
    """Return the first of several studies' plain data as it is, with the others merged in.

    Args:
        layers: what names each in messages, and its data.

    Raises:
        StudyError: one that others are merged into is not a mapping, or one of the others is no
            mapping of some keys.
    """
    (where, values), *others = layers
    for name, override in others:
        check_partial(override, where, name)
        values = lay_over(values, override or {}, where, name)
        where = f"{where} + {name}"
    return values


def check_partial(override: Any, where: str, name: str) -> None:
    """Refuse a second study: merged over the first, it would be neither of the two.

    Args:
        override: plain data that is merged over a study's.
        where: names the study.
        name: names `override`.

    Raises:
        StudyError: it is a study of its own, `extends` one, or is no mapping.
    """
    if override is None:
        return
    if not isinstance(override, dict):
        raise StudyError(f"{name}: expected a mapping of keys, found {type(override).__name__}")
    if "extends" in override:
        raise StudyError(f"{name}: extends: name the study to extend with --configfile, first")
    required = {key for key, field in Study.model_fields.items() if field.is_required()}
    if required <= override.keys():
        raise StudyError(
            f"{name} is a study of its own, and would be merged over {where}, so that the methods"
            " and tasks of both run under its name; give one study, first, and after it only files"
            " with the keys that they change, without `extends`"
        )


def lay_over(
    base: Any, override: dict[str, Any], where: str, by: str = "the study"
) -> dict[str, Any]:
    """Return a study's plain data with an extending study's merged in.

    Args:
        base: the study that is extended.
        override: the study that extends it.
        where: names `base` in messages.
        by: names `override` in messages.

    Raises:
        StudyError: `base` is not a mapping, or lacks an entry that `override` removes.
    """
    if not isinstance(base, dict):
        raise StudyError(f"{where}: expected a mapping of keys, found {type(base).__name__}")
    for path, known, removed in removals(base, override):
        hint = did_you_mean(removed, known) if known else "remove this line"
        raise StudyError(
            f"{by}: {path}.{removed}: null removes an entry of the study that is extended, and"
            f" {where} has no such; {hint}"
        )
    merged = merge(base, override)
    for section in NAMED:
        entries, named = merged.get(section), override.get(section)
        if isinstance(entries, dict) and isinstance(named, dict):
            order = placed(list(base.get(section) or {}), list(named))
            merged[section] = {n: entries[n] for n in order if entries[n] is not None}
    if isinstance(merged.get("sweep"), dict) and isinstance(override.get("sweep"), dict):
        merged["sweep"] = without_removed(merged["sweep"])
    return merged


Removal = tuple[str, list[str], str]  # a section, its entries, and one that it does not have


def removals(base: dict[str, Any], override: dict[str, Any]) -> Iterator[Removal]:
    """Yield what null removes in vain, since the study that is extended has no such entry."""
    sections = [(name, base.get(name), override.get(name)) for name in NAMED]
    sweeps = [each.get("sweep") for each in (base, override)]
    was, named = (each if isinstance(each, dict) else {} for each in sweeps)
    sections += [(f"sweep.{key}", was.get(key), named.get(key)) for key in OF_SWEEP]
    for path, present, changed in sections:
        entries = [str(name) for name in present] if isinstance(present, dict) else []
        for name, value in changed.items() if isinstance(changed, dict) else ():
            if value is None and str(name) not in entries:
                yield path, entries, str(name)


def without_removed(sweep: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep without the axes and points that are null, or are all removed by a null."""
    kept = {key: value for key, value in sweep.items() if key not in OF_SWEEP or value is not None}
    for key in OF_SWEEP:
        if isinstance(entries := kept.get(key), dict):
            kept[key] = {name: value for name, value in entries.items() if value is not None}
    return kept


def placed(present: list[str], named: list[str]) -> list[str]:
    """Return all entries in order: a new one goes before the next present one in `named`, or last.

    Args:
        present: the entries of the study that is extended.
        named: the entries of the study that extends it.
    """
    order = list(present)
    for i, name in enumerate(named):
        if name not in present:
            later = [order.index(other) for other in named[i:] if other in present]
            order.insert(later[0] if later else len(order), name)
    return order


def resolved_yaml(study: Study) -> str:
    """Return the whole study as YAML, with all defaults; it reads back as the same study."""
    text: str = yaml.safe_dump(
        study.model_dump(), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return text
