"""Who may come in: checked for every request, before any of it is read."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import stat
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lunet_cli.engine.serving.problems import unexpected
from lunet_cli.engine.serving.web.refusals import RefusedError, answer_of
from lunet_cli.errors import ConfigError, LunetError

_OPEN_PATHS = ("/health",)
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 4096
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_SAFE = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: The file cannot be read, or holds no token that is long enough.
    """
    try:
        with path.open(encoding="ascii") as file:
            token = file.read(_LONGEST_TOKEN + 2).strip()
    except OSError as error:
        raise ConfigError(f"{path}: the token cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        token = ""
    is_word = token.isprintable() and " " not in token
    if not is_word or not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN:
        raise ConfigError(
            f"{path}: is not a token of at least {_SHORTEST_TOKEN} letters and digits in one line",
            hint=f"Make one: openssl rand -hex 32 > {path}",
        )
    return token


def is_open_to_others(path: Path) -> bool:
    """Whether other users of this machine may read a token."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def is_loopback(address: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Gate:
    """Lets requests through to an application, and errors out of it.

    Args:
        app: What answers.
        token: What every request has to show; None asks for none.
        checks_host: Whether a request has to name this machine: pages of strangers that a browser
            was led to by a changed name (DNS rebinding) name their own.
        on_answer: Called with the path, the method and the status of each answer.
        on_bug: Called with each error that nobody has foreseen.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        checks_host: bool,
        on_answer: Callable[[int], None] = lambda code: None,
        on_bug: Callable[[LunetError], None] = lambda error: None,
    ) -> None:
        self._app, self._checks_host = app, checks_host
        self._token = None if token is None else token.encode()
        self._on_answer, self._on_bug = on_answer, on_bug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        has_begun = False

        async def send_safely(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._on_answer(message["status"])
                sent = {name for name, _ in message.get("headers", ())}
                more = [pair for pair in _SAFE.items() if pair[0] not in sent]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_safely)
        except LunetError as error:
            await answer_of(error)(scope, receive, send_safely)
        except Exception as error:
            told = unexpected(error)
            self._on_bug(told)
            if not has_begun:
                await answer_of(told)(scope, receive, send_safely)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._checks_host and _name_of(host) not in _OWN_NAMES:
            raise RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the request is meant for another host",
                hint="Call it by the address that it listens on, such as 127.0.0.1.",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise RefusedError(
                HTTPStatus.FORBIDDEN, "pages of other hosts may not use this service"
            )
        if self._token is None or scope["path"] in _OPEN_PATHS:
            return
        shown = _token_of(headers.get("authorization", ""))
        if not hmac.compare_digest(shown, self._token):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "the request shows no token, or another one",
                hint="Send the header 'Authorization: Bearer TOKEN'.",
            )


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _token_of(authorization: str) -> bytes:
    """The token of a header, or the password with which browsers send it."""
    kind, _, value = authorization.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
