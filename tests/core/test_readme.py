"""The code in the README and in the documentation runs; what deployment files and pages say to type exists."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from replay.cli.commands.worker import worker_command

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "benchmarks/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
FLAGS = {flag for parameter in worker_command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "tests/README.md"])  # that starts servers
def test_the_code_of_a_page_runs(page: str) -> None:
    module = types.ModuleType("page_" + re.sub(r"\W", "_", page))
    sys.modules[module.__name__] = module  # where the codec and pickling tools look for classes
    try:
        for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            exec(compile(block, page, "exec", dont_inherit=True), module.__dict__)
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_a_page_names_exist(page: str) -> None:
    for path in re.findall(
        r"`((?:replay|backends|tests|benchmarks|docs|deploy)/[\w./-]+\w/?)`", (ROOT / page).read_text()
    ):
        assert (ROOT / path).exists(), path


def test_the_worker_flags_of_pages_and_deployment_files_exist() -> None:
    for path in [ROOT / "docs/operations.md", *(ROOT / "deploy").iterdir()]:
        for line in path.read_text().splitlines():
            if "replay-worker" in line or "args:" in line:
                for flag in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", line.partition("replay-worker")[2] or line):
                    assert flag in FLAGS, f"{path.name}: {line.strip()}"


def test_every_worker_option_is_explained() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    names = "store queue bus namespace name log-level log-format argument-policy queues"
    known_elsewhere = {f"--{name}" for name in names.split()}
    for parameter in worker_command.params:
        long = [flag for flag in parameter.opts if flag.startswith("--")]
        assert not long or set(long) & known_elsewhere or any(flag in page for flag in long), long
