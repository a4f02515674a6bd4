"""Functions of the user's own that a study names as `module:function`.

The module is looked for in the working directory, then where Python finds modules. It is imported
when the study is read, so that a name that does not exist is refused then, and again by the job
that calls it. What the function does is part of that job's configuration: `files` returns the
module's file, and those of the modules beside it that it imports.
"""

import ast
import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
INSTALLED = {"site-packages", "dist-packages"}  # folders whose packages do not belong together
OWN = __name__.partition(".")[0]

_local: dict[str, Path] = {}  # top-level modules imported from a working directory -> their place
_added: list[str] = []  # working directories that Python's path has for them


def is_reference(text: str) -> bool:
    """Tell whether a value names a function, rather than something packaged."""
    return ":" in text


def function(reference: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        reference: `module:function`.

    Raises:
        ValueError: it does not exist, cannot be imported, or is no plain function or object with
            `__call__`.
    """
    if not (parts := REFERENCE.fullmatch(reference)):
        raise ValueError(
            f"{reference!r} is not of the form module:function, e.g. rewards:brevity for the"
            " function brevity in rewards.py"
        )
    name, attribute = parts.groups()
    module = _imported(name)
    found = getattr(module, attribute, None)
    if found is None:
        known = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(attribute, known, n=1, cutoff=0.5)
        hint = f"; did you mean {name}:{near[0]}?" if near else f"; {module.__file__} has none"
        raise ValueError(f"module {name} has no function {attribute!r}{hint}")
    if not callable(found) or inspect.isclass(found):
        kind = "a class" if inspect.isclass(found) else f"a {type(found).__name__}"
        raise ValueError(f"{reference} is {kind}; name a function, or an object with __call__")
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
        raise ValueError(f"{reference} is async; name a plain function, which may call asyncio.run")
    return found  # type: ignore[no-any-return]


def required(reference: str, given: set[str], form: str) -> set[str]:
    """Return a function's parameters without a default, other than those that it is given.

    Args:
        reference: `module:function`.
        given: names of arguments that it is always called with, by keyword.
        form: how such a function looks, for the message.

    Raises:
        ValueError: it does not exist, or cannot be called with further keyword arguments.
    """
    try:
        parameters = inspect.signature(function(reference)).parameters.values()
    except TypeError:
        raise ValueError(f"{reference} has no signature; wrap it: {form}") from None
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD not in kinds or inspect.Parameter.POSITIONAL_ONLY in kinds:
        raise ValueError(
            f"{reference} cannot be called with any keyword arguments, among them every column of"
            f" the questions; write it as {form}"
        )
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in named and p.default is p.empty} - given


def takes_one(reference: str, form: str) -> None:
    """Check that a function can be called with one argument.

    Args:
        reference: `module:function`.
        form: how such a function looks, for the message.

    Raises:
        ValueError: it does not exist, or cannot be called so.
    """
    try:
        inspect.signature(function(reference)).bind(None)
    except TypeError as error:
        raise ValueError(f"{reference} does not take one argument ({error}): {form}") from None


def failure(error: BaseException) -> str:
    """Return an error of the user's code in one line, with its place in the code."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return text
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})"


def files(reference: str) -> dict[str, Path]:
    """Return the files that a function is made of: name -> path.

    That is its module's, and those of the modules that it imports from the same directory or, for
    an installed one, the same package. Names are relative to that directory.
    """
    name = reference.partition(":")[0]
    place = Path(_imported(name).__file__ or "")
    depth = len(name.split(".")) + (place.name == "__init__.py")
    root = place.parents[depth - 1]
    found: dict[str, Path] = {}
    pending = [name]
    while pending:
        module = pending.pop()
        if module.partition(".")[0] == OWN or (
            root.name in INSTALLED and module.partition(".")[0] != name.partition(".")[0]
        ):
            continue
        path = _source(root, module)
        if path and (key := path.relative_to(root).as_posix()) not in found:
            found[key] = path
            pending += _imports(path, module)
            pending += [module.rpartition(".")[0]] if "." in module else []
    return found or {place.name: place}  # an extension module


def _imports(path: Path, module: str) -> Iterator[str]:
    """Yield the names of the modules that a file may import, wherever in it."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # of a module that is imported only if something is missing
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if node.level and package else []
            parts = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _source(root: Path, module: str) -> Path | None:
    """Return the file of a module below a directory, if it has one there."""
    place = root.joinpath(*module.split("."))
    candidates = (place / "__init__.py", place.with_suffix(".py")) if module else ()
    return next((path for path in candidates if path.is_file()), None)


def _imported(name: str) -> ModuleType:
    """Import a module, from the working directory if it is there.

    Raises:
        ValueError: there is none, it has the name of another one, or it cannot be imported.
    """
    here, top = Path.cwd(), name.partition(".")[0]
    local = _source(here, name)
    for other, origin in list(_local.items()):
        if origin != here or (other == top and local is None):
            _forget(other)
    is_new = top not in sys.modules
    if local and top not in _local:
        _refuse_shadowing(here, top)
    places = [str(here)] if local and str(here) not in sys.path else []
    sys.path[:0] = places
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"module {name} cannot be imported: {failure(error)}") from error
        file = f"{name.replace('.', '/')}.py"
        raise ValueError(
            f"there is no module {name}: neither {file} in {here} nor an installed one"
        ) from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"module {name} cannot be imported: {failure(error)}") from error
    finally:
        for added in places:  # to the end: later imports are found, and hide nothing
            sys.path.remove(added)
            sys.path.append(added)
            _added.append(added)
    if local and is_new:
        _local[top] = here
    path = getattr(module, "__file__", None)
    if path is None:
        raise ValueError(f"module {name} has no file; name the module that has the function")
    if not local:
        _refuse_unseen(Path(path), name)
    return module


def _refuse_unseen(file: Path, name: str) -> None:
    """Refuse a module beside the Snakefile: Snakemake looks there, and its jobs do not.

    Raises:
        ValueError: says where to put it.
    """
    listed = ["", *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    for place in sys.path:
        if Path(place).name in INSTALLED:
            return  # what follows is on every process's path
        if place in listed or not file.is_relative_to(place):
            continue
        if (Path(place) / "Snakefile").is_file():
            raise ValueError(
                f"module {name} is beside the Snakefile, where its jobs do not look; move it to"
                f" the working directory, {Path.cwd()}, or add {place} to PYTHONPATH"
            )


def _refuse_shadowing(here: Path, top: str) -> None:
    """Refuse a module of the working directory that has the name of another one.

    Raises:
        ValueError: names the other one.
    """
    if top in sys.modules or top in sys.stdlib_module_names:
        spec = find_spec(top)
    else:
        spec = PathFinder.find_spec(top, [path for path in sys.path if path not in ("", str(here))])
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    known = [Path(place) for place in places if place]
    if spec and spec.origin and not any(path.is_relative_to(here) for path in known):
        raise ValueError(
            f"{top} in {here} has the name of another module ({spec.origin}); rename yours"
        )


def _forget(top: str) -> None:
    """Drop a module of another working directory and those in it."""
    place = str(_local.pop(top))
    if place in sys.path and place in _added:
        _added.remove(place)
        sys.path.remove(place)
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]
