from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lunet_cli.config.options import ServeOptions
from lunet_cli.engine.serving.jobs import Job
from lunet_cli.engine.serving.service import Service
from lunet_cli.engine.serving.web.app import make_app
from lunet_cli.engine.serving.web.gate import Gate
from lunet_cli.engine.serving.web.metrics import Metrics
from lunet_cli.engine.serving.web.serve import Server

ClientOf = Callable[..., httpx.Client]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Make a client of the door to a service, which listens in a thread until the test ends."""
    running: list[tuple[httpx.Client, Server, threading.Thread]] = []

    def make(service: Service, *, token: str | None = None, **settings: Any) -> httpx.Client:
        metrics = Metrics()
        metrics.watch(service)
        service._on_end = metrics.ended
        app = make_app(service, metrics)
        gate = Gate(app, token=token, checks_host=True, on_answer=metrics.answered, **settings)
        options = ServeOptions(port=0)
        server = Server(gate, service, options, lambda event: None)
        listener = socket.create_server(("127.0.0.1", 0))
        serving = server.serve(sockets=[listener])
        thread = threading.Thread(target=asyncio.run, args=(serving,), daemon=True)
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=15)
        running.append((client, server, thread))
        return client

    yield make
    while running:
        client, server, thread = running.pop()
        client.close()
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let jobs wait before they begin to compute, until the event is set."""
    go_on, run = threading.Event(), Job._predict

    def wait_and_run(job: Job) -> Any:
        while not go_on.wait(0.01):
            job._require_wanted()
        return run(job)

    monkeypatch.setattr(Job, "_predict", wait_and_run)
    yield go_on
    go_on.set()
