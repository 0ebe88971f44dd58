"""Facts about code from its bytecode and source: the place of a frame, the yields of a function, tested classes."""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import opcode
from collections.abc import Iterator
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, TypeAlias

import attrs

Place: TypeAlias = tuple[int, int, int, int]
"""First line, last line, first column, last column (UTF-8 bytes) of an instruction's source."""

_NOTHING = "yield from ()"
"""The idiom of a generator function without commands: nothing is ever suspended there."""

_YIELD = opcode.opmap["YIELD_VALUE"]
_RAISE = opcode.opmap["RAISE_VARARGS"]
_UNPACK = opcode.opmap["UNPACK_SEQUENCE"]
_UNPACK_EX = opcode.opmap["UNPACK_EX"]
_MATCH_CLASS = opcode.opmap["MATCH_CLASS"]


@functools.lru_cache(maxsize=1000)
def _places(code: CodeType) -> tuple[Place, ...]:
    return tuple((a or 0, b or 0, c or 0, d or 0) for a, b, c, d in code.co_positions())


def place(code: CodeType, instruction: int) -> Place:
    """Return the place of the instruction at a byte offset of *code*."""
    return _places(code)[instruction // 2]


def where(frame: FrameType) -> tuple[CodeType, Place]:
    """Return the code and the current place of *frame*."""
    return frame.f_code, place(frame.f_code, frame.f_lasti)


@functools.lru_cache(maxsize=1000)
def yields(code: CodeType) -> tuple[Place, ...]:
    """Return the places of all `yield`s of *code*, in order (a `finally` is compiled more than once: one place)."""
    bytes_ = code.co_code
    found = {place(code, at) for at in range(0, len(bytes_), 2) if bytes_[at] == _YIELD}
    return tuple(sorted(each for each in found if text(code, each) != _NOTHING))


def text(code: CodeType, at: Place) -> str:
    """Return the source at a place, empty if there is none."""
    first, last, begin, end = at
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not lines or not lines[0]:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return b"".join(lines).decode(errors="replace")


def unreached(code: CodeType, at: Place) -> str:
    """Return the message about a `yield` that was never reached."""
    source = " ".join((text(code, at) or code.co_qualname).split())
    empty = ", or gave no command" if source.startswith("yield from") else ""  # the same from outside
    return f"line {at[0]} of {PurePath(code.co_filename).name}: `{source[:120]}` was never reached{empty}"


def is_raise(frame: FrameType, instruction: int) -> bool:
    """Tell whether that instruction of *frame* is a `raise` (or an `assert`)."""
    return frame.f_code.co_code[instruction] == _RAISE


def unpacked(frame: FrameType) -> int | None:
    """Return the number of names that *frame* unpacks into now; None if it does not unpack."""
    code, at = frame.f_code.co_code, frame.f_lasti
    if code[at] == _UNPACK:
        return code[at + 1]
    if code[at] == _UNPACK_EX:  # names before the starred one, and (in the prefix) behind it
        return code[at + 1] + (code[at - 1] if code[at - 2] == opcode.EXTENDED_ARG else 0) + 1
    return None


def is_loop(frame: FrameType) -> bool:
    """Tell whether *frame* stands at the head of a `for` statement."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).partition("#")[0].strip()
    return line.startswith("for ") and line.endswith(":")


def asked_classes(frame: FrameType) -> tuple[type, ...]:
    """Return the classes tested by the `isinstance(...)` or class pattern at the place of *frame*."""
    wanted = _asked(frame.f_code, frame.f_lasti)
    try:
        return tuple(_classes(_value(wanted, frame.f_globals, frame.f_locals))) if wanted is not None else ()
    except (LookupError, AttributeError):
        return ()


@functools.lru_cache(maxsize=1000)
def _asked(code: CodeType, instruction: int) -> ast.expr | None:
    source = text(code, place(code, instruction))
    try:
        if code.co_code[instruction] == _MATCH_CLASS:
            statement = ast.parse(f"match _:\n case ({source}): pass").body[0]
            pattern = statement.cases[0].pattern if isinstance(statement, ast.Match) else None
            return pattern.cls if isinstance(pattern, ast.MatchClass) else None
        match ast.parse(f"({source})", mode="eval").body:
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, wanted]):
                return wanted
            case _:
                return None
    except SyntaxError:
        return None


def _classes(value: Any) -> Iterator[type]:
    if type(value) is tuple:
        for each in value:
            yield from _classes(each)
    elif isinstance(value, type):
        yield value
    else:
        yield from _classes(getattr(value, "__args__", ()))


def _value(node: ast.expr, names: dict[str, Any], local: Any = None) -> Any:
    """Return the value of a constant, a dotted name, or a tuple or union of these. No user code is called."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=id):
            for space in (local or {}, names, vars(builtins)):
                if id in space:
                    return space[id]
            raise LookupError(id)
        case ast.Attribute(value=owner, attr=attr):
            return getattr(_value(owner, names, local), attr)
        case ast.Tuple(elts=elements):
            return tuple(_value(each, names, local) for each in elements)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return (_value(left, names, local), _value(right, names, local))
        case _:
            raise LookupError(ast.dump(node))


# --- hints that only the syntax tree gives -----------------------------------------------------------


@attrs.frozen
class Sequence:
    """A sequence pattern of that many elements."""

    length: int


@attrs.frozen
class Mapping:
    """A mapping pattern."""


@functools.lru_cache(maxsize=100)
def _functions(filename: str) -> dict[tuple[str, int], ast.FunctionDef]:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return {}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {(f.name, min([f.lineno, *(d.lineno for d in f.decorator_list)])): f for f in found}


def _function(code: CodeType) -> ast.FunctionDef | None:
    return _functions(code.co_filename).get((code.co_name, code.co_firstlineno))


@functools.lru_cache(maxsize=1000)
def _wanted(code: CodeType) -> tuple[ast.expr | Sequence | Mapping, ...]:
    found: list[ast.expr | Sequence | Mapping] = []
    for node in ast.walk(_function(code) or ast.Pass()):
        match node:
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[right]):
                found += [side for side in (left, right) if isinstance(side, ast.Constant | ast.Attribute | ast.Name)]
            case ast.MatchSingleton(value=value):
                found.append(ast.Constant(value))
            case ast.MatchSequence(patterns=patterns):
                found.append(Sequence(sum(not isinstance(p, ast.MatchStar) for p in patterns)))
            case ast.MatchMapping():
                found.append(Mapping())
            case _:
                pass
    return tuple(found)


def identities(code: CodeType, names: dict[str, Any]) -> Iterator[Any]:
    """Yield the values that *code* distinguishes by identity or pattern (`is None`, `is Color.RED`, `case [a, b]`)."""
    for wanted in _wanted(code):
        if isinstance(wanted, Sequence | Mapping):
            yield wanted
            continue
        try:
            yield _value(wanted, names)
        except (LookupError, AttributeError):
            continue  # a local name: its value is not known here


@functools.lru_cache(maxsize=1000)
def _guarded(code: CodeType) -> tuple[range, ...]:
    return tuple(
        range(node.body[0].lineno, (node.body[-1].end_lineno or node.body[-1].lineno) + 1)
        for node in ast.walk(_function(code) or ast.Pass())
        if isinstance(node, ast.Try)
        and (
            any(_catches_cancelled(handler) for handler in node.handlers)
            or any(isinstance(inner, ast.Yield | ast.YieldFrom) for each in node.finalbody for inner in ast.walk(each))
        )
    )


def _catches_cancelled(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {
        n.id if isinstance(n, ast.Name) else n.attr
        for n in ast.walk(handler.type)
        if isinstance(n, ast.Name | ast.Attribute)
    }
    return bool(names & {"Cancelled", "BaseException"})


def is_guarded(code: CodeType, at: Place) -> bool:
    """Tell whether the place is inside a `try` that handles a cancellation."""
    return any(at[0] in lines for lines in _guarded(code))
