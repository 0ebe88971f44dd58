"""Flags, variables and files: one rule for all commands, by the names of flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay import Engine
from replay.cli.catalogue import all_commands
from replay.cli.config_file import ConfigFile
from replay.cli.configuration import configure
from replay.cli.flags import flags_of, options_of, variable
from tests.e2e.app import waits
from tests.e2e.commands import replay


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with one execution in each of two namespaces."""
    url = f"sqlite:///{tmp_path}/x.db"
    for namespace in ("default", "staging"):
        with Engine(url, namespace=namespace, workflows=[waits]) as engine:
            engine.start(waits, id=f"in-{namespace}")
    return url


def ids(output: str) -> list[str]:
    return [json.loads(line)["id"] for line in output.splitlines()]


def test_every_flag_of_every_command_has_a_variable_of_its_own_and_a_shared_one() -> None:
    """Two flags may share a variable only where they mean the same: `start --wait-timeout` and `wait --timeout`."""
    meanings: dict[str, set[str]] = {}
    for names, command in all_commands().items():
        configure(command, names, ConfigFile("x", {}))
        for option in options_of(command):
            for flag in flags_of(option):
                wanted = {variable(names, flag), variable((), flag)}
                assert wanted <= set(option.envvar or ()), (names, flag)
            for name in option.envvar or ():
                meanings.setdefault(name, set()).add(flags_of(option)[0])
    shared = {name: flags for name, flags in meanings.items() if len(flags) > 1}
    assert shared.keys() == {"REPLAY_WAIT_TIMEOUT"}, shared


def test_the_command_line_comes_before_variables_variables_before_the_file_and_the_special_before_the_general(
    store: str, tmp_path: Path
) -> None:
    listing = ("list", "--store", store)
    assert ids(replay(*listing, REPLAY_JSON="1", REPLAY_NAMESPACE="staging")) == ["in-staging"]
    assert ids(replay(*listing, "--json", REPLAY_NAMESPACE="none", REPLAY_LIST_NAMESPACE="staging")) == ["in-staging"]
    assert ids(replay(*listing, "--json", "--namespace", "default", REPLAY_NAMESPACE="none")) == ["in-default"]
    file = tmp_path / "pyproject.toml"
    file.write_text(f'[tool.replay]\nstore = "{store}"\nnamespace = "staging"\n[tool.replay.list]\njson = true\n')
    assert ids(replay("list", cwd=tmp_path)) == ["in-staging"]
    assert ids(replay("list", cwd=tmp_path, REPLAY_NAMESPACE="default")) == ["in-default"]
    assert replay("list", cwd=tmp_path, REPLAY_LIST_JSON="0").startswith("id\t")
    other = tmp_path / "replay.toml"
    other.write_text(f'store = "{store}"\n[list]\nstatus = "pending"\njson = true\n[start]\nid = "mine"\n')
    assert ids(replay("list", cwd=tmp_path)) == ["in-default"]
    assert replay("start", "tests.e2e.app:waits", cwd=tmp_path, REPLAY_START_ID="x-1").strip() == "x-1"
    assert replay("start", "tests.e2e.app:waits", cwd=tmp_path).strip() == "mine"


def test_a_namespace_from_the_environment_is_where_things_are_removed(store: str) -> None:
    with Engine(store) as engine:
        engine.operator.force_fail("in-default", "over")
    purge = ("purge", "--older-than", "0s", "--status", "failed", "--store", store, "--yes")
    assert replay(*purge, REPLAY_NAMESPACE="staging").strip() == "0 executions removed"
    assert replay(*purge).strip() == "1 executions removed"


def test_a_table_of_a_sub_command_adds_to_that_of_its_group_and_to_the_top_level(store: str, tmp_path: Path) -> None:
    (tmp_path / "replay.toml").write_text(
        f'store = "{store}"\njson = true\n[schedule]\ntimezone = "Europe/Berlin"\n[schedule.add]\ncron = "0 2 * * *"\njitter = 30\n'
    )
    record = json.loads(replay("schedule", "add", "nightly", "tests.e2e.app:waits", cwd=tmp_path))
    assert (record["cron"], record["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    rows = {
        (row["name"], *row["commands"][:1]): row
        for row in map(
            json.loads, replay("config", "show", "schedule", cwd=tmp_path, REPLAY_SCHEDULE_LIMIT="3").splitlines()
        )
    }
    assert rows["--jitter", "schedule add"]["from"] == "replay.toml"
    assert rows["--namespace", "schedule list"] == {
        "name": "--namespace", "value": "default", "from": "default",
        "commands": [f"schedule {name}" for name in ("list", "add", "show", "pause", "resume", "remove", "trigger", "update")],
    }  # fmt: skip
    assert rows["REPLAY_SCHEDULE_LIMIT",]["from"] == "a variable that no flag has"


def test_config_show_tells_what_is_in_force_and_masks_passwords() -> None:
    text = replay("config", "show", "list", REPLAY_STORE="redis://me:secret@host/0", REPLAY_LIST_LIMIT="3")
    assert "secret" not in text
    assert "--store\tredis://me:***@host/0\tvariable REPLAY_STORE\tlist" in text
    assert "--limit\t3\tvariable REPLAY_LIST_LIMIT\tlist" in text
    assert "--namespace\tdefault\tdefault\tlist" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('stroe = "sqlite:///x"', "replay.toml: key 'stroe' is not the name of a flag. Fix: write 'store'"),
        ("[shedule]\njitter = 1", "table [shedule] is not the name of a command. Fix: write 'schedule'"),
        (
            "[schedule]\njiter = 1",
            "replay.toml, table [schedule]: key 'jiter' is not the name of a flag. Fix: write 'jitter'",
        ),
        ("[list]\nlimit = 'x'", "Fix: this value comes from replay.toml"),
        ("limit = ", "replay.toml is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_file_key_and_the_nearest_name(
    content: str, expected: str, store: str, tmp_path: Path
) -> None:
    (tmp_path / "replay.toml").write_text(content)
    assert expected in replay("list", "--store", store, cwd=tmp_path, code=2)


def test_a_wrong_value_of_a_variable_and_a_missing_one_are_told_with_the_place(store: str) -> None:
    assert "Fix: this value comes from the variable REPLAY_LIMIT" in replay(
        "list", "-s", store, REPLAY_LIMIT="x", code=2
    )
    assert "Fix: pass --store, set REPLAY_STORE, or write store" in replay("list", code=2)
