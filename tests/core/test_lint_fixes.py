"""`replay lint --fix` corrects what has one correction alone, and leaves everything else as it is."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from replay.cli.commands.lint import lint_command
from replay.lint import lint_source
from replay.lint.fixes import fix_text

HEAD = "from replay import Branch, Context, workflow\n"


def fixed(text: str) -> str:
    """Return the corrected text. A second look finds none of the corrected rules at their lines, and nothing new."""
    source = HEAD + dedent(text)
    before = lint_source(source, "shop.py")
    made, done = fix_text(source.encode(), before)
    after = lint_source(made.decode(), "shop.py")
    assert {(f.code, f.line) for f in after} == {(f.code, f.line) for f in before if f not in done}
    assert len(done) == sum(bool(f.edits) for f in before)
    return made.decode().removeprefix(HEAD)


def expect(text: str, corrected: str) -> None:
    assert fixed(text) == dedent(corrected)


def test_hidden_inputs_are_read_from_the_context() -> None:
    expect(
        """
        import datetime as dt
        import random, time, uuid
        from random import choice
        from datetime import UTC, datetime

        @workflow
        def order(context, names):
            began, id = time.time(), uuid.uuid4()
            day = datetime.now(UTC), dt.datetime.now(dt.timezone.utc)
            yield context.step("é", print, random.randint(1, 6), choice(names))
            time.sleep(5)
            yield from helper(context)

        def helper(ctx):
            yield ctx.step("s", print, random.random())
        """,
        """
        import datetime as dt
        import random, time, uuid
        from random import choice
        from datetime import UTC, datetime

        @workflow
        def order(context, names):
            began, id = context.now(), context.uuid()
            day = datetime.fromtimestamp(context.now(), UTC), dt.datetime.fromtimestamp(context.now(), dt.timezone.utc)
            yield context.step("é", print, context.random().randint(1, 6), context.random().choice(names))
            yield context.sleep(5)
            yield from helper(context)

        def helper(ctx):
            yield ctx.step("s", print, ctx.random().random())
        """,
    )


def test_commands_and_helpers_are_yielded() -> None:
    expect(
        """
        def helper(ctx):
            yield ctx.sleep(1)

        @workflow
        def order(ctx, n):
            ctx.step("a", print).retry(3)
            (ctx.sleep(5))
            helper(ctx)
            yield helper(ctx)
            yield (helper(ctx))
            later = helper(ctx)
            yield later
            if n:
                ctx.continue_as_new(n)
            elif n > 3:
                return helper(ctx)
            return ctx.step(
                "b",
                print,
            ).down(print)
        """,
        """
        def helper(ctx):
            yield ctx.sleep(1)

        @workflow
        def order(ctx, n):
            yield ctx.step("a", print).retry(3)
            (yield ctx.sleep(5))
            yield from helper(ctx)
            yield from helper(ctx)
            yield from (helper(ctx))
            later = helper(ctx)
            yield from later
            if n:
                return ctx.continue_as_new(n)
            elif n > 3:
                return (yield from helper(ctx))
            return (yield ctx.step(
                "b",
                print,
            ).down(print))
        """,
    )


def test_loop_variables_are_bound_as_defaults() -> None:
    expect(
        """
        @workflow
        def order(ctx, orders):
            yield ctx.all([ctx.step(o.id, lambda: ship(o)) for o in orders])
            steps = []
            for n, o in enumerate(orders):
                def send():
                    return ship(o, n)
                def pack(box: str):
                    return ship(o, box)
                steps.append(ctx.step(f"send {n}", send))
                steps.append(ctx.step(f"pack {n}", pack, "box"))
                steps.append(ctx.map(f"map {n}", lambda item: ship(item, n), o.items))
            yield ctx.all(steps)
        """,
        """
        @workflow
        def order(ctx, orders):
            yield ctx.all([ctx.step(o.id, lambda o=o: ship(o)) for o in orders])
            steps = []
            for n, o in enumerate(orders):
                def send(n=n, o=o):
                    return ship(o, n)
                def pack(box: str, o=o):
                    return ship(o, box)
                steps.append(ctx.step(f"send {n}", send))
                steps.append(ctx.step(f"pack {n}", pack, "box"))
                steps.append(ctx.map(f"map {n}", lambda item, n=n: ship(item, n), o.items))
            yield ctx.all(steps)
        """,
    )


UNCERTAIN = """
import datetime, random, secrets, time, uuid

def plain(n):
    return n, time.time(), random.random(), uuid.uuid4()

@workflow
def order(ctx, orders, box={}):
    plain(1)
    datetime.datetime.now(), datetime.datetime.utcnow(), time.monotonic(), secrets.token_hex()
    random.seed(1)
    print(uuid.uuid1(), open("x"))
    waited = time.sleep(1)
    for each in {"a", "b"}:
        orders.append(each)
    kept = ctx.step("kept", print)
    [ctx.sleep(1)]
    ctx.continue_as_new(1)
    yield (x for x in orders)
    steps = [ctx.step(o.id, print).down(lambda _: plain(o)) for o in orders]
    steps += [ctx.step(o.id, lambda *more: plain(o)) for o in orders]
    for o in orders:
        def both():
            return plain(o)
        both()
        steps.append(ctx.step(o.id, both))
        steps.append(ctx.switch(o.id, 1, [Branch("a", 1, lambda: plain(o))]))
    yield ctx.all(steps)
    try:
        yield ctx.sleep(1)
    except BaseException:
        pass

@workflow
def never(ctx):
    ctx.sleep(1)

@workflow
async def later(ctx):
    ctx.sleep(1)
"""


def test_a_finding_with_more_than_one_correction_is_left() -> None:
    found = lint_source(HEAD + UNCERTAIN, "shop.py")
    assert len(found) > 22
    assert [f.text() for f in found if f.edits] == []
    assert fixed(UNCERTAIN) == UNCERTAIN


def test_a_correction_that_would_not_be_python_is_not_made() -> None:
    text = HEAD + "@workflow\ndef w(ctx, xs):\n    ss = []\n    for x in xs:\n        def  b(): return x\n"
    text += "        ss.append(ctx.step('b', b))\n    yield ctx.all(ss)\n"
    found = lint_source(text, "shop.py")
    assert [(f.code, bool(f.edits)) for f in found] == [("RW206", True)]
    assert fix_text(text.encode(), found) == (text.encode(), [])


def test_the_command_corrects_files_and_prints_what_is_left(tmp_path: Path) -> None:
    text = HEAD.encode() + b"import time\r\n@workflow\r\ndef w(ctx):\r\n    ctx.step('\xc3\xa9', time.time)\r\n"
    text += b"    yield ctx.sleep(time.time())  # \xe2\x82\xac\r\n    print(1)\r\n    open('x')\r\n"
    for mark in (b"", b"\xef\xbb\xbf"):
        path = tmp_path / "orders.py"
        path.write_bytes(mark + text)
        result = CliRunner().invoke(lint_command, [str(tmp_path), "--fix"])
        assert result.exit_code == 4
        assert [line.split()[1] for line in result.stdout.splitlines()] == ["RW106", "RW105"]
        assert result.stderr == "1 errors, 1 warnings, 2 fixed\n"
        corrected = text.replace(b"    ctx.step", b"    yield ctx.step").replace(b"time.time()", b"ctx.now()")
        assert path.read_bytes() == mark + corrected
        again = CliRunner().invoke(lint_command, [str(tmp_path), "--fix", "--ignore", "RW105"])
        assert (again.exit_code, again.stderr) == (0, "0 errors, 1 warnings, 0 fixed\n")
        assert path.read_bytes() == mark + corrected


def test_rules_that_are_not_shown_are_not_corrected(tmp_path: Path) -> None:
    path = tmp_path / "orders.py"
    path.write_text(HEAD + "import time\n@workflow\ndef w(ctx):\n    ctx.sleep(time.time())\n    yield ctx.sleep(1)\n")
    assert CliRunner().invoke(lint_command, [str(path), "--fix", "--select", "RW201"]).exit_code == 0
    assert "    yield ctx.sleep(time.time())\n" in path.read_text()


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_without_the_flag_no_file_is_changed(tmp_path: Path, flag: list[str]) -> None:
    path = tmp_path / "orders.py"
    path.write_text(HEAD + "@workflow\ndef w(ctx):\n    ctx.sleep(1)\n    yield ctx.sleep(1)\n")
    before = path.read_text()
    out = CliRunner().invoke(lint_command, [str(path), *flag]).stdout
    assert path.read_text() == before
    assert ('"fixable": true' in out) == bool(flag)
    assert ast.parse(before)
