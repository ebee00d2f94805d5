"""Probabilities as ``nnUNetv2_ensemble`` takes them: arrays, the grids of the images, plans and labels."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.data.formats import format_of
from swin_umamba.data.image_io import Image, image_suffix, write_labels, write_probabilities
from swin_umamba.files import write_bytes
from swin_umamba.inference.finished import probabilities_path
from swin_umamba.json_files import write_json

if TYPE_CHECKING:
    from swin_umamba.trained.model_plans import ModelPlans


def write_for_ensemble(
    probabilities: np.ndarray, labels: np.ndarray, image: Image, path: Path, plans: ModelPlans
) -> None:
    """Write ``CASE.npz`` and, if nnU-Net reads such files, ``CASE.pkl``.

    Parameters
    ----------
    probabilities
        ``(classes, y, x)``, written with one slice as nnU-Net does, or ``(classes, z, y, x)``.
    labels, image
        The label map, and the image whose grid it is on.
    path
        Path the label map will have.
    plans
        Plans of the model.
    """
    with tempfile.TemporaryDirectory(prefix="swin-umamba-") as folder:
        # nnU-Net's reader returns what its writer needs to know, given a file like the one to come.
        likeness = Path(folder) / f"labels{_suffix(path)}"
        write_labels(likeness, labels, like=image)
        properties = plans.nnunets_properties(likeness)
    file = probabilities_path(path)
    if properties is not None:
        write_bytes(file.with_suffix(".pkl"), pickle.dumps(properties))
    write_probabilities(file, probabilities[:, None] if probabilities.ndim == 3 else probabilities)


def describe_for_ensemble(labels: Path, plans: ModelPlans) -> None:
    """Write ``plans.json`` and ``dataset.json`` beside label maps, with their own file ending."""
    description = {**plans.model.dataset_json, "file_ending": _suffix(labels)}
    for name, content in (("plans.json", plans.model.plans), ("dataset.json", description)):
        write_json(labels.parent / name, content)


def _suffix(labels: Path) -> str:
    """Return the suffix of label maps, or for those that nnU-Net cannot read that of what it can."""
    known = format_of(labels)
    return known.label_suffix if known.encode is None else image_suffix(labels)
