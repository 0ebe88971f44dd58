"""Private Redis: one server, a cluster of three masters, a primary with a replica behind a Sentinel."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.servers.ports import free_port
from tests.servers.process import Process, find_program, until

MASTER_NAME = "replay"


class _Served:
    """What the three shapes share: a directory, and `with`."""

    directory: Path

    def start(self) -> Self:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _use(self, directory: Path | None) -> Path:
        # Short, because the path of a unix socket may have some 100 characters only.
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="replay-")) if directory is None else directory
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.directory

    def _clean(self) -> None:
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)


class RedisServer(_Served):
    """One Redis server on a port (and a unix socket) of its own.

    Args:
        directory: Where its files go; a temporary one by default.
        appendfsync: Keeps an append-only file synced like this; without it nothing survives a `kill`.
        password: Of the default user.
        users: ACL rules, one a line: `"worker on >secret ~* &* +@all"`.
        config: More `--name value` pairs.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        appendfsync: Literal["always", "everysec", "no"] | None = None,
        password: str | None = None,
        users: Sequence[str] = (),
        config: Sequence[str] = (),
    ) -> None:
        self.program = find_program("redis-server", "redis-server")
        self.host = "127.0.0.1"
        self.port = free_port()
        self.password = password
        self._use(directory)
        self.unix_socket = self.directory / "redis.sock"
        command = [self.program, "--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)]
        command += ["--daemonize", "no", "--save", "", "--maxmemory-policy", "noeviction", "--protected-mode", "no"]
        if len(str(self.unix_socket)) < 100:
            command += ["--unixsocket", str(self.unix_socket)]
        if appendfsync:
            command += ["--appendonly", "yes", "--appendfsync", appendfsync]
        if password:
            command += ["--requirepass", password]
        for user in users:
            command += ["--user", *user.split()]
        self.process = Process([*command, *config], self.directory / "redis.log")

    @property
    def url(self) -> str:
        """Return the URL of database 0, with the default user's password if there is one."""
        return self.url_of(0)

    def url_of(self, database: int = 0, *, user: str = "", password: str | None = None) -> str:
        """Return the URL of *database* as *user*."""
        password = self.password if password is None else password
        login = f"{user}:{password}@" if password else ""
        return f"redis://{login}{self.host}:{self.port}/{database}"

    def start(self) -> Self:
        """Start it; returns when it answers."""
        self.process.start(self.answers)
        return self

    def answers(self) -> bool:
        """Tell whether it answers commands (a refusal for want of a password counts, loading its files does not)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL it; its directory stays."""
        self.process.kill()

    def restart(self) -> None:
        """Kill it if it runs, then start it on the same port and directory."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP it: connections stay open, nothing is answered."""
        self.process.pause()

    def resume(self) -> None:
        """SIGCONT it."""
        self.process.resume()

    def stop(self) -> None:
        """Stop it and remove a temporary directory."""
        self.process.stop()
        self._clean()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Keep it dead for the length of a `with`, then start it again."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def client(self, **options: Any) -> Any:
        """Return a new redis-py client without retries; close it."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options.setdefault("retry", Retry(NoBackoff(), 0))
        return redis.Redis.from_url(self.url, protocol=3, **options)

    def run(self, *command: str | int) -> Any:
        """Perform one command as the default user and return the bare answer, text as `str`."""
        return _ask(self.host, self.port, *command, password=self.password)

    def info(self, section: str) -> dict[str, str]:
        """Return one section of INFO."""
        return _facts(self.run("INFO", section))


class RedisCluster(_Served):
    """Three masters that share the slots; about two seconds to start."""

    def __init__(self, directory: Path | None = None, *, config: Sequence[str] = ()) -> None:
        self._use(directory)
        cluster = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000"]
        self.masters = [RedisServer(self.directory / f"m{i}", config=[*cluster, *config]) for i in range(3)]

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Return host and port of every master."""
        return [(master.host, master.port) for master in self.masters]

    @property
    def url(self) -> str:
        """Return the URL that names all masters."""
        return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in self.nodes)

    def start(self) -> Self:
        """Start the masters and join them; returns when each says that all slots are served."""
        shares = [range(5461), range(5461, 10923), range(10923, 16384)]
        for i, (master, slots) in enumerate(zip(self.masters, shares, strict=True)):
            master.start()
            master.run("CLUSTER", "ADDSLOTS", *slots)
            master.run("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for host, port in self.nodes[1:]:
            self.masters[0].run("CLUSTER", "MEET", host, port)
        for master in self.masters:
            until(lambda m=master: self.is_whole(m), what="the cluster to be whole", every=0.05)
        return self

    def is_whole(self, master: RedisServer) -> bool:
        """Tell whether *master* knows all masters and finds all slots served."""
        facts = _facts(master.run("CLUSTER", "INFO"))
        return facts["cluster_state"] == "ok" and facts["cluster_known_nodes"] == "3"

    def stop(self) -> None:
        """Stop all masters."""
        for master in self.masters:
            master.stop()
        self._clean()


class RedisSentinel(_Served):
    """A primary, a replica, and one Sentinel that fails over in about two seconds."""

    def __init__(
        self, directory: Path | None = None, *, appendfsync: Literal["always", "everysec"] | None = None
    ) -> None:
        self._use(directory)
        # By default a replica waits five seconds for companions before it is fed.
        feed = ["--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "yes"]
        self.servers = [RedisServer(self.directory / name, appendfsync=appendfsync, config=feed) for name in ("a", "b")]
        self.host = "127.0.0.1"
        self.port = free_port()
        self.process = Process(
            [self.servers[0].program, str(self.directory / "sentinel.conf"), "--sentinel"],
            self.directory / "sentinel.log",
        )

    @property
    def url(self) -> str:
        """Return the URL that names the Sentinel, the primary's name and database 0."""
        return f"redis+sentinel://{self.host}:{self.port}/{MASTER_NAME}/0"

    def start(self) -> Self:
        """Start all three; returns when the Sentinel knows the replica and the replica is fed."""
        primary, replica = (server.start() for server in self.servers)
        replica.run("REPLICAOF", primary.host, primary.port)
        conf = self.directory / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\nbind {self.host}\ndir {self.directory}\n"
            f"sentinel monitor {MASTER_NAME} {primary.host} {primary.port} 1\n"
            # A Sentinel pings after one second at the earliest; below that it takes a primary it just met for dead.
            f"sentinel down-after-milliseconds {MASTER_NAME} 3000\n"
            f"sentinel failover-timeout {MASTER_NAME} 2000\n"
        )
        self.process.start(self._knows_primary)
        self.settle()
        return self

    @property
    def primary(self) -> RedisServer:
        """Return the server that the Sentinel takes for the primary."""
        port = self._ask("get-master-addr-by-name", MASTER_NAME)[1]
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> RedisServer:
        """Return the other server, running or not."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def failover(self) -> RedisServer:
        """Kill the primary and return the promoted replica, once it takes writes; the dead one stays dead."""
        old, new = self.primary, self.replica
        old.kill()
        until(lambda: self.primary is new and not self._is_failing_over(), what="the failover", every=0.02)
        until(lambda: new.info("replication")["role"] == "master", what="the promotion", every=0.02)
        return new

    def settle(self) -> None:
        """Start whichever server is dead, as a replica, and wait until it is in step again."""
        primary = self.primary
        for server in self.servers:
            if not server.process.alive:
                server.start()
            if server is not primary:  # The Sentinel would see to that after ten seconds.
                server.run("REPLICAOF", primary.host, primary.port)
        until(self._is_settled, what="the replica to be in step", every=0.02)

    def stop(self) -> None:
        """Stop all three."""
        self.process.stop()
        for server in self.servers:
            server.stop()
        self._clean()

    def _is_settled(self) -> bool:
        primary, replica = self.primary.info("replication"), self.replica.info("replication")
        return (
            primary["role"] == "master"
            and "state=online" in primary.get("slave0", "")
            and replica["role"] == "slave"
            and replica["master_link_status"] == "up"
            and len(self._ask("replicas", MASTER_NAME)) == 1
        )

    def _is_failing_over(self) -> bool:
        facts = self._ask("master", MASTER_NAME)
        return "failover_in_progress" in facts[facts.index("flags") + 1]

    def _knows_primary(self) -> bool:
        try:
            return bool(self._ask("get-master-addr-by-name", MASTER_NAME))
        except Exception:
            return False

    def _ask(self, *command: str) -> Any:
        return _ask(self.host, self.port, "SENTINEL", *command)


def _ask(host: str, port: int, *command: str | int, password: str | None = None) -> Any:
    """Perform one command on a fresh connection, without redis-py reshaping or repeating anything."""
    import redis

    connection = redis.Connection(host=host, port=port, password=password, protocol=2, decode_responses=True)
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def _facts(info: str) -> dict[str, str]:
    lines = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
