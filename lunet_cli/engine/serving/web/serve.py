"""The job `serve`: models in memory behind a port, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from lunet_cli.config.machine import memory_bytes
from lunet_cli.config.options import PredictionOptions, ServeOptions
from lunet_cli.config.vocabulary import MIB
from lunet_cli.engine.serving.served_models import load_models
from lunet_cli.engine.serving.service import Service
from lunet_cli.engine.serving.web.app import make_app
from lunet_cli.engine.serving.web.gate import Gate, is_loopback, is_open_to_others, read_token
from lunet_cli.engine.serving.web.metrics import Metrics
from lunet_cli.engine.serving.workplace import workplace
from lunet_cli.errors import ConfigError, OutputError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.serving import Listening, ServiceEnded, ServiceEnding

OnEvent = Callable[[Event], None]
_WAITING_CONNECTIONS = 128
_LAST_ANSWERS_SECONDS = 5
_SWEEP_SECONDS = 5.0


def serve(
    models: Sequence[Path],
    options: ServeOptions,
    how: PredictionOptions,
    *,
    architecture: str | None = None,
    on_event: OnEvent = lambda event: None,
) -> None:
    """Serve models over HTTP until SIGTERM or SIGINT; accepted jobs are finished then.

    Args:
        models: See `load_models`.
        options: Where to listen, and what is borne.
        how: How volumes go through the networks; without `max_memory_mib`, half of the memory of
            the machine may be used.
        architecture: See `load_model`.
        on_event: Called with what happens.

    Raises:
        ConfigError: Others could reach it, and no token is asked for.
        OutputError: The port is taken.
        LunetError: A model cannot be loaded.
    """
    token = _token(options, on_event)
    with listening(options) as listener:
        if how.max_memory_mib is None and math.isfinite(memory_bytes()):
            how = how.model_copy(update={"max_memory_mib": memory_bytes() / MIB / 2})
        loaded = load_models(models, how, architecture=architecture)
        for model in loaded.values():
            for warning in model.predictor.warnings():
                on_event(WarningIssued(f"{model.name}: {warning}"))
        metrics = Metrics()
        with workplace(options.work_dir) as folder:
            service = Service(loaded, options, folder, on_end=metrics.ended)
            metrics.watch(service)
            gate = Gate(
                make_app(service, metrics),
                token=token,
                checks_host=is_loopback(listener.getsockname()[0]),
                on_answer=metrics.answered,
                on_bug=lambda error: on_event(WarningIssued(error.message)),
            )
            service.start()
            on_event(Listening(_address(listener), tuple(loaded)))
            asyncio.run(Server(gate, service, options, on_event).run(listener))
    on_event(ServiceEnded())


def _token(options: ServeOptions, on_event: OnEvent) -> str | None:
    """The token that is asked for.

    Raises:
        ConfigError: One is needed and none is given, or it cannot be read.
    """
    if options.token_file is not None:
        token = read_token(options.token_file)
        if is_open_to_others(options.token_file):
            text = f"{options.token_file}: other users of this machine can read the token"
            on_event(WarningIssued(text))
        return token
    if not all(is_loopback(address) for _, address in _resolved(options)):
        raise ConfigError(
            f"`host={options.host}`: others can reach it, and nothing keeps them out",
            hint="Name a file with a token: `token_file`; or listen on 127.0.0.1.",
        )
    return None


def _resolved(options: ServeOptions) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses that a name stands for."""
    try:
        found = socket.getaddrinfo(options.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"`host={options.host}`: is not an address here ({error})") from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


@contextlib.contextmanager
def listening(options: ServeOptions) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        OutputError: The port is taken, or may not be used.
    """
    family, address = _resolved(options)[0]
    try:
        listener = socket.create_server(
            (address, options.port), family=family, backlog=_WAITING_CONNECTIONS
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"port {options.port} of {options.host}: cannot be listened on ({reason})",
            hint="Does another service use it? Take another one, or a free one: `port=0`.",
        ) from None
    with listener:
        # Connections inherit it. A body goes out behind its headers; without it, it would wait
        # until the other side confirms these, which it does 40 ms later.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A server that lets accepted jobs finish before it ends."""

    def __init__(
        self, gate: Gate, service: Service, options: ServeOptions, on_event: OnEvent
    ) -> None:
        config = uvicorn.Config(
            gate,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",  # Errors are told by `on_event`, in one line.
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        super().__init__(config)
        self._service, self._options, self._on_event = service, options, on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None

    async def run(self, listener: socket.socket) -> None:  # type: ignore[override]  # theirs starts a loop
        """Answer until a signal comes."""
        self._loop = asyncio.get_running_loop()
        sweeper = asyncio.create_task(self._sweep())
        try:
            await self.serve(sockets=[listener])
        finally:
            sweeper.cancel()
            await asyncio.to_thread(self._service.end)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end at the first signal, and hurry at the second."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        if self._ending is None:
            self._on_event(ServiceEnding(self._service.queue_length))
            self._ending = asyncio.ensure_future(self._end())
        else:
            self._service.hurry()

    async def _end(self) -> None:
        await asyncio.to_thread(self._service.end)
        self.should_exit = True

    async def _sweep(self) -> None:
        """Remove what nobody has fetched in time."""
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._options.keep_seconds))
            await asyncio.to_thread(self._service.forget_old)
