"""The production shape on real servers: outages of the broker, rolling deploys, crowds of senders, payloads as they were sent."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from replay import Engine
from tests.e2e.app import all_workflows, collects, five_steps, waits
from tests.e2e.processes import Worker
from tests.e2e.test_redis_processes import all_recorded_once
from tests.servers.process import PATIENCE, until
from tests.servers.rabbitmq import RabbitServer

OUTAGE = 15.0


def test_work_goes_on_while_the_broker_is_down_and_after_it_came_back(redis_server: Any, tmp_path: Path) -> None:
    with RabbitServer() as broker:
        worker = Worker(redis_server.url, tmp_path, "--queue", broker.url, "--namespace", "outage")
        try:
            with Engine(redis_server.url, queue=broker.url, workflows=[five_steps], namespace="outage") as engine:
                all_recorded_once(engine, [engine.start(five_steps, n) for n in range(5)])
                with broker.down():
                    began = time.monotonic()
                    while time.monotonic() - began < OUTAGE:
                        all_recorded_once(engine, [engine.start(five_steps, n) for n in range(5)])
                until(lambda: "reach" in worker.log.read_text())
                all_recorded_once(engine, [engine.start(five_steps, n) for n in range(20)])
        finally:
            worker.kill()


def test_a_worker_that_lacks_a_workflow_leaves_it_to_others(redis_server: Any, tmp_path: Path) -> None:
    old = Worker(redis_server.url, tmp_path, "--namespace", "deploy", target="tests.e2e.app:five_steps")
    try:
        with Engine(redis_server.url, workflows=all_workflows(), namespace="deploy") as engine:
            handle = engine.start(collects, 1)
            handle.signal("anything", "kept")
            all_recorded_once(engine, [engine.start(five_steps, n) for n in range(5)])
            assert handle.status() == "pending", "nobody took, failed or dropped it"
            new = Worker(redis_server.url, tmp_path, "--namespace", "deploy")
            try:
                assert handle.result(PATIENCE) == ["kept"]
            finally:
                new.kill()
    finally:
        old.kill()


def test_two_hundred_signals_at_once_all_arrive_in_the_order_of_each_sender(redis_server: Any, tmp_path: Path) -> None:
    worker = Worker(redis_server.url, tmp_path, "--namespace", "crowd")
    try:
        with Engine(redis_server.url, workflows=all_workflows(), namespace="crowd") as engine:
            handle = engine.start(collects, 200)

            def send(sender: int) -> None:
                for number in range(20):
                    handle.signal("anything", [sender, number])

            with ThreadPoolExecutor(10) as senders:
                list(senders.map(send, range(10)))
            found = handle.result(PATIENCE)
            assert len(found) == 200
            for sender in range(10):
                assert [number for who, number in found if who == sender] == list(range(20))
    finally:
        worker.kill()


def test_payloads_arrive_as_they_were_sent(redis_server: Any, tmp_path: Path) -> None:
    deep: Any = '\u00e9\U0001f600\x00\\"'
    for _ in range(50):
        deep = {"k": [deep]}
    payloads = [
        [],
        {},
        2**63,
        -(2**63) - 1,
        10**30,
        0.1 + 0.2,
        1e-300,
        deep,
        "",
        None,
        [[]],
        {"a": {}},
        (1, 2),
        {1: {2}},
    ]
    worker = Worker(redis_server.url, tmp_path, "--namespace", "payloads")
    try:
        with Engine(redis_server.url, workflows=all_workflows(), namespace="payloads") as engine:
            handle = engine.start(collects, len(payloads))
            for payload in payloads:
                handle.signal("anything", payload)
            found = handle.result(PATIENCE)
        assert found == payloads
        assert [type(each) for each in found] == [type(each) for each in payloads]
    finally:
        worker.kill()


def test_suspended_executions_outlive_all_workers(redis_server: Any, tmp_path: Path) -> None:
    with Engine(redis_server.url, workflows=all_workflows(), namespace="outlive") as engine:
        first = Worker(redis_server.url, tmp_path, "--namespace", "outlive")
        handles = [engine.start(waits) for _ in range(20)]
        until(lambda: all(handle.status() == "sleeping" for handle in handles))
        first.kill()
        for number, handle in enumerate(handles):
            handle.signal("go", number)
        second = Worker(redis_server.url, tmp_path, "--namespace", "outlive")
        try:
            assert [handle.result(PATIENCE) for handle in handles] == list(range(20))
        finally:
            second.kill()
