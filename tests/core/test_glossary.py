"""Public names are built from the words of `docs/glossary.md` and of plain English and Python, so that no private word slips in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import replay
import replay.testing
from replay import Context, Engine, Operator
from replay.cli.root import cli

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")

PLAIN_TEXT = """
a add adjust advance aim alive and announce ask assert async backup bench bulk check clock close completed completion config connected count
create current definition delete demo describe detail determinism doctor edit encode end ensure equivalent err export fail
fenced fields find for force forgotten get hangs header histories id info interrupted json large lint list load long longest make many
matched message misuse no non not notify now of observe observers ok on open out page pause ping poll point random real received record
recover refused remote remove reply report reserved resume returns runner serializable show shutdown sim simulate skip
start tagged takes timed to too trigger try unavailable undecodable unknown unreadable until update uuid value virtual
wait watch within wrong yield
"""
"""Words that need no line in the glossary. Add to it a word that any Python programmer reads without asking."""

PLAIN = frozenset(PLAIN_TEXT.split())

SUFFIXES = ("ing", "led", "ed", "es", "d", "s")


def words_of_the_glossary() -> set[str]:
    bold = re.findall(r"\*\*([^*]+)\*\*", GLOSSARY)
    return {word for term in bold for word in re.findall(r"[a-z]+", term.lower())}


KNOWN = words_of_the_glossary() | PLAIN


def known(word: str) -> bool:
    stems = [word, *(word.removesuffix(suffix) for suffix in SUFFIXES if word.endswith(suffix))]
    return any(stem in KNOWN for stem in stems)


def words_of(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        yield name
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, context)


def public_names() -> dict[str, list[str]]:
    found = {"replay": replay.__all__, "replay.testing": replay.testing.__all__}
    for cls in (Engine, Operator, Context):
        found[cls.__name__] = [name for name in dir(cls) if not name.startswith("_")]
    found["replay (shell)"] = sorted(set(commands(cli, click.Context(cli))))
    return found


@pytest.mark.parametrize("place", list(public_names()))
def test_public_names_are_built_from_known_words(place: str) -> None:
    unknown = {name: bad for name in public_names()[place] if (bad := [w for w in words_of(name) if not known(w)])}
    assert unknown == {}, f"words that neither the glossary nor PLAIN has: {unknown}. Fix: use the glossary's word"


def test_a_private_word_is_found() -> None:
    assert [w for w in words_of("ExecutionWhereabouts") if not known(w)] == ["whereabouts"]
    assert [w for w in words_of("get_fates") if not known(w)] == ["fates"]


def test_the_glossary_has_each_term_once() -> None:
    terms = re.findall(r"^\| \*\*([^*]+)\*\*", GLOSSARY, re.MULTILINE)
    assert len(terms) == len(set(terms)) > 50


def test_no_plain_word_is_also_a_term() -> None:
    assert PLAIN & words_of_the_glossary() == set()


def test_every_plain_word_is_needed() -> None:
    used = {word for names in public_names().values() for name in names for word in words_of(name)}
    assert {w for w in PLAIN if not any(word == w or word in {w + s for s in SUFFIXES} for word in used)} == set()
