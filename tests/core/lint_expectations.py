"""Expected findings as comments in the source: lines that must be found carry `# !CODE`, and no other line may be."""

from __future__ import annotations

import re
from textwrap import dedent

from replay.lint import lint_source

HEAD = "from replay import Branch, Cancelled, Context, StepFailed, workflow\n"


def expect(text: str, head: str = HEAD) -> None:
    source = head + dedent(text)
    wanted = {
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        for code in re.findall(r"!(RW\d{3})", line.partition("#")[2])
    }
    findings = lint_source(source, "shop.py")
    assert {(finding.line, finding.code) for finding in findings} == wanted, "\n".join(f.text() for f in findings)
