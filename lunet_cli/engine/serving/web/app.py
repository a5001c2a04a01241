"""What can be asked of a service over HTTP, and how it answers."""

from __future__ import annotations

import asyncio
import json
import zipfile
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from lunet_cli import __version__
from lunet_cli.config.vocabulary import OutputSuffix
from lunet_cli.engine.serving.answers import Health, JobStatus, Models, Problem
from lunet_cli.engine.serving.jobs import Job, Result, Wish
from lunet_cli.engine.serving.problems import as_sent, unexpected, without_folder
from lunet_cli.engine.serving.served_models import ServedModel, choose
from lunet_cli.engine.serving.service import Service
from lunet_cli.engine.serving.uploads import SCAN, Upload, arrange
from lunet_cli.engine.serving.web.metrics import Metrics
from lunet_cli.engine.serving.web.page import render_page
from lunet_cli.engine.serving.web.receiving import receive_files
from lunet_cli.engine.serving.web.refusals import RefusedError, answer_of
from lunet_cli.errors import LunetError
from lunet_cli.results.words import visible

MaskFormat = Literal["nii.gz", "nii", "nrrd", "mha", "dicom-seg"]
_SUFFIXES: dict[str, OutputSuffix] = {
    "nii.gz": ".nii.gz", "nii": ".nii", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": ".dcm",
}  # fmt: skip
_KINDS = {
    ".nii.gz": "application/gzip",
    ".dcm": "application/dicom",
    ".zip": "application/zip",
}
_LOOK_SECONDS = 0.5
_BYTES_PER_VOXEL = 4
_HEADERS_BYTES = 64 * 2**20  # of the files of a long DICOM series
_PROBLEMS: Any = {code: {"model": Problem} for code in (400, 404, 413, 415, 422, 429, 503, 504)}


class Asked(BaseModel):
    """What a request for a mask says behind its question mark."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str | None = None
    """Name of the model; the first one if not given."""
    format: MaskFormat | None = None
    """Format of the mask; that of the scan if not given, and nii.gz for DICOM."""
    probabilities: bool = False
    """Send a zip file with the mask, a map per label and `result.json`."""
    labelmap: bool = False
    """Write a DICOM segmentation as one label map."""
    series: Annotated[str | None, Field(max_length=200)] = None
    """Number, description or UID of the DICOM series to take where there are several."""
    postprocess: Annotated[list[str], Field(max_length=20)] = []
    """`[LABEL:]STEP`, repeatable: min-volume=ML, fill-holes or largest-component."""
    name: Annotated[str | None, Field(max_length=200)] = None
    """What the scan is called in messages, where it is the body itself."""
    wait: bool = True
    """Answer with the mask; otherwise at once, with the id of a job."""


class _Door:
    """Requests for masks.

    Args:
        service: What does the work.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def accept(self, request: Request, asked: Asked) -> Job:
        """Receive a scan, look at its header, and let it wait for its turn."""
        model = choose(self._service.models, asked.model)
        options, folder = self._service.options, self._service.reserve()
        try:
            uploads = await receive_files(
                request,
                folder,
                name=asked.name,
                most_bytes=round(options.max_upload_mib * 2**20),
                seconds=options.job_seconds,
            )
            job = await run_in_threadpool(self._prepare, model, asked, uploads, folder)
            self._service.submit(job)
        except LunetError as error:
            self._service.release(folder)
            raise error.reworded(lambda text: without_folder(text, folder)) from None
        except BaseException:  # The connection may end at any moment.
            self._service.release(folder)
            raise
        return job

    def _prepare(
        self, model: ServedModel, asked: Asked, uploads: list[Upload], folder: Path
    ) -> Job:
        options = self._service.options
        most_bytes = options.max_voxels * _BYTES_PER_VOXEL + _HEADERS_BYTES
        paths = arrange(uploads, folder, most_bytes=most_bytes)
        name = uploads[0].name
        try:
            suffix: OutputSuffix = model.look_at(
                paths, series=asked.series, limit=options.max_voxels
            )
        except LunetError as error:
            raise error.reworded(lambda text: as_sent(text, paths, name)) from None
        if asked.format is not None:
            suffix = _SUFFIXES[asked.format]
        wish = Wish(
            suffix=suffix,
            probabilities=asked.probabilities,
            labelmap=asked.labelmap,
            series=asked.series,
            postprocess=tuple(asked.postprocess),
        )
        wish.options(folder)  # What does not fit together is told now.
        return Job(model, name, paths, folder, wish, options.job_seconds)

    async def answer(self, request: Request, asked: Asked) -> Response:
        """The mask of a scan, or the id of its job."""
        job = await self.accept(request, asked)
        if not asked.wait:
            if await request.is_disconnected():
                self._service.forget(job)  # Nobody will ever know its id.
            return _json(self.status(job), HTTPStatus.ACCEPTED, {"Location": f"/jobs/{job.id}"})
        try:
            await _ended(job, request)
            answer = await run_in_threadpool(_answer_of, job)
        except BaseException:
            self._service.forget(job)
            raise
        answer.background = BackgroundTask(self._service.forget, job)
        return answer

    def status(self, job: Job) -> JobStatus:
        """How far a job is; what has ended counts as told."""
        job.is_told = job.is_over
        return job.status(self._service.position(job))

    async def mask(self, job_id: str) -> Response:
        """The mask of a job that has ended."""
        job = self._service.find(job_id)
        if not job.is_over:
            raise RefusedError(
                HTTPStatus.CONFLICT, "the job has not ended yet", hint="Ask for its state."
            )
        return await run_in_threadpool(_answer_of, job)


async def _ended(job: Job, request: Request) -> None:
    """Wait for a job, as long as somebody waits for its answer.

    Raises:
        RefusedError: Nobody does.
    """
    future = asyncio.wrap_future(job.future)
    # An error of the job is raised by `_answer_of`; here it only has to be looked at.
    future.add_done_callback(lambda ended: ended.exception())
    while True:
        done, _ = await asyncio.wait([future], timeout=_LOOK_SECONDS)
        if done:
            return
        if await request.is_disconnected():
            raise RefusedError(HTTPStatus.BAD_REQUEST, "nobody waits for the answer")


def _answer_of(job: Job) -> Response:
    """The files of a job, with what it found in the headers.

    Raises:
        LunetError: What became of the job instead.
    """
    result, path = job.future.result(), None
    headers = {
        "X-Lunet-Job": job.id,
        "X-Lunet-Model": _header(job.model.name),
        "X-Lunet-Labels": json.dumps(result.labels),
        "X-Lunet-Volumes-Ml": json.dumps(result.volumes_ml),
        "X-Lunet-Seconds": f"{result.seconds:.3f}",
    }
    if job.remarks:
        headers["X-Lunet-Remarks"] = json.dumps(job.remarks)
    path = result.files[0]
    if job.wish.probabilities:
        path = _packed(job, result)
    job.is_told = True
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    kind = _KINDS.get(suffix, "application/octet-stream")
    return FileResponse(path, headers=headers, media_type=kind, filename=f"mask{suffix}")


def _packed(job: Job, result: Result) -> Path:
    """All files of a job in one, with what it found."""
    path = job.folder / "answer.zip"
    # What is in it is packed already, but for formats that never are.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in result.files:
            archive.write(file, f"mask{file.name.removeprefix(SCAN)}")
        archive.writestr("result.json", job.status(0).model_dump_json(indent=2))
    return path


def _header(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _json(
    answer: BaseModel, code: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        answer.model_dump_json() + "\n", code, headers=headers, media_type="application/json"
    )


def make_app(service: Service, metrics: Metrics) -> FastAPI:
    """The application.

    Args:
        service: What does the work.
        metrics: What is counted.
    """
    # Its pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="lunet", version=__version__, docs_url=None, redoc_url=None)
    door = _Door(service)
    _add_errors(app)
    _add_facts(app, service, metrics)

    @app.post("/predict", responses=_PROBLEMS, response_class=FileResponse)
    async def predict(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """Segment a scan: the body itself, or the files of a form."""
        return await door.answer(request, asked)

    @app.get("/jobs/{job_id}", responses=_PROBLEMS)
    async def job(job_id: str) -> JobStatus:
        """How far a job is."""
        return door.status(service.find(job_id))

    @app.get("/jobs/{job_id}/mask", responses=_PROBLEMS, response_class=FileResponse)
    async def mask(job_id: str) -> Response:
        """The mask of a job."""
        return await door.mask(job_id)

    @app.delete("/jobs/{job_id}", responses=_PROBLEMS, status_code=HTTPStatus.NO_CONTENT)
    async def cancel(job_id: str) -> None:
        """Stop a job, and remove what there is of it."""
        service.forget(service.find(job_id))

    return app


def _add_facts(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """Add what can be asked of the service itself."""
    page = render_page((model.facts for model in service.models.values()), service.options)
    # What forbids other pages to frame it is obeyed in a header only.
    policy = f"{page.policy}; frame-ancestors 'none'"

    @app.get("/", response_class=HTMLResponse)
    async def start() -> Response:
        """A page from which a person sends scans, and on which masks are seen."""
        return HTMLResponse(page.text, headers={"Content-Security-Policy": policy})

    @app.get("/models")
    async def models() -> Models:
        """The models of the service."""
        return Models(models=tuple(model.facts for model in service.models.values()))

    @app.get("/health", responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the service takes jobs; 503 if not."""
        state = service.state
        answer = Health(
            status=state,
            version=__version__,
            models=tuple(service.models),
            queue_length=service.queue_length,
        )
        code = HTTPStatus.OK if state == "ready" else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(answer, code)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics_text() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    """Let every error be one line of JSON."""

    @app.exception_handler(LunetError)
    async def ours(request: Request, error: LunetError) -> Response:
        return answer_of(error)

    @app.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> Response:
        code, words = HTTPStatus(error.status_code), str(error.detail)
        return answer_of(RefusedError(code, words.lower()))

    @app.exception_handler(Exception)
    async def bugs(request: Request, error: Exception) -> Response:
        return answer_of(unexpected(error))

    @app.exception_handler(RequestValidationError)
    async def values(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where, words = visible(first["loc"][-1]), str(first["msg"])
        message = f"`{where}`: {words[:1].lower()}{words[1:]}"
        return answer_of(RefusedError(HTTPStatus.BAD_REQUEST, message))
