"""The README's code runs."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_code_of_the_readme_runs() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
