"""Workers, which advance executions: the loop, its threads, and step bodies."""

from replay.worker.turns import LeaseLost, NewMessages, TurnResult
from replay.worker.worker import Worker

__all__ = ["LeaseLost", "NewMessages", "TurnResult", "Worker"]
