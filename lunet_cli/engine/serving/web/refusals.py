"""Errors as answers: a status code, and one line of JSON that says what and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.responses import Response

from lunet_cli.engine.serving.answers import Problem
from lunet_cli.engine.serving.problems import (
    CancelledError,
    EndingError,
    NoRoomError,
    NotFoundError,
    OutOfTimeError,
    QueueFullError,
    TooLargeError,
    UnknownFormatError,
)
from lunet_cli.errors import ConfigError, DataError, LunetError, MissingDependencyError

# The first kind that fits counts.
_CODES: tuple[tuple[type[LunetError], HTTPStatus], ...] = (
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnknownFormatError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (QueueFullError, HTTPStatus.TOO_MANY_REQUESTS),
    (EndingError, HTTPStatus.SERVICE_UNAVAILABLE),
    (OutOfTimeError, HTTPStatus.GATEWAY_TIMEOUT),
    (CancelledError, HTTPStatus.GONE),
    (NoRoomError, HTTPStatus.INSUFFICIENT_STORAGE),
    (MissingDependencyError, HTTPStatus.NOT_IMPLEMENTED),
    (ConfigError, HTTPStatus.BAD_REQUEST),
    (DataError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
_USUAL_RETRY = 10


class RefusedError(LunetError):
    """A request that is refused before anything is looked at.

    Args:
        code: The status.
        message: See `LunetError`.
        hint: See `LunetError`.
    """

    def __init__(self, code: HTTPStatus, message: str | Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code

    def reworded(self, reword: Callable[[str], str]) -> RefusedError:
        """The same in other words; see `LunetError`."""
        return RefusedError(self.code, [reword(line) for line in self.lines], reword(self.hint))


def code_of(error: LunetError) -> HTTPStatus:
    """The status of an error."""
    if isinstance(error, RefusedError):
        return error.code
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer_of(error: LunetError) -> Response:
    """An error as an answer."""
    code = code_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, QueueFullError):
        headers["Retry-After"] = str(error.seconds)
    elif code == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_USUAL_RETRY)
    problem = Problem(error=" ".join(error.lines), hint=error.hint)
    answer = Response(
        problem.model_dump_json() + "\n", code, headers=headers, media_type="application/json"
    )
    if code == HTTPStatus.UNAUTHORIZED:
        # A browser asks its user then, and sends the password with what the page asks for. In one
        # header, Chromium takes the second kind for a damaged part of the first, and asks nobody.
        answer.headers.append("WWW-Authenticate", 'Basic realm="lunet"')
        answer.headers.append("WWW-Authenticate", "Bearer")
    return answer
