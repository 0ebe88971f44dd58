"""Golden histories, at their documented path; they live in `replay.client.histories`."""

from replay.client.histories import FORMAT, History, Recorded

__all__ = ["FORMAT", "History", "Recorded"]
