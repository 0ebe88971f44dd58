"""Targets: the workflows that `module:object` names. An error in a user's module is one message with file and line."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from replay.core.errors import StoreUnavailable
from replay.definition import Workflow
from replay.engine import Engine

T = TypeVar("T")


def load(target: str) -> Any:
    """Return the object that `module:object` names; a zero-argument factory is called.

    Raises:
        click.UsageError: The module or the object does not exist, or raises an exception.
        StoreUnavailable: An Engine in the module cannot reach its store.
    """
    name, _, path = target.partition(":")
    if not all(part.isidentifier() for part in name.split(".")):
        raise click.UsageError(f"{name!r} is not a module. Fix: {_suggestion(name, path)}")
    found = _guarded(f"module {name!r}", lambda: _imported(name))
    for part in path.split(".") if path else ():
        if not hasattr(found, part):
            raise click.UsageError(
                f"module {name!r} ({getattr(found, '__file__', None) or 'built in'}) has no {part!r}. "
                f"Fix: name a workflow, a list of them, or an Engine"
            )
        found = getattr(found, part)
    if not path:
        for usual in ("engine", "workflows", "app"):
            if hasattr(found, usual):
                return getattr(found, usual)
        found = [each for each in vars(found).values() if isinstance(each, Workflow)]
    if callable(found) and not isinstance(found, Workflow | Engine | type):
        found = _made(target, found)
    return found


def load_workflows(target: str) -> list[Workflow[Any, Any]]:
    """Return the workflows that `module:object` names. Raises as `load` and `workflows_of`."""
    return workflows_of(load(target), target)


def load_one(target: str) -> Workflow[Any, Any]:
    """Return the only workflow that `module:object` names. Raises as `load_workflows`.

    Raises:
        click.UsageError: The target names several workflows.
    """
    (definition, *more) = load_workflows(target)
    if more:
        raise click.UsageError(f"{target!r} names several workflows. Fix: name one, as module:function")
    return definition


def workflows_of(found: Any, target: str) -> list[Workflow[Any, Any]]:
    """Return the workflows in *found*, the object that *target* names.

    Raises:
        click.UsageError: The object holds no workflows, or something else.
    """
    if isinstance(found, Engine):
        found = list(found.definitions)
    if isinstance(found, Workflow):
        found = [found]
    what = type(found).__name__
    if isinstance(found, list | tuple | set):
        strange = [each for each in found if not isinstance(each, Workflow)]
        if found and not strange:
            return list(found)
        what = f"a {what} that holds {strange[0]!r}" if strange else f"an empty {what}"
    raise click.UsageError(
        f"{target!r} is {what}, not a workflow, a list of workflows, an Engine, or a function giving one"
    )


def _suggestion(name: str, path: str) -> str:
    module = name.removesuffix(".py").strip("./").replace("/", ".")
    if all(part.isidentifier() for part in module.split(".")):
        return f"write {module}:{path or 'OBJECT'}, and run from the folder that it is in"
    return "write package.module:OBJECT"


def _imported(name: str) -> Any:
    _search_current_folder()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise click.UsageError(
            f"no module {error.name!r} (looked in {os.getcwd()} and the installed packages). Fix: run from the project's folder"
        ) from error


def _search_current_folder() -> None:
    """Let modules of the current folder be found, after those of the standard library: a `secrets.py` there replaces none."""
    folder = os.getcwd()
    if folder not in sys.path:
        standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        last = max(
            (at for at, path in enumerate(sys.path, 1) if path in standard or Path(path).name == "lib-dynload"),
            default=0,
        )
        sys.path.insert(last, folder)


def _made(target: str, factory: Callable[..., Any]) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise click.UsageError(
            f"{target!r} is a function that cannot be called without arguments: {error}. "
            f"Fix: name a function without parameters, or decorate it with @workflow if it is one"
        ) from error
    except ValueError:  # a built-in that does not tell its parameters
        pass
    return _guarded(f"{target!r}", factory)


def _guarded(what: str, call: Callable[[], T]) -> T:
    """Return `call()`; an exception of a user's code becomes one message with file, line and error."""
    try:
        return call()
    except (click.ClickException, StoreUnavailable):
        raise
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise click.UsageError(f"{what} cannot be loaded: {where}: {type(error).__name__}: {error.msg}") from error
    except SystemExit as error:
        raise click.UsageError(
            f'{what} cannot be loaded: {_place(error)}: it ends the process. Fix: put scripts below `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        hint = ". Fix: install it, or correct its name" if isinstance(error, ModuleNotFoundError) else ""
        raise click.UsageError(
            f"{what} cannot be loaded: {_place(error)}: {type(error).__name__}: {error}{hint}"
        ) from error


def _place(error: BaseException) -> str:
    """Return file and line of the last frame in the user's own code, else of the last frame at all."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    roots = [str(Path(root).resolve()) for root in (sys.prefix, sys.base_prefix, Path(__file__).parents[1])]
    own = [frame for frame in frames if not any(frame.filename.startswith(root + os.sep) for root in roots)]
    last = (own or frames)[-1]
    return f"{last.filename}, line {last.lineno}"
