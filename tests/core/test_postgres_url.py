"""URLs of PostgreSQL: every option is read strictly, and no password is shown, however it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.backends.postgres.url import read_url
from replay.core.errors import ConfigError


def test_options_are_understood() -> None:
    url = read_url("postgres://u:p%40@a,b:7/orders%20db?schema=jobs&pooler=transaction&migrate=0&deadline=1e1")
    assert url.login == {
        "host": "a,b", "port": "5432,7", "dbname": "orders db", "user": "u", "password": "p@", "connect_timeout": 5,
    }  # fmt: skip
    assert (url.schema, url.pooler, url.migrate, url.deadline) == ("jobs", "transaction", False, 10.0)
    plain = read_url("postgresql://[::1]/orders")
    assert (plain.login["host"], plain.schema, plain.pooler, plain.migrate) == ("::1", "replay", None, True)
    assert read_url("postgresql:///orders").login["host"] == "localhost"
    assert read_url("postgresql:///orders?socket=/run/postgresql").login["host"] == "/run/postgresql"
    assert read_url("postgresql://h/d?sslmode=require").login["sslmode"] == "require"


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("schema=Jobs", "a name of a-z, 0-9 and _"),
        ("schema=a;b", "a name of a-z, 0-9 and _"),
        ("schema=pg_x", "a name of a-z, 0-9 and _"),
        ("schema=" + "a" * 64, "a name of a-z, 0-9 and _"),
        ("pooler=session", "one of transaction"),
        ("migrate=never", "one of 1, true"),
        ("sslmode=on", "one of disable, allow"),
        ("sslrootcert=/nowhere/ca.pem", "a readable file of certificates"),
        ("deadline=nan", "seconds from 0 to 86,400"),
        ("connect_timeout=0", "seconds from 0.001 to 86,400"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_what_is_allowed(option: str, allowed: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(ConfigError) as refused:
        read_url(f"postgresql://h/d?{option}")
    assert f"{name} is {value!r}, allowed is {allowed}" in str(refused.value)
    assert "Fix:" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://h", "does not name one database"),
        ("postgresql://h/", "does not name one database"),
        ("postgresql://h/a/b", "does not name one database"),
        ("postgresql://h,,i/d", "a host is empty"),
        ("postgresql://h:0/d", "port from 1 to 65,535"),
        ("postgresql://h/d?schema=a&schema=b", "schema is given twice"),
        ("postgresql://h/d?options=-c", "unknown options options"),
        ("postgresql://h/d?socket=/run", "a host and a socket"),
        ("postgresql:///d?socket=run", "the path of a folder"),
        ("postgresql://h/d?sslmode=disable&sslcert=/c", "sslcert with sslmode=disable"),
        ("postgresql://h/d?sslmode=verify-full", "needs sslrootcert"),
        ("postgresql://u:a%00b@h/d", "zero byte"),
        ("mysql://h/d", "none of postgresql, postgres"),
    ],
)
def test_a_url_that_contradicts_itself_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_url(url)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://w:s3c/r3t@h:x/d", "postgres://w:s3cr3t@h", "postgresql://w:s3cr3t@h/d?x=1"]
)
def test_a_refused_url_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_url(url)
    assert not any(secret in str(refused.value) for secret in ("s3c", "r3t"))


def test_a_file_that_is_no_certificate_is_refused_by_its_option(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("none")
    for option in ("sslrootcert", "sslcert"):
        with pytest.raises(ConfigError, match=f"{option} is '.*ca.pem', allowed is a readable"):
            read_url(f"postgresql://h/d?{option}={file}")
    assert "s3cr3t" not in repr(read_url("postgresql://u:s3cr3t@h/d"))
