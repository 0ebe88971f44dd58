"""Profile of all threads: the worker's loop and steps run in threads of their own."""

from __future__ import annotations

import contextlib
import cProfile
import io
import pstats
import threading
from collections.abc import Iterator
from typing import Any


class Profiled:
    """Profiles of the current thread and of the threads started meanwhile."""

    def __init__(self) -> None:
        self._profiles = [cProfile.Profile()]

    def begin(self, *_: Any) -> None:
        """Profile the current thread. A new thread calls this at its first event."""
        profile = cProfile.Profile()
        self._profiles.append(profile)
        profile.enable()

    def report(self, most: int) -> str:
        """Return the *most* costly functions, by the time spent in themselves."""
        text = io.StringIO()
        stats: pstats.Stats | None = None
        for profile in self._profiles:
            with contextlib.suppress(TypeError):  # the thread did nothing
                stats = pstats.Stats(profile, stream=text) if stats is None else stats.add(profile)
        if stats is not None:
            stats.sort_stats("tottime").print_stats(most)
        return text.getvalue()

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Profile this thread and the threads that it starts."""
        threading.setprofile(self.begin)
        self._profiles[0].enable()
        try:
            yield
        finally:
            self._profiles[0].disable()
            threading.setprofile(None)


@contextlib.contextmanager
def profiling() -> Iterator[Profiled]:
    """Profile this thread and the threads started meanwhile."""
    profiled = Profiled()
    with profiled.here():
        yield profiled
