"""What `replay lint` can be pointed at: functions with helpers elsewhere, files, folders, modules; the command; the docs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from click.testing import CliRunner

from replay import Context, workflow
from replay.cli.commands.lint import lint_command
from replay.lint import RULES, Finding, lint_function, lint_module, lint_source
from replay.lint.fixes import _FIXES

DOCS = Path(__file__).parents[2] / "docs" / "lint.md"

HELPERS = """
import random

def helper(ctx):
    yield ctx.sleep(random.random())

def far(ctx):
    yield from helper(ctx)
"""

ORDERS = """
import shop_lint.helpers as aside
from replay import workflow
from shop_lint.helpers import far

@workflow
def order(ctx):
    yield from far(ctx)
    yield from aside.helper(ctx)
    print("done")

@workflow
def clean(ctx):
    yield ctx.sleep(1)

workflows = [order, clean]

def factory():
    raise AssertionError("lint called a factory")
"""


OWN_CLOCKS = """
import time

def is_open():
    return deeper()

def deeper():
    return time.time() % 2
"""

OWN_FLOWS = """
import json
import own_clocks
from click import get_app_dir
from own_clocks import is_open
from replay import workflow

@workflow
def greet(ctx):
    if is_open() and own_clocks.is_open():
        yield ctx.step("a", is_open)

@workflow
def fine(ctx, is_open):
    is_open(1)
    json.dumps(get_app_dir("x"))
    yield ctx.step("a", own_clocks.is_open)
"""


BOTH = [("helpers.py", 5, "RW102", "order"), ("orders.py", 10, "RW106", "order")]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "shop_lint"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "orders.py").write_text(ORDERS)
    (folder / "fails.py").write_text("raise RuntimeError('imported')\nfrom replay import workflow\n")
    (folder / "broken.txt").write_text("def (:")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("shop_lint")]:
        del sys.modules[name]


def codes(findings: list[Finding]) -> list[tuple[str, int, str, str]]:
    return [(Path(f.path).name, f.line, f.code, f.workflow) for f in findings]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(lint_command, list(arguments))
    return result.exit_code, result.stdout, result.stderr


# --- functions ----------------------------------------------------------------------------------------------


def test_a_decorated_workflow_is_checked_with_its_helpers_in_other_modules(shop: Path) -> None:
    from shop_lint import orders  # type: ignore[import-not-found]

    assert codes(lint_function(orders.order)) == BOTH
    assert lint_function(orders.order) == lint_function(orders.order.fn)
    assert lint_function(orders.clean) == []


def test_plain_helpers_of_ones_own_modules_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_clocks.py").write_text(OWN_CLOCKS)
    (tmp_path / "own_flows.py").write_text(OWN_FLOWS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_flows  # type: ignore[import-not-found]

    try:
        assert codes(lint_function(own_flows.greet)) == [("own_clocks.py", 8, "RW101", "greet")]
        assert lint_function(own_flows.fine) == []
    finally:
        del sys.modules["own_flows"], sys.modules["own_clocks"]


def test_a_workflow_defined_in_a_function_is_checked_where_it_stands() -> None:
    @workflow
    def local(ctx: Context) -> Any:
        ctx.sleep(1)
        yield ctx.sleep(2)

    (finding,) = lint_function(local)
    assert finding.code == "RW201"
    assert finding.line == local.fn.__code__.co_firstlineno + 2


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(TypeError, match="Fix:"):
        lint_function(5)
    with pytest.raises(TypeError, match="Fix:"):
        lint_function(len)


def test_a_function_without_its_source_is_refused() -> None:
    names: dict[str, Any] = {}
    exec("def made(ctx):\n    yield ctx.sleep(1)\n", names)
    with pytest.raises(OSError, match="Fix:"):
        lint_function(names["made"])


# --- files, folders, modules ----------------------------------------------------------------------------------


def test_a_path_is_read_and_not_imported(shop: Path) -> None:
    assert codes(lint_module(str(shop / "orders.py"))) == BOTH
    assert lint_module(str(shop / "fails.py")) == []
    assert codes(lint_module(str(shop))) == BOTH
    assert not [name for name in sys.modules if name.startswith("shop_lint")]


def test_a_module_is_found_by_its_dotted_name(shop: Path) -> None:
    assert codes(lint_module("shop_lint.orders")) == BOTH
    assert codes(lint_module("shop_lint")) == BOTH
    assert "shop_lint.orders" not in sys.modules


@pytest.mark.parametrize("target", ["nowhere.py", "no_such_module_of_ours", "shop_lint.missing", "a/b", "sys"])
def test_a_target_that_does_not_exist_is_refused(shop: Path, target: str) -> None:
    with pytest.raises(FileNotFoundError, match="Fix:"):
        lint_module(target)


PACKAGE = {
    "own/__init__.py": "from own.clocks import is_open as is_open_now",
    "own/clocks.py": "import time\ndef is_open():\n    return time.time()\ndef fine(ctx):\n    return ctx.now()\ndef broken(",
    "own/flows/__init__.py": "",
    "own/flows/near.py": "import random\n\n"
    "def pick(ctx):\n    return random.random()\n\n"
    "def rests(c):\n    c.sleep(1)\n    yield c.sleep(1)\n",
    "own/flows/json.py": "import time\n\ndef dumps(x):\n    return time.time()\n",
    "own/flows/orders.py": """
import json
import own
import own.flows.near as aside
import own.clocks
from own import is_open_now
from replay import workflow
from . import near
from .near import rests
from ..clocks import fine, missing

@workflow
def order(ctx, n):
    from ..clocks import is_open
    is_open(), own.clocks.fine(ctx), is_open_now(), json.dumps(1), fine(ctx), missing(1), own.flows.nothing(1)
    near.pick(ctx), aside.rests(ctx)
    yield ctx.step("a", near.pick, own.clocks.is_open)
    yield from rests(ctx)
""",
}


def test_helpers_in_other_files_are_followed_without_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    expected = [("near.py", 4, "RW102", "order"), ("near.py", 7, "RW201", "order")]
    assert codes(lint_module(str(tmp_path / "own" / "flows" / "orders.py"))) == expected  # clocks.py is not Python
    (tmp_path / "own/clocks.py").write_text(PACKAGE["own/clocks.py"].removesuffix("def broken("))
    whole = lint_module(str(tmp_path / "own" / "flows" / "orders.py"))
    assert codes(whole) == [("clocks.py", 3, "RW101", "order"), *expected]
    assert {Path(f.path).is_absolute() for f in whole} == {True}
    assert codes(lint_module(str(tmp_path))) == codes(whole)
    monkeypatch.chdir(tmp_path / "own")
    assert {f.path for f in lint_module("flows/orders.py")} == {"clocks.py", "flows/near.py"}
    assert not [name for name in sys.modules if name.partition(".")[0] == "own"]


# --- the command ---------------------------------------------------------------------------------------------


def test_warnings_alone_exit_with_zero(shop: Path) -> None:
    code, out, err = run(str(shop / "orders.py"), "--ignore", "RW102")
    assert code == 0
    assert out.endswith(
        "orders.py:10:5: RW106 print() is called in workflow code (fix: use ctx.log, which is silent while replaying)\n"
    )
    assert err == "0 errors, 1 warnings\n"


def test_errors_exit_with_four(shop: Path) -> None:
    code, out, err = run("shop_lint.orders:workflows")
    assert code == 4
    assert [line.split()[1] for line in out.splitlines()] == ["RW102", "RW106"]
    assert err == "1 errors, 1 warnings\n"


def test_findings_are_printed_as_json(shop: Path) -> None:
    code, out, _ = run("shop_lint.orders:order", "--json")
    assert code == 4
    assert [(json.loads(line)["code"], json.loads(line)["severity"]) for line in out.splitlines()] == [
        ("RW102", "error"),
        ("RW106", "warning"),
    ]


def test_rules_are_selected_and_ignored_by_code_or_beginning(shop: Path) -> None:
    assert run("shop_lint.orders:order", "--ignore", "RW102")[0] == 0
    assert run("shop_lint.orders:order", "--select", "RW106,RW3")[0] == 0
    assert run("shop_lint.orders:order", "--select", "rw1", "--ignore", "RW106")[0] == 4
    code, _, err = run("shop_lint.orders:order", "--select", "RW999")
    assert code == 2
    assert "no rule" in err


def test_a_factory_is_not_called(shop: Path) -> None:
    assert run("shop_lint.orders:factory", "--ignore", "RW102")[0] == 0


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nowhere.py",
        "shop_lint.orders:missing",
        "shop_lint.nowhere:x",
        "shop_lint.fails:x",
        "shop_lint.orders:__doc__",
    ],
)
def test_a_target_that_cannot_be_read_or_imported_is_a_usage_error(shop: Path, target: str) -> None:
    code, out, err = run(*([target] if target else []))
    assert (code, out) == (2, "")
    assert "Error" in err


def test_a_file_that_is_not_python_is_a_usage_error(shop: Path) -> None:
    code, _, err = run(str(shop / "broken.txt"))
    assert code == 2
    assert "cannot be read as Python" in err


# --- the page --------------------------------------------------------------------------------------------------


def test_the_page_lists_every_rule_as_it_is() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for rule in RULES.values():
        assert f"| {rule.code} | {rule.severity} | {rule.name} | {rule.reason} | {rule.remedy} |" in page
    assert page.count("\n| RW") == len(RULES)


SURROUNDINGS = "import decimal, hashlib, os, random, threading, time, uuid\nfrom replay import workflow\n"


def sections() -> dict[str, str]:
    page = DOCS.read_text(encoding="utf-8")
    found = re.findall(r"^### (RW\d{3}) (.+?)( †)?\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE)
    assert {code: name for code, name, *_ in found} == {code: rule.name for code, rule in RULES.items()}
    assert {code for code, _, dagger, _ in found if dagger} == set(_FIXES)
    return {code: text for code, _, _, text in found}


@pytest.mark.parametrize("code", RULES)
def test_each_rule_has_its_section_whose_examples_are_wrong_and_right_as_they_say(code: str) -> None:
    (example,) = re.findall(r"```text\n(.*?)```", sections()[code], re.DOTALL)
    if "@workflow" not in example:
        example = "@workflow\ndef orders(ctx, order):\n" + indent(example, "    ")
    if "yield" not in example:
        example += "    yield ctx.sleep(1)\n"
    wrong = {(n, code) for n, line in enumerate(example.splitlines(), 1) if line.endswith(f"# {code}")}
    found = lint_source(SURROUNDINGS + example, "docs.py")
    assert {(f.line - SURROUNDINGS.count("\n"), f.code) for f in found} == wrong, [f.text() for f in found]
    assert wrong
