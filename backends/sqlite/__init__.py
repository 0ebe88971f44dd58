"""The SQLite store: `sqlite:///FILE`."""

from replay.backends.sqlite.store import SqliteStore, open_store

__all__ = ["SqliteStore", "open_store"]
