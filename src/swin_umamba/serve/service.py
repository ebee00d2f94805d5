"""State that the routes of the API share: the model, the queue and the private folder."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from swin_umamba import __version__
from swin_umamba.data.image_io import image_suffixes
from swin_umamba.interrupt import interrupts_ignored
from swin_umamba.serve.jobs import Job, JobQueue
from swin_umamba.serve.limits import Limits
from swin_umamba.serve.objects import FoundObjects, ObjectFinding
from swin_umamba.serve.schema import (
    ErrorDetail,
    JobResult,
    JobStatus,
    ModelInfo,
    ResultClass,
    ResultObjects,
    ServerLimits,
)
from swin_umamba.serve.segment import Result, Segmenter
from swin_umamba.serve.storage import PrivateFolder

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor


class Service:
    """A model that segments uploads inside a ``with`` block; at its end, all uploads are deleted.

    Parameters
    ----------
    predictor
        The model.
    limits
        Limits on what is accepted and kept.
    confidence
        Whether results have an estimated Dice, and an uncertainty to display.

    Attributes
    ----------
    segmenter
        Function that the queue runs.
    storage
        Storage of uploads and results.
    queue
        The jobs.
    """

    def __init__(
        self, predictor: Predictor, limits: Limits | None = None, *, confidence: bool = False
    ) -> None:
        self.limits = limits or Limits()
        self.segmenter = Segmenter(predictor, max_voxels=self.limits.voxels, confidence=confidence)
        self._stack = ExitStack()

    def __enter__(self) -> Service:
        """Make the private folder and start the queue."""
        with ExitStack() as stack:
            # Several uploads may be stored at a time, each with a small overhead of its form.
            space = self.limits.uploads_at_once * self.limits.upload_bytes
            self.storage = stack.enter_context(PrivateFolder(space, self.limits.share))
            self.queue: JobQueue[Result] = stack.enter_context(
                JobQueue(self.segmenter, self.storage, self.limits)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop and delete everything, even if a second signal arrives in the meantime."""
        with interrupts_ignored():
            self._stack.close()

    def model_info(self) -> ModelInfo:
        """Describe the model and the limits."""
        predictor, limits = self.segmenter.predictor, self.limits
        model = predictor.model
        return ModelInfo(
            name=f"{model.plans.get('dataset_name', 'model')} {model.configuration}",
            trainer=model.trainer_name,
            folds=len(model.parameters),
            device=str(predictor.device),
            channels=predictor.channel_names,
            classes=list(self.segmenter.classes),
            confidence=self.segmenter.confidence,
            objects=_object_finding(self.segmenter.objects),
            formats=list(image_suffixes()),
            limits=ServerLimits(
                upload_bytes=limits.upload_bytes,
                voxels=limits.voxels,
                queue=limits.queue,
                kept_seconds=limits.idle_seconds,
            ),
            version=__version__,
        )

    def status(self, job: Job[Result]) -> JobStatus:
        """Describe a job."""
        state, result, error = job.state, job.outcome, job.error
        return JobStatus(
            id=job.id,
            state=state,
            name=job.upload.names[0],
            position=self.queue.position(job),
            progress=job.progress,
            error=None if error is None else ErrorDetail.model_validate(error.parts()),
            result=self._result(result) if state == "done" and result is not None else None,
        )

    def _result(self, result: Result) -> JobResult:
        quality, objects = result.quality, result.objects
        return JobResult(
            shape=list(result.shape),
            spacing=None if result.spacing is None else list(result.spacing),
            slices=result.num_slices,
            width=result.width,
            plane=result.turned.plane,
            edges=list(result.turned.edges),
            start=result.start,
            views=list(result.views),
            classes=[
                ResultClass(
                    name=each.name,
                    value=each.value,
                    colour=each.colour,
                    **vars(share),
                    quality=None if quality is None else quality.of_class.get(each.name),
                    objects=None if objects is None else objects.of_class.get(each.value),
                )
                for each, share in zip(self.segmenter.classes, result.shares, strict=True)
            ],
            quality=None if quality is None else quality.mean,
            calibrated=None if quality is None else quality.calibrated,
            quality_calibrated=None if quality is None else quality.quality_calibrated,
            objects=None if objects is None else _described(objects, result.stem),
            seconds=result.seconds,
            download=result.download_name,
        )


def _object_finding(finding: ObjectFinding) -> Literal["found", "on request", "none"]:
    if finding.classes is None:
        return "none"
    return "found" if finding.by_default else "on request"


def _described(objects: FoundObjects, stem: str) -> ResultObjects:
    names = {kind: objects.download_name(kind, stem) for kind in objects.files}
    return ResultObjects(
        count=objects.count,
        instances=names["instances"],
        table=names["objects.csv"],
        outlines=names.get("objects.geojson"),
    )
