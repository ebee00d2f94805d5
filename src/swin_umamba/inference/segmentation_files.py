"""The DICOM segmentation of a prediction, and the record beside it.

::

    CASE.dcm         the segmentation
    CASE.seg.json    its segments, with their codes, volumes and the estimated Dice
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_umamba import __version__
from swin_umamba.data.image_io import image_stem
from swin_umamba.errors import UsageError
from swin_umamba.exchange.codes import KEY, Code, Meaning, meanings_of
from swin_umamba.exchange.segmentation import Algorithm, CodedSegment, check_highdicom, write_segmentation
from swin_umamba.fingerprint import fingerprint_of
from swin_umamba.json_files import read_contract, write_contract
from swin_umamba.report.palette import class_colour
from swin_umamba.schema import Provenance, anything, listed, number, optional, table, text

if TYPE_CHECKING:
    from swin_umamba.exchange.source import SourceImages
    from swin_umamba.inference.options import FolderOptions
    from swin_umamba.inference.prediction import Prediction
    from swin_umamba.inference.predictor import Predictor

logger = logging.getLogger(__name__)

SUFFIX = ".dcm"
_SEGMENT = {"name": text(), "volume_ml": optional(number(0))}
_RECORD = table({"segments": listed(table(_SEGMENT, others=anything))}, others=anything)


def record_path(labels: Path) -> Path:
    """Return the record beside a segmentation."""
    return labels.parent / f"{image_stem(labels)}.seg.json"


def check_segmentations(predictor: Predictor, options: FolderOptions) -> None:
    """Refuse, before anything is predicted, what cannot be written as DICOM segmentations.

    Raises
    ------
    UsageError
        highdicom is not installed; or the model's classes may overlap and are to be a label map.
    """
    check_highdicom()
    if predictor.has_regions and options.seg_type == "labelmap":
        raise UsageError(
            "the regions of this model overlap, and a label map has one class a voxel",
            where="--seg-type labelmap",
            hint="leave it out: binary segments may overlap",
        )
    meanings_of(_classes(predictor), _own_codes(predictor))


def write_case_segmentation(
    prediction: Prediction, source: SourceImages, path: Path, predictor: Predictor, options: FolderOptions
) -> None:
    """Write the segmentation of a case, after the record beside it.

    Raises
    ------
    DataError, OutputError
        See ``exchange.segmentation.write_segmentation``.
    """
    assert prediction.image is not None
    classes = _classes(predictor)
    counts = {name: int(np.isin(prediction.labels, values).sum()) for name, values in classes.items()}
    described = _describe(counts, prediction)
    meanings = meanings_of(classes, _own_codes(predictor), quiet=True)
    segments = [
        CodedSegment(name, meanings[name], class_colour(number), _remark(described[name]))
        for number, name in enumerate(classes, start=1)
    ]
    algorithm = Algorithm(
        name=f"{predictor.model.trainer_name} {predictor.model.plans.get('dataset_name', '')}".strip(),
        model=predictor.fingerprint,
        parameters=predictor.settings,
    )
    settings = [predictor.settings, options.nonfinite, options.series]
    frames = write_segmentation(
        path,
        source,
        _voxels(prediction, predictor, options),
        segments,
        algorithm,
        kind=options.seg_type,
        identity=fingerprint_of(settings) if options.derived_uids else None,
    )
    empty = [name for name, count in counts.items() if not count]
    if len(empty) == len(counts):
        logger.warning("%s: nothing was found; the segmentation holds empty frames of one slice", path)
    elif empty:
        logger.info("%s: nothing was found of %s", path, ", ".join(empty))
    write_contract(
        "segmentation",
        record_path(path),
        {
            "segmentation": path.name,
            "type": options.seg_type,
            "slices": source.num_planes,
            "frames": frames,
            "segments": [
                {"number": number, "name": each.name, **_coded(each.meaning), **described[each.name]}
                for number, each in enumerate(segments, start=1)
            ],
            "empty": empty,
            "model": predictor.fingerprint,
            "swin_umamba": __version__,
        },
    )


def recorded_volumes(labels: Path) -> dict[str, float] | None:
    """Return the volume of each segment in ml from the record beside a segmentation; None if it is not known.

    Raises
    ------
    DataError
        The record is missing or damaged.
    """
    path = record_path(labels)
    content = read_contract(path, hint="predict the case again")
    Provenance(path, "predict the case again").check(content, _RECORD)
    volumes = {each["name"]: each["volume_ml"] for each in content["segments"]}
    return None if None in volumes.values() else volumes


def _classes(predictor: Predictor) -> dict[str, tuple[int, ...]]:
    """Return the label values of each segment, in the order of their numbers.

    Those of classes that do not overlap are the values of the label map.
    """
    classes = predictor.plans.classes
    if predictor.has_regions:
        return dict(classes)
    return dict(sorted(classes.items(), key=lambda item: item[1][0]))


def _own_codes(predictor: Predictor) -> Mapping[str, Any]:
    own: Mapping[str, Any] = predictor.model.dataset_json.get(KEY, {})
    return own


def _voxels(prediction: Prediction, predictor: Predictor, options: FolderOptions) -> np.ndarray:
    if options.seg_type == "fractional":
        assert prediction.probabilities is not None
        return prediction.probabilities[0 if predictor.has_regions else 1 :]
    if predictor.has_regions:
        return np.stack([np.isin(prediction.labels, each) for each in _classes(predictor).values()])
    return prediction.labels


def _describe(counts: Mapping[str, int], prediction: Prediction) -> dict[str, dict[str, Any]]:
    """Return the number of voxels, the volume in ml, and the estimated Dice of each segment."""
    image = prediction.image
    assert image is not None
    dice = {} if prediction.confidence is None else prediction.confidence.class_quality
    # Of a voxel; a flat image has none.
    volume = image.pixel_size / 1000 if image.has_spacing and len(image.spacing) == 3 else None
    return {
        name: {
            "voxels": count,
            "volume_ml": None if volume is None else round(count * volume, 6),
            "estimated_dice": dice.get(name),
        }
        for name, count in counts.items()
    }


def _remark(described: Mapping[str, Any]) -> str:
    volume, dice = described["volume_ml"], described["estimated_dice"]
    parts = [] if volume is None else [f"volume {volume:.3f} ml"]
    parts += [] if dice is None else [f"estimated Dice {dice:.3f}"]
    return "; ".join(parts)


def _coded(meaning: Meaning) -> dict[str, list[str] | None]:
    def parts(code: Code) -> list[str]:
        return [code.scheme, code.value, code.meaning]

    side = None if meaning.side is None else parts(meaning.side)
    return {"category": parts(meaning.category), "type": parts(meaning.type), "side": side}
