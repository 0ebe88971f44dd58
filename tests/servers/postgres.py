"""Private PostgreSQL: one cluster in a directory of its own, on a port of its own; about two seconds to start.

PostgreSQL refuses to run as root: its programs then run as the package's own user.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_port
from tests.servers.process import Process, find_program

USER = "replay"
_FOLDERS = (
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
    "/opt/homebrew/opt/postgresql@16/bin",
)
_FAST = ("fsync=off", "full_page_writes=off")


class PostgresServer:
    """One PostgreSQL server with the database `replay`, whose owner is the user `replay`.

    Args:
        durable: Flushes each commit to the disk, as in production. Otherwise commits survive a `kill`, but no power cut.
        config: More `name=value` settings.
        password: The user's password; without one every local connection is trusted.
    """

    def __init__(self, *, durable: bool = False, config: Sequence[str] = (), password: str = "") -> None:
        self._initdb = find_program("initdb", "postgresql", *_FOLDERS)
        program = find_program("postgres", "postgresql", *_FOLDERS)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.password = password
        self.directory = Path(tempfile.mkdtemp(prefix="replay-"))
        self._prefix: list[str] = []
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            switch = find_program("setpriv", "util-linux")
            self._prefix = [switch, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        settings = [
            f"listen_addresses={self.host}", f"port={self.port}", f"unix_socket_directories={self.directory}",
            "max_connections=100", "shared_buffers=32MB", *(() if durable else _FAST), *config,
        ]  # fmt: skip
        # A change of users clears the signal that ends the server with its parent.
        dies = ["--pdeathsig=KILL"] if self._prefix else []
        arguments = [part for setting in settings for part in ("-c", setting)]
        command = [*self._prefix, *dies, program, "-D", str(self.data), *arguments]
        self.process = Process(command, self.directory / "postgres.log")

    @property
    def data(self) -> Path:
        """Return the folder of its files."""
        return self.directory / "data"

    @property
    def url(self) -> str:
        """Return the URL of the database."""
        return self.url_of()

    def url_of(self, *, host: str | None = None, port: int | None = None, **options: Any) -> str:
        """Return the URL with *options*, for another address if one is given (a proxy's)."""
        login = f"{USER}:{self.password}" if self.password else USER
        query = "&".join(f"{name}={value}" for name, value in options.items())
        place = f"{host or self.host}:{port or self.port}/{USER}"
        return f"postgresql://{login}@{place}{'?' if query else ''}{query}"

    def start(self) -> Self:
        """Start it, on a new cluster at first; returns when it answers."""
        if not self.data.exists():
            self._init()
        self.process.start(self.answers)
        if not self._has_database():
            self.run(f"CREATE DATABASE {USER} ENCODING 'UTF8' TEMPLATE template0", database="postgres")
        return self

    def _init(self) -> None:
        word = self.directory / "word"
        word.write_text(self.password or "unused")
        word.chmod(0o644)
        auth = "scram-sha-256" if self.password else "trust"
        command = [*self._prefix, self._initdb, "-D", str(self.data), "-U", USER, f"--auth={auth}", f"--pwfile={word}"]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode == 0, done.stdout + done.stderr

    def _has_database(self) -> bool:
        return bool(self.run("SELECT 1 FROM pg_database WHERE datname = %s", USER, database="postgres"))

    def answers(self) -> bool:
        """Tell whether it answers statements."""
        import psycopg

        try:
            return bool(self.run("SELECT 1", database="postgres"))
        except psycopg.OperationalError:
            return False

    def connect(self, database: str = USER, **options: Any) -> Any:
        """Return a new connection of psycopg, in autocommit; close it."""
        import psycopg

        options = {"autocommit": True, "connect_timeout": 10, **options}
        return psycopg.connect(
            host=self.host, port=self.port, user=USER, password=self.password or None, dbname=database, **options
        )

    def run(self, statement: str, *values: Any, database: str = USER) -> list[Any]:
        """Perform one statement and return its rows, if it has any."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """SIGKILL the server; its sessions end by themselves, and its directory stays."""
        self.process.kill()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        """Kill it if it runs, then start it on the same port and directory."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Stop it at once and remove its directory."""
        if self.process.alive:
            os.kill(self.process.pid, signal.SIGQUIT)
            self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Keep it dead for the length of a `with`, then start it again."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class Pgbouncer:
    """A pgbouncer before *server* that gives each transaction any of three connections."""

    def __init__(self, server: PostgresServer) -> None:
        program = find_program("pgbouncer", "pgbouncer")
        self._server = server
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="replay-"))
        users = self.directory / "users"
        users.write_text(f'"{USER}" ""\n')
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n{USER} = host={server.host} port={server.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={self.port}\nauth_type=trust\nauth_file={users}\npool_mode=transaction\ndefault_pool_size=3\n"
            f"unix_socket_dir=\nlogfile={self.directory / 'pgbouncer.log'}\n"
        )
        prefix: list[str] = []
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            switch = find_program("setpriv", "util-linux")
            prefix = [switch, "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"]
        self.process = Process(
            [*prefix, program, str(self.directory / "pgbouncer.ini")], self.directory / "pgbouncer.out"
        )

    @property
    def url(self) -> str:
        """Return the URL of the database behind it."""
        return self._server.url_of(port=self.port, pooler="transaction")

    def answers(self) -> bool:
        """Tell whether it forwards statements."""
        import psycopg

        try:
            with psycopg.connect(host="127.0.0.1", port=self.port, user=USER, dbname=USER, connect_timeout=2) as found:
                return bool(found.execute("SELECT 1").fetchone())
        except psycopg.OperationalError:
            return False

    def __enter__(self) -> Self:
        self.process.start(self.answers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
