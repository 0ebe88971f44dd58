"""Private RabbitMQ: node, name daemon (epmd), data and cookie all in one directory; about three seconds to start."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_port
from tests.servers.process import PATIENCE, Process, find_program

# The wrappers in /usr/sbin insist on the rabbitmq user and /var/lib/rabbitmq; these are the programs themselves.
_BIN = "/usr/lib/rabbitmq/bin"
_CONFIG = """\
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 2GB
log.file.level = warning
"""


class RabbitServer:
    """One RabbitMQ node on a port of its own.

    Args:
        directory: Where its files go; a temporary one by default.
        config: More lines of rabbitmq.conf.
    """

    def __init__(self, directory: Path | None = None, *, config: Sequence[str] = ()) -> None:
        server = find_program("rabbitmq-server", "rabbitmq-server", _BIN)
        self._ctl = find_program("rabbitmqctl", "rabbitmq-server", _BIN)
        epmd = find_program("epmd", "rabbitmq-server", "/opt/homebrew/lib/erlang/bin")
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="replay-")) if directory is None else directory
        for name in ("mnesia", "log", "schema", "gen"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "enabled_plugins").write_text("[].")
        (self.directory / "rabbitmq.conf").write_text(_CONFIG + "".join(f"{line}\n" for line in config))
        self.host = "127.0.0.1"
        self.port = free_port()
        self._epmd_port = free_port()
        self.env = self._environment(free_port(), [str(Path(server).parent), str(Path(epmd).parent)])
        # In the foreground: a node that finds no epmd would leave a daemon behind.
        self.epmd = Process(
            [epmd, "-address", self.host, "-port", str(self._epmd_port), "-relaxed_command_check"],
            self.directory / "epmd.log",
            self.env,
        )
        self.process = Process([server], self.directory / "rabbitmq.log", self.env)

    @property
    def url(self) -> str:
        """Return the URL of the default virtual host, with the guest login."""
        return f"amqp://guest:guest@{self.host}:{self.port}/%2F"

    def start(self) -> Self:
        """Start it; returns when it answers."""
        if not self.epmd.alive:
            self.epmd.start(lambda: self._listens(self._epmd_port))
        self.process.start(self.answers)
        return self

    def answers(self) -> bool:
        """Tell whether it answers the AMQP handshake."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return len(connection.recv(7)) == 7
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
        """Stop it and remove a temporary directory. Its data need no farewell, so it is simply killed."""
        self.process.kill()
        self.epmd.kill()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Keep it dead for the length of a `with`, then start it again."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Let it believe that it has no memory left: it stops reading from publishers."""
        self.ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", "absolute", "2GB")

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` (some 0.7 s a call) and return what it prints."""
        command = [self._ctl, "-q", "-n", self.env["RABBITMQ_NODENAME"], *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        """Open a pika channel for looking at queues and publishing by hand."""
        import pika

        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            yield connection.channel()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _listens(self, port: int) -> bool:
        try:
            socket.create_connection((self.host, port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _environment(self, distribution_port: int, directories: list[str]) -> dict[str, str]:
        """Return the whole environment: nothing of the user's own RabbitMQ or Erlang settings leaks in."""
        at = self.directory
        return {
            "PATH": os.pathsep.join([*directories, os.environ.get("PATH", ""), "/usr/sbin:/usr/bin:/sbin:/bin"]),
            "HOME": str(at),  # Where the Erlang cookie is made.
            "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "1",  # The start script becomes the node, so that its pid is the node's.
            "RABBITMQ_NODENAME": f"replay{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(at / "mnesia"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_LOGS": str(at / "log" / "rabbit.log"),
            "RABBITMQ_SCHEMA_DIR": str(at / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(at / "gen"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(at / "feature_flags"),
            "RABBITMQ_PID_FILE": str(at / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host,
            # The schedulers' busy waiting costs whole cores on a small machine.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +A 8 +sbwt none",
        }
