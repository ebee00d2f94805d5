"""The routes of the server and what they answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from swin_umamba import __version__
from swin_umamba.errors import SwinUMambaError
from swin_umamba.serve.access import Access
from swin_umamba.serve.downloads import ASK_FOR_OBJECTS, INSTANCES, MASK, OUTLINES, TABLE, Wanted, file_answer
from swin_umamba.serve.guard import Guard, error_response
from swin_umamba.serve.jobs import Job
from swin_umamba.serve.page import page_html, page_policy
from swin_umamba.serve.problems import Busy, InvalidValue, UnfinishedJob, UnknownJob, UnknownSlice
from swin_umamba.serve.schema import ErrorAnswer, Health, JobStatus, ModelInfo, SliceAnswer
from swin_umamba.serve.segment import Result
from swin_umamba.serve.service import Service
from swin_umamba.serve.slices import slice_picture
from swin_umamba.serve.upload import FIELD, client_of, receive

SECONDS_BETWEEN_LOOKS = 0.5
# Each needs several bytes per pixel of the slice, which may be a whole slide.
SLICES_AT_ONCE = 2

DESCRIPTION = """\
Segments images with one trained model. Images are handled one after the other and nothing is kept: files are
deleted after the prediction; results are deleted by the client, or when it has not requested them for some
time.
"""

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "one file, one file for each channel in the model's order, or the "
                            "files of a DICOM folder",
                        }
                    },
                }
            }
        },
    }
}
WantedChoice = Annotated[Wanted, Query(description="what to answer with; all but labels finds the objects")]
InstancesChoice = Annotated[
    bool | None,
    Query(
        description="whether to find the objects (cells, lesions), count and measure them; by default if the "
        "model has a class for the boundary between objects"
    ),
]
SeriesChoice = Annotated[
    str | None,
    Query(
        max_length=500,
        description="UID or number of the DICOM series to read if the files are of several, or "
        "UID:NAME=VALUE for one volume of a series; without it, an error lists them",
    ),
]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in statuses}


router = APIRouter(prefix="/api", responses=_errors(401, 403, 421, 422))
_UPLOAD_ERRORS = _errors(400, 408, 413, 503)


def create_app(service: Service, *, host: str, token: str | None) -> Guard:
    """Return the ASGI application.

    Parameters
    ----------
    service
        The running service.
    host
        Name or address that the server listens on.
    token
        Token that requests must present; None answers all requests.
    """
    # The interactive pages of FastAPI load scripts from other sites; our page describes the API instead.
    app = FastAPI(
        title="swin-umamba",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.drawing = asyncio.Semaphore(SLICES_AT_ONCE)
    html = page_html(service.model_info())
    page_headers = {"Content-Security-Policy": page_policy(html)}

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(html, headers=page_headers)

    app.include_router(router)
    app.add_exception_handler(SwinUMambaError, _own_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    return Guard(Access(app, token), host)


@router.get("/health")
def health() -> Health:
    """Confirm that the server is running."""
    return Health()


@router.get("/model")
def model(request: Request) -> ModelInfo:
    """Describe the model: its channels and classes, the formats and the limits."""
    return _service(request).model_info()


@router.post("/jobs", status_code=202, openapi_extra=_UPLOAD, responses=_UPLOAD_ERRORS)
async def create_job(
    request: Request, response: Response, series: SeriesChoice = None, instances: InstancesChoice = None
) -> JobStatus:
    """Upload an image and queue it; its status tells when it is done."""
    job = await _upload(request, series, instances)
    response.headers["Location"] = f"/api/jobs/{job.id}"
    return _service(request).status(job)


@router.get("/jobs/{job_id}", responses=_errors(404))
def job_status(request: Request, job_id: str) -> JobStatus:
    """Return the status of a job."""
    service = _service(request)
    return service.status(service.queue.get(job_id))


@router.delete("/jobs/{job_id}", status_code=204, responses=_errors(404))
def delete_job(request: Request, job_id: str) -> None:
    """Cancel a job, or delete its result."""
    _service(request).queue.remove(job_id)


@router.get("/jobs/{job_id}/slices/{index}", responses=_errors(404, 409))
async def job_slice(
    request: Request,
    job_id: str,
    index: int,
    view: Annotated[int, Query(description="which of the result's views")] = 0,
    show: Annotated[Literal["classes", "objects"], Query(description="what to draw over it")] = "classes",
) -> SliceAnswer:
    """Return a slice of a finished job as a picture and paths; 2D pictures have a single slice, 0."""
    result = _result_of(request, job_id)
    if not (0 <= index < result.num_slices and 0 <= view < len(result.views)):
        raise UnknownSlice(
            f"there is no slice {index} in view {view}",
            hint=f"ask for slices 0 to {result.num_slices - 1} and views 0 to {len(result.views) - 1}",
        )
    if show == "objects" and result.objects is None:
        raise UnknownSlice("objects were not asked for", hint=ASK_FOR_OBJECTS)
    try:
        async with request.app.state.drawing:
            if await request.is_disconnected():
                raise UnknownJob  # nobody reads it
            classes = _service(request).segmenter.classes
            draw = partial(slice_picture, result, classes, index, view, objects=show == "objects")
            return await run_in_threadpool(draw)
    except FileNotFoundError:  # deleted meanwhile
        raise UnknownJob from None


@router.get("/jobs/{job_id}/labels", response_class=Response, responses={200: MASK, **_errors(404, 409)})
def job_labels(request: Request, job_id: str) -> Response:
    """Download the label map of a finished job."""
    return file_answer(_result_of(request, job_id), "labels")


@router.get(
    "/jobs/{job_id}/instances", response_class=Response, responses={200: INSTANCES, **_errors(404, 409)}
)
def job_instances(request: Request, job_id: str) -> Response:
    """Download the instance map of a finished job."""
    return file_answer(_result_of(request, job_id), "instances")


@router.get(
    "/jobs/{job_id}/objects.csv", response_class=Response, responses={200: TABLE, **_errors(404, 409)}
)
def job_objects(request: Request, job_id: str) -> Response:
    """Download the table of the objects of a finished job."""
    return file_answer(_result_of(request, job_id), "objects.csv")


@router.get(
    "/jobs/{job_id}/objects.geojson", response_class=Response, responses={200: OUTLINES, **_errors(404, 409)}
)
def job_outlines(request: Request, job_id: str) -> Response:
    """Download the outlines of the objects of a finished job; there are some for pictures only."""
    return file_answer(_result_of(request, job_id), "objects.geojson")


@router.post(
    "/predict", response_class=Response, openapi_extra=_UPLOAD, responses={200: MASK, **_UPLOAD_ERRORS}
)
async def predict(request: Request, series: SeriesChoice = None, answer: WantedChoice = "labels") -> Response:
    """Upload an image and get its label map, or its objects, in the same request; nothing is kept."""
    queue = _service(request).queue
    job = await _upload(request, series, answer != "labels")
    try:
        waiting = asyncio.wrap_future(job.finished)
        while not (await asyncio.wait({waiting}, timeout=SECONDS_BETWEEN_LOOKS))[0]:
            if await request.is_disconnected():
                return Response(status_code=204)  # nobody reads it
        if job.removed:
            raise Busy("the server is shutting down")
        return await run_in_threadpool(lambda: file_answer(_finished(job), answer))
    finally:
        with suppress(UnknownJob):  # the server is shutting down and has deleted it
            await run_in_threadpool(queue.remove, job.id)


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _upload(request: Request, series: str | None, instances: bool | None) -> Job[Result]:
    service = _service(request)
    wanted = service.segmenter.objects.chosen(instances)
    service.queue.check_place(client_of(request))  # before megabytes are sent in vain
    channels = len(service.segmenter.predictor.channel_names)
    upload = await receive(request, service.storage, service.limits, channels, series, instances=wanted)
    return service.queue.add(upload)


def _result_of(request: Request, job_id: str) -> Result:
    return _finished(_service(request).queue.get(job_id))


def _finished(job: Job[Result]) -> Result:
    if job.error is not None:
        raise job.error
    if job.outcome is None or job.state != "done":
        raise UnfinishedJob("the image has not been segmented yet", hint="wait until its state is done")
    return job.outcome


async def _own_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SwinUMambaError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    problem = SwinUMambaError(error.detail, hint="see /openapi.json")
    return error_response(problem, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The value is left out: it may be anything.
    return error_response(InvalidValue(f"{first['loc'][-1]}: {first['msg']}", hint="see /openapi.json"))
