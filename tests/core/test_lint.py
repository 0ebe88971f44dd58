"""What counts as workflow code for `replay lint`, comments that allow a line, and the text of a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.lint import RULES, lint_source
from tests.core.lint_expectations import HEAD, expect


def test_every_rule_has_a_test_here() -> None:
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_lint*.py"))
    assert [code for code in RULES if f"!{code}" not in text] == []


@pytest.mark.parametrize(
    ("head", "decorator"),
    [
        ("from replay import workflow", "@workflow"),
        ("from replay import workflow as flow", '@flow("key", category="x")'),
        ("import replay", "@replay.workflow"),
        ("import replay as r", "@r.workflow()"),
        ("import replay.definition", "@replay.definition.workflow"),
        ("from replay import *", "@workflow"),
        ("from replay.definition import workflow", "@workflow"),
    ],
)
def test_the_decorator_is_known_under_every_name(head: str, decorator: str) -> None:
    expect(f"{decorator}\ndef found(ctx):  # !RW205\n    pass\n", head + "\n")


def test_a_function_passed_to_workflow_is_a_workflow() -> None:
    expect("def found(ctx):  # !RW205\n    pass\n\nwf = workflow('key')(found)\n")


def test_another_librarys_workflow_is_none_of_ours() -> None:
    expect("from prefect import workflow\n@workflow\ndef theirs(ctx):\n    return open('x')\n", "")


def test_helpers_are_followed_as_far_as_they_go() -> None:
    expect("""
        import random

        @workflow
        def outer(context, n):
            yield from first(context, n)
            yield context.switch("pick", n, [Branch("a", lambda v: random.random(), lambda: third(context))], fourth)

        def first(c, n):
            yield from second(n, c)

        def second(n, inner):
            inner.sleep(n)  # !RW201
            yield inner.sleep(pick(n))

        def pick(n):
            return random.choice(n)  # !RW102

        def third(ctx):
            yield ctx.step("x", print, random.random())  # !RW102

        def fourth():
            return random.random()  # !RW102

        def unrelated():
            return random.random()
    """)


def test_step_bodies_are_not_workflow_code() -> None:
    expect("""
        import random, time

        @workflow
        def fine(ctx, order):
            def nested():
                return time.time()
            yield ctx.step("module", body, order)
            yield ctx.step("nested", nested)
            yield ctx.step("lambda", lambda: open("x")).down(lambda result: print(result))
            yield ctx.map("map", lambda item: random.random(), [1, 2])
            yield ctx.step("library", time.time)

        def body(order):
            time.sleep(1)
            return random.random()
    """)


def test_a_name_that_hides_a_module_is_not_the_module() -> None:
    expect("""
        import time, random
        from shop import open

        @workflow
        def hiding(ctx, time, input, id):
            random = ctx.random()
            yield ctx.step(id("x"), print, time.time(), random.random(), input(), open("y"))
    """)


def test_a_comment_allows_all_or_some_rules_on_its_line() -> None:
    expect("""
        import time, random

        @workflow
        def allowed(ctx):
            time.time()  # replay: ok
            time.time()  # replay: ok RW101 measured, not used
            time.time(), random.random()  # replay: ok RW101,RW102
            time.time(), random.random()  # replay: ok RW101 !RW102
            time.time()  # replay: ok RW999 !RW101
            text = "# replay: ok"; time.time()  # !RW101
            yield ctx.step(
                "x",
                print,
                time.time(),  # replay: ok
            )
    """)


def test_a_finding_says_where_what_and_how_to_mend_it() -> None:
    source = HEAD + "import time\n@workflow\ndef late(ctx):\n    yield ctx.sleep(time.time())\n"
    (finding,) = lint_source(source, "shop.py")
    assert finding.text() == (
        "shop.py:5:21: RW101 time.time() is called in workflow code (fix: use ctx.now(), or read the clock in a step)"
    )
    assert finding.json() == {
        "code": "RW101",
        "message": "time.time() is called in workflow code",
        "remedy": "use ctx.now(), or read the clock in a step",
        "path": "shop.py",
        "line": 5,
        "column": 21,
        "workflow": "late",
        "severity": "error",
        "fixable": True,
    }


def test_what_is_not_python_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        lint_source("def (:", "shop.py")
