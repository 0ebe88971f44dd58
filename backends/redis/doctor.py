"""Checks of a Redis server's settings, with the remedy for unsafe ones."""

from __future__ import annotations

from typing import Any

from replay.backends.redis.topology import RawConnection

OLDEST = (6, 2)
"""The oldest version that has all our commands; 7.0 is the oldest tested version."""


def examine(connection: RawConnection) -> list[str]:
    """Return warnings about the server behind *connection*, each with its remedy."""
    from redis.exceptions import NoPermissionError

    try:
        info = _info(connection)
    except NoPermissionError:
        return ["the user may not call INFO: settings cannot be checked. Fix: ACL SETUSER <user> +info +config|get"]
    warnings = []
    version = tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2])
    if version < OLDEST:
        found = info.get("redis_version", "of unknown version")
        warnings.append(f"Redis {found} is older than {'.'.join(map(str, OLDEST))}. Fix: upgrade to 7.0 or newer")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: Redis may throw executions away when memory is short. "
            f"Fix: CONFIG SET maxmemory-policy noeviction (and in redis.conf)"
        )
    if info.get("aof_enabled") != "1":
        warnings.append(
            "the append-only file is off: a crash loses everything since the last snapshot. "
            "Fix: appendonly yes and appendfsync always in redis.conf"
        )
    else:
        fsync = _setting(connection, "appendfsync")
        if fsync not in (None, "always"):
            warnings.append(
                f"appendfsync is {fsync}: a crash may lose what was acknowledged in the last {_WINDOW.get(fsync, 'moments')}. "
                f"Fix: CONFIG SET appendfsync always (and in redis.conf), or accept it knowingly"
            )
    if info.get("role") == "slave":
        warnings.append("this server is a replica and takes no writes. Fix: name the primary, or use redis+sentinel://")
    return warnings


_WINDOW = {"everysec": "two seconds", "no": "thirty seconds"}


def _info(connection: RawConnection) -> dict[str, str]:
    connection.send_command("INFO")
    text: Any = connection.read_response()
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _setting(connection: RawConnection, name: str) -> str | None:
    """Return a setting, None where CONFIG is not permitted (managed services)."""
    from redis import ResponseError

    try:
        connection.send_command("CONFIG", "GET", name)
        reply: Any = connection.read_response()
    except ResponseError:
        return None
    values = list(reply.values()) if isinstance(reply, dict) else reply[1::2]
    return values[0].decode() if values else None
