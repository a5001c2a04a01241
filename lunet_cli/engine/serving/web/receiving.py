"""The body of a request, as files in the folder of its job; never more than may come."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from lunet_cli.engine.serving.problems import NoRoomError, OutOfTimeError, TooLargeError
from lunet_cli.engine.serving.uploads import Upload, called
from lunet_cli.engine.serving.web.refusals import RefusedError

_MOST_FILES, _MOST_FIELDS = 5000, 20


async def receive_files(
    request: Request, folder: Path, *, name: str | None, most_bytes: int, seconds: float
) -> list[Upload]:
    """Receive the files of a request: the parts of a form, or the body itself.

    Args:
        request: The request.
        folder: Where they go, under names of our own.
        name: What the sender calls the body.
        most_bytes: How many there may be in all.
        seconds: How long that may take.

    Raises:
        TooLargeError: There are more.
        OutOfTimeError: It takes longer.
        NoRoomError: The disk is full.
        RefusedError: There is none, or the form is damaged.
    """
    limited = Request(request.scope, _limited(request.receive, most_bytes))
    _require_announced(request, most_bytes)
    try:
        async with asyncio.timeout(seconds):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                found = await _receive_form(limited, folder)
            else:
                found = await _receive_body(limited, folder, called(name))
    except TimeoutError:
        raise OutOfTimeError(f"the upload takes longer than {seconds:g} s") from None
    except ClientDisconnect:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the upload was broken off") from None
    except OSError as error:
        raise NoRoomError(f"nothing can be stored ({error.strerror or error})") from None
    if not found:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "the request holds no file",
            hint="Send a scan as the body, or as a file of a form.",
        )
    return found


def _too_large(most_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"the upload: has more than {most_bytes / 2**20:,.0f} MiB",
        hint="Send it compressed, or ask who runs the service for a higher `max_upload_mib`.",
    )


def _require_announced(request: Request, most_bytes: int) -> None:
    """Refuse what is too large before it comes, if its sender says so."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most_bytes:
        raise _too_large(most_bytes)


def _limited(receive: Receive, most_bytes: int) -> Receive:
    left = most_bytes

    async def receive_counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(most_bytes)
        return message

    return receive_counted


async def _receive_body(request: Request, folder: Path, name: str) -> list[Upload]:
    path, size = folder / "upload", 0
    with path.open("xb") as file:
        async for chunk in request.stream():
            file.write(chunk)
            size += len(chunk)
    return [Upload(path, name)] if size else []


async def _receive_form(request: Request, folder: Path) -> list[Upload]:
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        parts = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return await run_in_threadpool(_store, parts, folder)


def _store(parts: Sequence[UploadFile], folder: Path) -> list[Upload]:
    found: list[Upload] = []
    for index, part in enumerate(parts):
        path = folder / f"upload{index}"
        with path.open("xb") as file:
            source: BinaryIO = part.file
            shutil.copyfileobj(source, file)
        found.append(Upload(path, called(part.filename)))
    return found
