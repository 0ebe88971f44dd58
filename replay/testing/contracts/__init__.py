"""Contract suites for authors of backends: subclass one in a test module, and give it the fixture it asks for.

class TestMyQueue(QueueContract):
    @pytest.fixture
    def make_queue(self):
        return lambda: open_queue("mine://localhost", namespace=a_fresh_name)
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from replay.testing.contracts.bus import BusContract  # noqa: E402  rewriting must be asked for first
from replay.testing.contracts.queue import QueueContract  # noqa: E402
from replay.testing.contracts.store import StoreContract  # noqa: E402

__all__ = ["BusContract", "QueueContract", "StoreContract"]
