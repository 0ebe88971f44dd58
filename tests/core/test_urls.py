"""What may be shown of a URL: no password, however it was written."""

from __future__ import annotations

import pytest

from replay.core.errors import ConfigError
from replay.urls import masked, open_store

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
