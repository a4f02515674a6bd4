"""Text, JSONL and YAML files: atomic writes, and read errors that name file and line."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from thinktuning.io.errors import StudyError


def write_text_atomic(path: str | Path, text: str) -> None:
    r"""Write `text` to `path` atomically: readers see the old file or the new one, never a mix.

    Missing parent directories are created. A lone surrogate, which UTF-8 cannot encode, is written
    as `\udXXX`; in JSON that is its own escape, so `read_jsonl` restores it.

    Raises:
        StudyError: the file cannot be written, e.g. because the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str | Path, error: Exception) -> StudyError:
    """Return the error that says why `path` could not be written, and what to do."""
    if disk_is_full(error):
        return StudyError(f"{path}: no space left on disk; free some and run the stage again")
    reason = getattr(error, "strerror", None) or error
    return StudyError(f"{path}: cannot be written ({reason}); check the path")


def disk_is_full(error: Exception) -> bool:
    """Return whether the disk is full; torch, safetensors and hf_xet only say so in the message."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    words = ("No space left on device", "Disk quota exceeded", "inline_container")
    return any(word in str(error) for word in words)


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically.

    Raises:
        ValueError: a value is NaN or infinite, which JSON cannot represent.
        StudyError: the file cannot be written.
    """
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_text_atomic(path, "".join(lines))


def read_jsonl(path: str | Path, *, growing: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file; blank lines are skipped.

    Args:
        path: the file.
        growing: whether it is still written, so that a last line without its end is no row yet.

    Raises:
        StudyError: the file cannot be read, or a line is not a JSON object; names the line.
    """
    for where, line in numbered_lines(path, growing=growing):
        yield parse_row(line, where)


def numbered_lines(path: str | Path, *, growing: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (`file:line`, text) for every line that is not blank; `growing` as in `read_jsonl`.

    Raises:
        StudyError: the file cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if growing and not line.endswith(b"\n"):
                    return
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield f"{path}:{number}", text
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}:{number}: is not UTF-8 text ({error.reason})") from None


def check_recorded(path: Path, recorded: str | None, record: str, why: str) -> None:
    """Refuse a file that is not the one of which another file has the hash.

    Args:
        path: the file; a missing one is for its reader to report.
        recorded: its hash; None if an earlier version kept none.
        record: names the file with the hash.
        why: ends the message: how it may have been copied, and what to do.

    Raises:
        StudyError: names the file.
    """
    if recorded and path.is_file() and sha256(path) != recorded:
        raise StudyError(
            f"{path}: is not the file that {record} describes: it was changed, cut or copied {why}"
        )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse a key that is there twice, of which Python keeps the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {max(names, key=names.count)!r} twice")
    return found


def parse_row(line: str, where: str, *, own: bool = False) -> dict[str, Any]:
    """Parse one line of a JSONL file.

    Args:
        line: the line.
        where: its `file:line`.
        own: whether a user wrote it, so that a key could be there twice, which is refused.
    """
    try:
        row = json.loads(line, object_pairs_hook=_each_once if own else None)
    except (ValueError, RecursionError) as error:
        raise StudyError(
            f"{where}: is not valid JSON ({error}); correct it, or make the file again"
        ) from None
    if not isinstance(row, dict):
        raise StudyError(
            f"{where}: expected a JSON object, found {type(row).__name__}; correct it, or make the"
            " file again"
        )
    return row


# Digits as in JSON; YAML adds a sign, .5 and .inf or .nan, which the schema refuses by name.
_PLAIN_NUMBER = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)", re.I
)


class StrictLoader(yaml.SafeLoader):
    """Rejects what YAML reads as something other than it says, and what JSON does not have.

    Of duplicate keys in a mapping it would keep the last one; 010 would be 8, and 1:30 would be 90
    (YAML 1.1). A date would be no text, and an alias may stand within what it names.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._open: list[str] = []  # anchors of the mappings and lists that are being read

    def refuse_kind(self, node: yaml.Node) -> None:
        """Refuse what has no counterpart in JSON: dates, sets, bytes."""
        kind = node.tag.rpartition(":")[2]
        fix = "quote it to make it text" if isinstance(node, yaml.ScalarNode) else "write a list"
        raise yaml.constructor.ConstructorError(
            None, None, f"a value of YAML's type {kind} is not read here; {fix}", node.start_mark
        )

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read a value; an alias may not stand within the value that it names."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._open:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"*{event.anchor} stands within the value that it names; write the value out",
                event.start_mark,  # type: ignore[arg-type]
            )
        self._open.append(event.anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Read a number that everyone reads alike: decimal, no leading zero, no colon."""
        text = str(node.value)
        if not _PLAIN_NUMBER.fullmatch(text):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the number {text!r} is not in plain decimal notation; write it so, or quote it to"
                " make it text",
                node.start_mark,
            )
        is_integer = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        r"""Read text, without a lone half of a pair (`\ud800`), which no file could hold."""
        text = str(self.construct_scalar(node))
        if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the text {text!r:.80} has half of a surrogate pair, which is no character; write"
                " the character itself",
                node.start_mark,
            )
        return text

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping, each key once."""
        node = super().compose_mapping_node(anchor)
        found = set()
        for key, _ in node.value:
            name = key.tag, str(key.value)
            if name in found:
                raise yaml.composer.ComposerError(
                    "while reading a mapping",
                    node.start_mark,
                    f"duplicate key {key.value!r}; rename or remove one",
                    key.start_mark,
                )
            found.add(name)
        return node


for _kind in ("int", "float"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", StrictLoader.construct_number)
StrictLoader.add_constructor("tag:yaml.org,2002:str", StrictLoader.construct_text)
for _kind in ("timestamp", "binary", "set", "omap", "pairs"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", StrictLoader.refuse_kind)


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises:
        StudyError: the file cannot be read or is not valid YAML; names the line.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), StrictLoader)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"{path}: is not valid YAML: {error}") from None
