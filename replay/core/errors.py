"""Every exception of replay: a leaf module that imports nothing of ours."""

from __future__ import annotations

KEPT_TEXT = "_replay_text"
"""Attribute of a restored exception with the text that was stored, where its own is another one, or cannot be read."""


def text_of(error: BaseException) -> str:
    """Return an exception's text, the stored one of a restored exception. Never raises, whatever its `__str__` does."""
    try:
        kept = vars(BaseException)["__dict__"].__get__(error).get(KEPT_TEXT)
        text = kept if type(kept) is str else str(error)
        return "".join(text)  # plain text of a subclass of `str`, too
    except BaseException as raised:  # a user's `__str__` may raise anything
        return f"<its text cannot be read: {type(raised).__name__}>"


def cause_of(error: BaseException) -> BaseException | None:
    """Return an exception's `__cause__`, also where its class hides it behind a property of its own."""
    cause: BaseException | None = vars(BaseException)["__cause__"].__get__(error)
    return cause


def context_of(error: BaseException) -> BaseException | None:
    """Return an exception's `__context__`, also where its class hides it behind a property of its own."""
    context: BaseException | None = vars(BaseException)["__context__"].__get__(error)
    return context


def describe_error(error: object) -> str:
    """Return an exception's class and text for messages. Never raises, whatever its methods and attributes do."""
    if not issubclass(type(error), BaseException):
        return "None" if error is None else _text_of_value(error)
    name = type(error).__name__
    text = text_of(error)  # type: ignore[arg-type]  # checked by its class
    return f"{name}: {text}" if text else name


def _text_of_value(value: object) -> str:
    try:
        return str(value)
    except BaseException as raised:
        return f"<{type(value).__name__} whose text cannot be read: {type(raised).__name__}>"


class ReplayError(Exception):
    """Base of every error that replay raises on purpose."""


# --- raised in a workflow -----------------------------------------------------------------------


class StepFailed(ReplayError):
    """A step (after all its attempts) failed; raised at its `yield`.

    Attributes:
        step_id: The step's id as it stands in the log (`ship#2`, `0/ship`).
        attempts: How many times the function was tried.
        cause: The last attempt's exception (also `__cause__`), a `RemoteError` when its class is unknown here.
    """

    def __init__(self, step_id: str, attempts: int = 1, cause: BaseException | None = None) -> None:
        self.step_id = step_id
        self.attempts = attempts
        self.cause = cause
        why = f": {describe_error(cause)}" if cause is not None else ""
        super().__init__(f"step {step_id!r} failed after {attempts} attempt{'s' if attempts != 1 else ''}{why}")
        self.__cause__ = cause


class StepTimeout(ReplayError, TimeoutError):
    """A step's body did not return within its `.timeout(...)`; its thread is abandoned, its result refused."""


class StepInterrupted(ReplayError):
    """An `.at_most_once()` step was begun, and the process died before its outcome was recorded.

    Whether its effect happened is unknown; the workflow decides what to do. It is not run again.
    """


class ExecutionFailed(ReplayError):
    """An execution that was waited for ended without a result.

    Attributes:
        execution_id: The execution's id.
        status: Its status (`failed`, `compensation_failed`).
        cause: The error that ended it (also `__cause__`).
    """

    def __init__(self, execution_id: str, cause: BaseException | None = None, *, status: str = "failed") -> None:
        self.execution_id = execution_id
        self.status = status
        self.cause = cause
        why = f": {describe_error(cause)}" if cause is not None else ""
        super().__init__(f"execution {execution_id!r} ended {status}{why}")
        self.__cause__ = cause


class ExecutionCancelled(ReplayError):
    """An execution that was waited for had been cancelled.

    Attributes:
        execution_id: The execution's id.
        reason: The canceller's reason.
    """

    def __init__(self, execution_id: str, reason: str | None = None) -> None:
        self.execution_id = execution_id
        self.reason = reason
        super().__init__(f"execution {execution_id!r} was cancelled" + (f": {reason}" if reason else ""))


class CompensationFailed(ReplayError):
    """A compensation failed for good; the execution ends `compensation_failed`.

    Attributes:
        failed: Id of the step whose compensation failed.
        undone: Ids of the steps that were undone before it, newest first.
        remaining: Ids of the steps that were not undone, the failed one first.
        cause: The compensation's exception (also `__cause__`).
    """

    def __init__(
        self, failed: str, undone: tuple[str, ...], remaining: tuple[str, ...], cause: BaseException | None = None
    ) -> None:
        self.failed = failed
        self.undone = undone
        self.remaining = remaining
        self.cause = cause
        super().__init__(
            f"the compensation of step {failed!r} failed ({describe_error(cause)}); "
            f"undone: {', '.join(undone) or 'nothing'}; not undone: {', '.join(remaining)}. "
            f"Fix: repair the cause, then `replay retry --rollback` (Operator.retry_rollback) continues where it stopped."
        )
        self.__cause__ = cause


class NoBranchMatched(ReplayError, LookupError):
    """No branch of a `ctx.switch` matched its value, and it has no default."""


class Cancelled(BaseException):
    """Thrown at the current `yield` of an execution (or of a losing member) that is cancelled.

    A `BaseException`, so that a saga's `except Exception` does not swallow it. Clean up and re-raise.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__(reason or "cancelled")


class WorkflowExit(ReplayError):
    """A workflow's code raised what is no `Exception`: `SystemExit`, a library's own, or `Cancelled` without a cancel.

    It fails the execution (as any exception of the workflow's own), not the worker.
    """

    @classmethod
    def of(cls, error: BaseException) -> WorkflowExit:
        """Return the error that stands for *error*."""
        exit = cls(f"the workflow's code raised {describe_error(error)}. Fix: return, or raise an Exception")
        exit.__cause__ = error
        return exit


class RemoteError(ReplayError):
    """Stands for a recorded exception whose class is not known in this process.

    Attributes:
        type_name: The recorded class as `module:QualifiedName`.
        message: Its text.
    """

    def __init__(self, type_name: str, message: str = "") -> None:
        self.type_name = type_name
        self.message = message
        super().__init__(f"{type_name}: {message}")


# --- misuse of the authoring surface (each with its remedy) --------------------------------------


class MisuseError(ReplayError):
    """Base of the errors that a workflow's own code must be changed to avoid."""


class ForgottenYield(MisuseError):
    """A command was built and never yielded, or `ctx.continue_as_new(...)` not returned."""


class WrongExecution(MisuseError, ValueError):
    """A workflow waits for its own execution, or for one of another workflow than it names."""


class NotACommand(MisuseError, TypeError):
    """A workflow yielded something that is not a command."""


class ReservedId(MisuseError, ValueError):
    """An id starts with a prefix that the engine keeps for itself (`__`, `rollback:`) or holds forbidden characters."""


class NotSerializable(ReplayError, TypeError):
    """A value cannot be stored and restored exactly.

    Attributes:
        path: Place of the offender in the value, e.g. `.items[3].price` (empty: the value itself).
    """

    def __init__(self, message: str, path: str = "") -> None:
        self.path = path
        super().__init__(message)


class PayloadTooLarge(ReplayError, ValueError):
    """An encoded value is over the engine's `payload_limit` (bytes)."""


class LogTooLong(ReplayError):
    """An execution's log is over the engine's `log_limit` (entries). Fix: `return ctx.continue_as_new(...)`."""


# --- errors that stop the engine itself ---------------------------------------------------------


class NonDeterminism(ReplayError):
    """The workflow's code and its execution's log disagree.

    Attributes:
        execution_id: The execution.
        recorded: The log's side, in words.
        attempted: The code's side, in words.
        location: `file:line` of the workflow's `yield`, when known.
    """

    def __init__(
        self,
        message: str,
        *,
        execution_id: str = "",
        recorded: str = "",
        attempted: str = "",
        location: str = "",
        index: int = -1,
    ) -> None:
        self.execution_id = execution_id
        self.recorded = recorded
        self.attempted = attempted
        self.location = location
        self.index = index
        super().__init__(message)


class Undecodable(ReplayError, ValueError):
    """Stored text was not written by the codec (damaged, hostile), or is of a class that this process does not know."""


class StoreUnavailable(ReplayError, ConnectionError):
    """The store (or queue) could not be reached in time. The request may have been applied; asking again is safe."""


class Fenced(ReplayError):
    """A session's write was refused: its lease had passed to another session, or the log was not as long as expected."""


# --- refusals to callers --------------------------------------------------------------------------


class UnknownExecution(ReplayError, LookupError):
    """No execution has this id (in this namespace)."""


class UnknownWorkflow(ReplayError, LookupError):
    """No workflow with this key (and version) is registered here."""


class ExecutionEnded(ReplayError):
    """The execution has already ended; it takes no more signals or changes."""


class SignalRefused(ReplayError, ValueError):
    """The signal is not on the workflow's `signals=[...]` list, or its payload is not of the signal's type."""


class ScheduleError(ReplayError, ValueError):
    """A schedule's specification is invalid, or would be rebound to another workflow."""


class UnknownSchedule(ScheduleError, LookupError):
    """No schedule has this id."""


class OperatorRefused(ReplayError):
    """An operator action does not fit the execution's state; the message says why and what fits."""


class ConfigError(ReplayError, ValueError):
    """An option, URL or configuration file is wrong; names the place and the remedy."""
