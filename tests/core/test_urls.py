"""URLs: every option is read strictly, and no password is shown, however it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.backends.rabbitmq.url import read_url as read_rabbitmq
from replay.backends.redis.url import read_url as read_redis
from replay.core.errors import ConfigError
from replay.urls import masked, open_bus, open_queue, open_store

SECRETS = ("s3c", "r3t")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://worker:s3cr3t@host:6379/0", "redis://worker:***@host:6379/0"),
        ("rediss://:s3cr3t@host", "rediss://:***@host"),
        ("redis://worker:s3c/r3t@host", "redis://worker:***@host"),
        ("redis://worker:s3c@r3t@host/1", "redis://worker:***@host/1"),
        ("redis://worker:s3c/r@r3t@host", "redis://worker:***@host"),
        ("redis://worker:s3c?r3t@host/0", "redis://worker:***@host/0"),
        ("redis://worker:s3c#r3t@host/0?db=1", "redis://worker:***@host/0?db=1"),
        ("redis://worker:s3c?a=r3t@host/0", "redis://worker:***@host/0"),
        ("redis://worker:s3cr3t", "redis://worker:***"),
        ("redis://worker:s3cr3t/0", "redis://worker:***/0"),
        ("redis:/worker:s3cr3t@host", "redis:***@host"),
        ("worker:s3cr3t@host", "worker:***@host"),
        (
            "redis+sentinel://u:s3cr3t@a:26379,b:26379/main?db=0&sentinel_password=s3c%40r3t&deadline=5",
            "redis+sentinel://u:***@a:26379,b:26379/main?db=0&sentinel_password=***&deadline=5",
        ),
        ("redis://host?password=s3cr3t", "redis://host?password=***"),
        ("https://host/x?Access_Token=s3cr3t&y=1#z", "https://host/x?Access_Token=***&y=1#z"),
        ("amqps://ann:s3cr3t@rabbit:5671/vhost?cafile=/ca.pem", "amqps://ann:***@rabbit:5671/vhost?cafile=/ca.pem"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
        ("redis://host:6379/0?sentinel_username=a@b", "redis://host:6379/0?sentinel_username=a@b"),
        ("sqlite:////home/a@b/x.db?synchronous=NORMAL", "sqlite:////home/a@b/x.db?synchronous=NORMAL"),
        ("sqlite:///orders.db", "sqlite:///orders.db"),
        ("30", "30"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("url", ["redis:/worker:s3cr3t@host", "nosuch://worker:s3c/r3t@host", "redis://w:s3c/r3t@h:x"])
def test_a_refused_url_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert not any(secret in str(refused.value) for secret in SECRETS)


REDIS = ("redis://h:1/0", "rediss://h:1/0", "redis+sentinel://h:1/name", "redis+cluster://h:1")
PLAIN_REDIS = tuple(url for url in REDIS if not url.startswith("rediss"))


@pytest.mark.parametrize("url", REDIS)
@pytest.mark.parametrize("word", ["1", "true", "True", "TRUE", "yes", "on", "On"])
def test_every_word_for_yes_asks_for_tls(url: str, word: str) -> None:
    assert read_redis(f"{url}?tls={word}").tls is not None


@pytest.mark.parametrize("url", PLAIN_REDIS)
@pytest.mark.parametrize("word", ["0", "false", "No", "OFF"])
def test_every_word_for_no_asks_for_no_tls(url: str, word: str) -> None:
    assert read_redis(f"{url}?tls={word}").tls is None


@pytest.mark.parametrize("url", PLAIN_REDIS)
@pytest.mark.parametrize(
    "option",
    ["ssl_cert_reqs=none", "ssl_ca_certs=/ca.pem", "ssl_certfile=/c", "ssl_keyfile=/k", "ssl_check_hostname=0"],
)
def test_options_of_tls_without_tls_are_refused(url: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option.partition('=')[0]} without TLS"):
        read_redis(f"{url}?{option}")
    with pytest.raises(ConfigError, match=f"{option.partition('=')[0]} without TLS"):
        read_redis(f"{url}?{option}&tls=off")


@pytest.mark.parametrize("url", REDIS)
@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("tls=ja", "one of 1, true, yes, on, 0, false, no, off"),
        ("tls=", "one of 1, true"),
        ("shards=0", "a whole number from 1 to 4,096"),
        ("shards=-3", "a whole number from 1 to 4,096"),
        ("shards=2.5", "a whole number from 1 to 4,096"),
        ("shards=100000", "a whole number from 1 to 4,096"),
        ("shards=nan", "a whole number from 1 to 4,096"),
        ("shards=inf", "a whole number from 1 to 4,096"),
        ("shards=1_0", "a whole number from 1 to 4,096"),
        ("shards=\u0664", "a whole number from 1 to 4,096"),
        ("ack_replicas=-1", "a whole number from 0 to 100"),
        ("ack_replicas=1000000", "a whole number from 0 to 100"),
        ("deadline=nan", "seconds from 0 to 86,400"),
        ("deadline=inf", "seconds from 0 to 86,400"),
        ("deadline=-1", "seconds from 0 to 86,400"),
        ("deadline=soon", "seconds from 0 to 86,400"),
        ("deadline=", "seconds from 0 to 86,400"),
        ("socket_timeout=0", "seconds from 0.001 to 86,400"),
        ("socket_timeout=-1", "seconds from 0.001 to 86,400"),
        ("socket_timeout=NaN", "seconds from 0.001 to 86,400"),
        ("db=-1", "a whole number from 0 to 1,000,000"),
        ("db=\u00b2", "a whole number from 0 to 1,000,000"),
        ("db=99999999999999999999", "a whole number from 0 to 1,000,000"),
    ],
)
def test_a_value_of_redis_that_cannot_be_meant_is_refused_with_what_is_allowed(
    url: str, option: str, allowed: str
) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(ConfigError) as refused:
        read_redis(f"{url}?{option}")
    assert f"{name} is {value!r}, allowed is {allowed}" in str(refused.value)
    assert "Fix:" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://h/0?deadline=1&deadline=2", "deadline is given twice"),
        ("redis://h/0?deadline", "deadline has no value"),
        ("redis://h/0?db=1", "db is '1', and its path says 0"),
        ("redis://h/0?ssl=true", "unknown options ssl"),
        ("redis://h/0?sentinel_password=x", "sentinel_password need redis"),
        ("redis://h,i/0", "several hosts"),
        ("redis+cluster://h,,i", "a host is empty"),
        ("redis://h:0/0", "port from 1 to 65,535"),
        ("redis://h:65536", "port from 1 to 65,535"),
        ("redis://h..i/0", "a host is not written"),
        ("redis://h%20i/0", "a host is not written"),
        ("redis://h/0#x", "%23"),
        ("rediss://h?tls=no", "rediss:// is always TLS"),
        (
            "rediss://h?ssl_cert_reqs=CERT_NONE",
            "ssl_cert_reqs is 'CERT_NONE', allowed is one of required, optional, none",
        ),
        ("rediss://h?ssl_cert_reqs=NONE", "ssl_cert_reqs is 'NONE'"),
        ("rediss://h?ssl_check_hostname=perhaps", "ssl_check_hostname is 'perhaps'"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=1", "ssl_check_hostname needs"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs is '/nowhere/ca.pem'"),
        ("redis+cluster://h?tls=1&ssl_certfile=/nowhere/c.pem", "ssl_certfile is '/nowhere/c.pem'"),
        ("rediss://h?ssl_keyfile=/k.pem", "ssl_keyfile needs ssl_certfile"),
    ],
)
def test_a_url_of_redis_that_contradicts_itself_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_redis(url)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "option", [{"shards": 0}, {"deadline": float("nan")}, {"ack_replicas": True}, {"deadline": "x"}]
)
def test_an_option_of_a_program_is_read_as_strictly(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is"):
        read_redis("redis://h", **option)


def test_options_of_redis_are_understood() -> None:
    url = read_redis(
        "redis+sentinel://u:p%40@a,b:2/name/3?shards=8&deadline=1e1&socket_timeout=0.5&sentinel_password=x%26"
    )
    assert (url.hosts, url.service, url.db) == ((("a", 26379), ("b", 2)), "name", 3)
    assert (url.shards, url.deadline, url.socket_timeout) == (8, 10.0, 0.5)
    assert (url.login, url.sentinel_login) == ({"username": "u", "password": "p@"}, {"password": "x&"})
    assert read_redis("redis://[::1]:7/2").hosts == (("::1", 7),)
    assert read_redis("rediss://h?ssl_cert_reqs=none").tls == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}


def test_a_file_that_is_no_certificate_is_refused_by_its_option(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("none")
    for url, option in (("rediss://h", "ssl_ca_certs"), ("rediss://h", "ssl_certfile")):
        with pytest.raises(ConfigError, match=f"{option} is '.*ca.pem', allowed is a readable"):
            read_redis(f"{url}?{option}={file}")
    for option in ("cafile", "certfile"):
        with pytest.raises(ConfigError, match=f"{option} is '.*ca.pem', allowed is a readable"):
            read_rabbitmq(f"amqps://h?{option}={file}")


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("heartbeat=-1", "a whole number from 0 to 65,535"),
        ("heartbeat=nan", "a whole number from 0 to 65,535"),
        ("heartbeat=99999", "a whole number from 0 to 65,535"),
        ("blocked_connection_timeout=0", "seconds from 0.001 to 86,400"),
        ("socket_timeout=nan", "seconds from 0.001 to 86,400"),
        ("stack_timeout=inf", "seconds from 0.001 to 86,400"),
        ("stall_timeout=-1", "seconds from 0.001 to 86,400"),
        ("channel_max=0", "a whole number from 1 to 65,535"),
        ("frame_max=1", "a whole number from 4096 to 131,072"),
        ("tcp_options=[1]", "a dict of whole numbers"),
        ("tcp_options=__import__('os')", "a dict of whole numbers"),
        ("tcp_options={'X':1}", "a dict of whole numbers"),
    ],
)
@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_a_value_of_rabbitmq_that_cannot_be_meant_is_refused(scheme: str, option: str, allowed: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(ConfigError) as refused:
        read_rabbitmq(f"{scheme}://h/v?{option}")
    assert f"{name} is {value!r}, allowed is {allowed}" in str(refused.value)


def test_options_of_rabbitmq_are_understood() -> None:
    url = read_rabbitmq("amqp://a%40:p%2F@h:7/v%2Fw?heartbeat=0&stall_timeout=2&tcp_options={'TCP_KEEPIDLE':60}")
    found = url.parameters
    assert (found.host, found.port, found.virtual_host) == ("h", 7, "v/w")
    assert (found.credentials.username, found.credentials.password) == ("a@", "p/")
    assert (found.heartbeat, url.stall_timeout, found.tcp_options) == (0, 2.0, {"TCP_KEEPIDLE": 60})
    silent = read_rabbitmq("amqp://h").parameters
    assert (silent.port, silent.virtual_host, silent.heartbeat) == (5672, "/", 30)
    assert (silent.blocked_connection_timeout, silent.socket_timeout, silent.stack_timeout) == (30.0, 5.0, 10.0)
    assert read_rabbitmq("amqps://h").parameters.port == 5671


@pytest.mark.parametrize(
    ("open_part", "url", "problem"),
    [
        (open_store, "sqlite:///x.db?synchronous=OFF", "synchronous is 'OFF', allowed is one of FULL, NORMAL"),
        (open_store, "sqlite:///x.db?synchronous=FULL&synchronous=FULL", "synchronous is given twice"),
        (open_store, "sqlite:///x.db?sync=FULL", "unknown options sync"),
        (open_store, "sqlite:///x%00.db", "not that of a file"),
        (open_store, "sqlite://x.db", "not that of a file"),
        (open_store, "memory://?deadline=1", "no options"),
        (open_store, "memory://[x/y", "no path"),
        (open_queue, "memory://x#y", "no path"),
        (open_bus, "memory://u:p@x", "no path"),
        (open_bus, "redis://h?deadline=nan", "deadline is 'nan'"),
        (open_store, "redis://h?deadline=nan", "deadline is 'nan'"),
        (open_queue, "amqp://h?heartbeat=nan", "heartbeat is 'nan'"),
    ],
)
def test_every_part_reads_its_url_strictly(open_part: Callable[[str], object], url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_part(url)
    assert problem in str(refused.value)


TOKEN = "S3cr3tT0ken"
junk = st.text(st.sampled_from("ab1?/#@:&=%;, \n[]!+\u2100\u00e9"), max_size=6)


@given(
    scheme=st.sampled_from(
        ["redis", "rediss", "redis+sentinel", "redis+cluster", "amqp", "amqps", "sqlite", "memory", "pg", ""]
    ),
    mark=st.sampled_from(["://", "://", "://", ":/", ""]),
    before=junk,
    after=junk,
    encoded=st.booleans(),
    user=st.sampled_from(["", "u", "a.b"]),
    host=st.sampled_from(["h", "h:1", "h:x", "h:1,i:2", "[::1]:2", "h h", "", "h..i"]),
    rest=st.sampled_from(
        ["", "/0", "/x", "/name/1", "/0?deadline=nan", "?heartbeat=x", "/0?nosuch=1", "#f", "/0?tls=1&tls=1"]
    ),
    in_option=st.booleans(),
)
def test_a_password_is_in_no_message(
    scheme: str, mark: str, before: str, after: str, encoded: bool, user: str, host: str, rest: str, in_option: bool
) -> None:
    password = quote(before + TOKEN + after, safe="") if encoded else before + TOKEN + after
    if in_option and not {"&", "="} <= set(before):  # else it is written like an option of its own
        option = f"sentinel_password={password}"
        url = f"{scheme}{mark}{host}{rest}{'&' if '?' in rest else '?'}{option}"
    else:
        url = f"{scheme}{mark}{user}:{password}@{host}{rest}"
    shown = [masked(url)]
    for read in (read_redis, read_rabbitmq):
        try:
            shown.append(repr(read(url)))
        except ConfigError as refused:
            shown.append(f"{refused} {refused!r}")
    if not url.partition("://")[0].startswith(("redis", "amqp")):  # else a good URL would be connected to
        for open_part in (open_store, open_queue, open_bus):
            with pytest.raises(ConfigError) as wrong:
                open_part(url)
            shown.append(str(wrong.value))
    assert TOKEN not in " ".join(shown)
