"""`python -m tests.e2e.starters STORE COUNT KEY`: as many processes start one execution with one key, at the same instant."""

from __future__ import annotations

import os
import sys

from replay import Engine
from tests.e2e.app import five_steps


def main() -> None:
    store, count, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    ready, go = os.pipe(), os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if not child:
            os.close(go[1])
            with Engine(store, workflows=[five_steps], namespace="key") as engine:
                engine.count_executions()  # connected
                os.write(ready[1], b".")
                os.read(go[0], 1)
                id = engine.start(five_steps, 1, idempotency_key=key).id
            os.write(1, f"{id}\n".encode())
            os._exit(0)
        children.append(child)
    for _ in range(count):
        os.read(ready[0], 1)
    os.close(go[1])
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)


if __name__ == "__main__":
    main()
