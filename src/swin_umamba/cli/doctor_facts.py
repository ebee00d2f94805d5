"""What ``doctor --json`` tells a program that calls this package: formats, extras and limits."""

from __future__ import annotations

import importlib.metadata
from typing import Any

# The extras of the package: what they are for, and which packages they need.
EXTRAS = {
    "serve": ("swin-umamba serve", ("fastapi", "uvicorn", "python-multipart")),
    "tensorboard": ("train --tensorboard", ("tensorboard",)),
    "napari": ("the widget for napari", ("napari",)),
    "compare": ("MONAI's networks in compare", ("monai",)),
    "hub": ("swin_umamba.models.hub", ("huggingface_hub",)),
    "zarr": ("images in OME-Zarr", ("zarr",)),
    "openslide": ("more slide scanners' files", ("openslide-python",)),
    "cluster": ("predict --scheduler", ("distributed",)),
    "dicom": ("DICOM segmentations", ("highdicom",)),
    "docs": ("the site of the documentation", ("zensical", "mkdocstrings-python")),
}


def formats() -> list[dict[str, Any]]:
    """Return what each format of images can do, those of extensions included."""
    from swin_umamba.data.formats import FORMATS

    return [
        {
            "name": record.name,
            "suffixes": list(record.suffixes),
            "writes": record.encode is not None,
            "holds_labels": record.holds_labels,
            "has_geometry": record.has_geometry,
            "label_suffix": record.label_suffix,
        }
        for record in FORMATS
    ]


def extras() -> dict[str, dict[str, Any]]:
    """Return each extra, and which of its packages are missing."""
    found = {name: (purpose, _missing(packages)) for name, (purpose, packages) in EXTRAS.items()}
    return {
        name: {"purpose": purpose, "installed": not missing, "missing": missing}
        for name, (purpose, missing) in found.items()
    }


def limits() -> dict[str, int]:
    """Return the bounds that inputs are held against."""
    from swin_umamba.data.image import MAX_VOXELS
    from swin_umamba.data.picture_checks import MAX_PIXELS
    from swin_umamba.evaluation.classes import LARGEST_LABEL
    from swin_umamba.json_files import LARGEST_JSON
    from swin_umamba.models.network import STRIDE

    return {
        "image_voxels": MAX_VOXELS,
        "picture_pixels": MAX_PIXELS,
        "label_value": LARGEST_LABEL,
        "json_bytes": LARGEST_JSON,
        "network_smallest_side": STRIDE,
    }


def _missing(packages: tuple[str, ...]) -> list[str]:
    missing = []
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    return missing
