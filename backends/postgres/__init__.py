"""The PostgreSQL store: `postgresql://HOST/DATABASE` (extra `postgres`, which is imported when a store is opened)."""

from __future__ import annotations

from typing import Any

from replay.core.errors import ConfigError

__all__ = ["open_store"]


def open_store(url: str, **options: Any) -> Any:
    """See `replay.backends.postgres.store.open_store`.

    Raises:
        ConfigError: psycopg is not installed, or see there.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"PostgreSQL needs psycopg ({error}). Fix: pip install 'replay-engine[postgres]'") from error
    from replay.backends.postgres.store import open_store as open_now

    return open_now(url, **options)
