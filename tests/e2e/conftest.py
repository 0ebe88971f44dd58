"""An SQLite file, and an engine without a worker on it, for tests with worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replay import Engine
from tests.e2e import app


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def engine(store: str) -> Iterator[Engine]:
    with Engine(store, workflows=app.all_workflows()) as engine:
        yield engine
