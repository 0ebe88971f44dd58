"""The worker, which advances executions: its loop is in `worker`."""

from replay.worker.activations import LeaseLost, NewMessages, TurnResult
from replay.worker.worker import Worker

__all__ = ["LeaseLost", "NewMessages", "TurnResult", "Worker"]
