"""The worker, which advances executions: `loop` is its heart; what it holds, claims, keeps up and reaches stand beside it."""

from replay.worker.loop import Worker
from replay.worker.visits import Lost, News, Turn

__all__ = ["Lost", "News", "Turn", "Worker"]
