"""The worker, which advances executions: `loop` is its heart; what it holds, claims, keeps up and reaches stand beside it."""

from replay.worker.activations import Lost, News, Turn
from replay.worker.worker import Worker

__all__ = ["Lost", "News", "Turn", "Worker"]
