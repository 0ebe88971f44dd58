"""Rules of `replay lint`: code, reason, remedy and severity; and the `Finding` of a broken rule."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

Severity = Literal["error", "warning"]

Position: TypeAlias = tuple[int, int]
"""Line, counted from 1, and byte in it, counted from 0: as `ast` gives them."""


@attrs.frozen(order=True)
class Edit:
    """Replacement of the text between two positions of a file.

    Attributes:
        start: The first position.
        end: The position after the last.
        text: The new text.
    """

    start: Position
    end: Position
    text: str


@attrs.frozen
class Rule:
    """One rule: `reason` says why it exists, `remedy` shows the correct code."""

    code: str
    name: str
    reason: str
    remedy: str
    severity: Severity = "error"


@attrs.frozen
class Finding:
    """Place where a workflow breaks a rule.

    Attributes:
        code: The rule, a key of `RULES`.
        message: The finding in words.
        remedy: The correct code.
        path: The file.
        line: Counted from 1.
        column: Counted from 1.
        workflow: Name of the workflow function whose code (or helper's code) this is.
        edits: Edits that correct it, empty unless there is one correction alone (`replay lint --fix`).
    """

    code: str
    message: str
    remedy: str
    path: str
    line: int
    column: int
    workflow: str
    edits: tuple[Edit, ...] = attrs.field(default=(), eq=False, repr=False)

    @property
    def severity(self) -> Severity:
        """Severity of the rule: `error` or `warning`."""
        return RULES[self.code].severity

    def text(self) -> str:
        """Return the finding as one line, in the format of editors and CI."""
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.message} (fix: {self.remedy})"

    def json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        shown = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "edits")
        return {**shown, "severity": self.severity, "fixable": bool(self.edits)}


_RULES = (
    Rule(
        "RW101",
        "wall clock",
        "The clock shows another time at each replay.",
        "use ctx.now(), or read the clock in a step",
    ),
    Rule(
        "RW102",
        "randomness",
        "Each replay draws other numbers.",
        "use ctx.random(), or draw in a step",
    ),
    Rule(
        "RW103",
        "random UUID",
        "Each replay makes another id.",
        "use ctx.uuid()",
    ),
    Rule(
        "RW104",
        "environment",
        "Another worker has other variables, another host, another folder.",
        "read it in a step, or pass it in with the input",
    ),
    Rule(
        "RW105",
        "input and output",
        "Effects happen again at each replay, and what they return may differ.",
        "do it in a step: yield ctx.step(id, function, ...)",
    ),
    Rule(
        "RW106",
        "print",
        "It prints again at each replay.",
        "use ctx.log, which is silent while replaying",
        "warning",
    ),
    Rule(
        "RW107",
        "threads and event loops",
        "What runs beside the workflow is not recorded, and does not survive the worker.",
        "use ctx.all, ctx.race or ctx.map; a step may use threads",
    ),
    Rule(
        "RW108",
        "blocking sleep",
        "It blocks the worker, and starts anew after a crash.",
        "use yield ctx.sleep(seconds)",
    ),
    Rule(
        "RW109",
        "order of a set",
        "A set of texts has another order in every process, and a folder's listing on every machine.",
        "iterate over sorted(...)",
    ),
    Rule(
        "RW110",
        "hash() and id()",
        "Both differ from process to process.",
        "use the value itself, or hashlib",
    ),
    Rule(
        "RW111",
        "ties in a sorted set",
        "Elements with equal keys keep the order of the set, which differs from process to process.",
        "sort by a key that is unique, such as key=lambda x: (len(x), x)",
        "warning",
    ),
    Rule(
        "RW201",
        "command not yielded",
        "A command does nothing until it is yielded.",
        "write yield or yield from in front of it",
    ),
    Rule(
        "RW202",
        "yield of a generator",
        "A helper's generator is not a command; its commands would never run.",
        "write yield from",
    ),
    Rule(
        "RW203",
        "one id in two members",
        "Only their position tells the two steps apart: whoever reorders the members exchanges their results.",
        "give each member's step an id of its own",
        "warning",
    ),
    Rule(
        "RW204",
        "async workflow",
        "Workflows are generators; the engine does not await.",
        "write def with yield; a step may be async",
    ),
    Rule(
        "RW205",
        "workflow without a yield",
        "A function that never yields is no generator.",
        "yield at least one command, or call it as a step",
    ),
    Rule(
        "RW206",
        "loop variable captured late",
        "The function runs after the loop, so that every step sees the last value.",
        "pass the value: ctx.step(id, function, value), or lambda value=value: ...",
    ),
    Rule(
        "RW207",
        "endless loop",
        "The log grows for ever, and each replay takes longer.",
        "return ctx.continue_as_new(state) after a number of rounds",
        "warning",
    ),
    Rule(
        "RW301",
        "yield in finally",
        "finally also runs when the worker lets go of the execution; the command is discarded then.",
        "undo steps with .down(...) and ctx.rollback(), or yield after the try statement",
        "warning",
    ),
    Rule(
        "RW302",
        "effect in finally or with",
        "finally and the end of a with block also run whenever the worker lets go of the execution, maybe many times.",
        "do it in a step, or undo a step with .down(...)",
    ),
    Rule(
        "RW303",
        "shared state",
        "Other executions, and each replay, change it too.",
        "keep state in local variables, the input, or a step's result",
    ),
    Rule(
        "RW304",
        "mutable default",
        "All executions of a worker share it.",
        "use None, and make it in the body",
    ),
    Rule(
        "RW305",
        "Cancelled swallowed",
        "The execution cannot be cancelled, nor let go of.",
        "catch Exception, or clean up and raise again",
    ),
    Rule(
        "RW306",
        "argument changed by a step",
        "A step gets a copy of its arguments, so that the workflow does not see the change.",
        "return the changed value, and use the step's result",
        "warning",
    ),
    Rule(
        "RW307",
        "undo registered late",
        "A failure between the two steps leaves the first without its compensation.",
        "put .down(...) on the step whose effect it undoes",
        "warning",
    ),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in _RULES}
"""All rules by code, in the order of the documentation."""
