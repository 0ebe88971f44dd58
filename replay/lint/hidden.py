"""Rules for hidden inputs and effects (RW101-RW108, RW110): calls that a workflow must not make, by resolved name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeAlias

from replay.lint.flow import Flow

Hit: TypeAlias = tuple[str, ast.AST, str]
"""Rule code, node, message."""

_CLOCK = {
    *(
        f"time.{name}{suffix}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
        for suffix in ("", "_ns")
    ),
    *(f"datetime.{name}" for name in ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")),
    "pendulum.now",
    "pendulum.today",
    "arrow.now",
    "arrow.utcnow",
    "django.utils.timezone.now",
    "pandas.Timestamp.now",
}
_CLOCK_WITHOUT_ARGUMENT = {
    "time.localtime": 0,
    "time.gmtime": 0,
    "time.ctime": 0,
    "time.asctime": 0,
    "time.strftime": 1,
}
"""Functions that read the clock if called with at most this number of arguments."""

_UUIDS = {f"uuid.uuid{version}" for version in (1, 4, 6, 7)}
_ENVIRONMENT = {
    "os.getenv",
    "os.getcwd",
    "os.getpid",
    "os.getppid",
    "os.getlogin",
    "os.cpu_count",
    "os.uname",
    "getpass.getuser",
    "socket.gethostname",
    "socket.getfqdn",
    "pathlib.Path.cwd",
    "pathlib.Path.home",
    "platform",
}
_SLEEPS = {"time.sleep", "asyncio.sleep", "gevent.sleep", "trio.sleep", "anyio.sleep"}
_THREADS = {"threading", "_thread", "asyncio", "multiprocessing", "concurrent.futures", "gevent", "trio", "anyio"}
_IO_MODULES = {
    "socket",
    "requests",
    "httpx",
    "urllib.request",
    "urllib3",
    "aiohttp",
    "http.client",
    "subprocess",
    "sqlite3",
    "shutil",
    "tempfile",
    "smtplib",
    "ftplib",
    "glob",
    "psycopg",
    "psycopg2",
    "asyncpg",
    "pymysql",
    "pymongo",
    "redis",
    "pika",
    "boto3",
}
_IO = {
    "builtins.open",
    "builtins.input",
    "builtins.breakpoint",
    "io.open",
    "webbrowser.open",
    *(
        f"sys.{stream}.{name}"
        for stream in ("stdin", "stdout", "stderr")
        for name in ("read", "readline", "write", "flush")
    ),
    *(
        f"os.{name}"
        for name in [
            "access",
            "chmod",
            "fdopen",
            "kill",
            "link",
            "listdir",
            "lstat",
            "makedirs",
            "mkdir",
            "open",
            "popen",
            "read",
            "remove",
            "removedirs",
            "rename",
            "replace",
            "rmdir",
            "scandir",
            "stat",
            "symlink",
            "system",
            "truncate",
            "unlink",
            "utime",
            "walk",
            "write",
        ]
    ),
    *(f"os.path.{name}" for name in ("exists", "getmtime", "getsize", "isdir", "isfile", "islink", "realpath")),
}
_PATH_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes"}
"""Methods of paths alone."""
_PATH_ONLY_METHODS = {
    *_PATH_METHODS,
    *[
        "exists",
        "is_file",
        "is_dir",
        "open",
        "unlink",
        "mkdir",
        "rmdir",
        "touch",
        "rename",
        "replace",
        "iterdir",
        "glob",
        "rglob",
        "stat",
        "resolve",
    ],
}
"""Methods of paths that other classes have, too."""
_NOT_EFFECTS = ("Error", "Exception", "Timeout", "Warning")
"""Name endings of classes whose construction has no effect."""


def check(flow: Flow) -> Iterator[Hit]:
    """Find hidden inputs and effects in a flow."""
    defaults = (*flow.code.args.defaults, *flow.code.args.kw_defaults)
    for node in (each for default in defaults if default is not None for each in ast.walk(default)):
        if isinstance(node, ast.Call):
            yield from _call(flow, node, "once for each process, in a default argument")
    for node in flow.nodes():
        if isinstance(node, ast.Call):
            yield from _call(flow, node)
        elif isinstance(node, ast.Name | ast.Attribute) and flow.source.resolve(node) in ("os.environ", "os.environb"):
            yield "RW104", node, "os.environ is read in workflow code"


def _call(flow: Flow, node: ast.Call, when: str = "in workflow code") -> Iterator[Hit]:
    name = flow.source.resolve(node.func)
    if name is None:
        yield from _path_method(flow, node)
        return
    code = _classify(name, node)
    if code is not None:
        yield code, node, f"{name.removeprefix('builtins.')}() is called {when}"


def _classify(name: str, node: ast.Call) -> str | None:
    given = len(node.args) + len(node.keywords)
    module, _, last = name.rpartition(".")
    if name in _CLOCK or given <= _CLOCK_WITHOUT_ARGUMENT.get(name, -1):
        return "RW101"
    if name in _SLEEPS:
        return "RW108"
    if _is_random(name, module, given):
        return "RW102"
    if name in _UUIDS:
        return "RW103"
    if name in _ENVIRONMENT or module in _ENVIRONMENT:
        return "RW104"
    if name == "builtins.print":
        return "RW106"
    if name in ("builtins.hash", "builtins.id"):
        return "RW110"
    if last.endswith(_NOT_EFFECTS):
        return None
    if name in _IO or _below(name, _IO_MODULES):
        return "RW105"
    return "RW107" if _below(name, _THREADS) else None


def _is_random(name: str, module: str, given: int) -> bool:
    if name == "random.Random":
        return given == 0  # a seeded generator is deterministic
    return module in ("random", "secrets", "numpy.random", "random.SystemRandom") or name == "os.urandom"


def _below(name: str, modules: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in modules for length in range(1, len(parts)))


def _path_method(flow: Flow, node: ast.Call) -> Iterator[Hit]:
    if not isinstance(node.func, ast.Attribute):
        return
    on_path = _is_path(flow, node.func.value)
    if node.func.attr in _PATH_METHODS or (on_path and node.func.attr in _PATH_ONLY_METHODS):
        yield "RW105", node, f"Path.{node.func.attr}() is called in workflow code"


def _is_path(flow: Flow, node: ast.expr) -> bool:
    """Return whether an expression is surely a `Path`: built here, or a name that is built or annotated as one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _is_path(flow, node.left)
    if isinstance(node, ast.Call):
        return flow.source.resolve(node.func) == "pathlib.Path"
    if not isinstance(node, ast.Name):
        return False
    found = flow.source.scope_of(node).lookup(node.id)
    if found is None:
        return False
    binding = found[1]
    if binding.annotation is not None and flow.source.resolve(binding.annotation) == "pathlib.Path":
        return True
    made = [
        isinstance(value, ast.Call) and flow.source.resolve(value.func) == "pathlib.Path" for value in binding.values
    ]
    return bool(made) and all(made)
