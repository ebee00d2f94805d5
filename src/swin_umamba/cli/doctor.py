"""``swin-umamba doctor``: what is installed, what will run where, and what is wrong."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swin_umamba.cli.doctor_devices import (
    Check,
    Finding,
    check_backends,
    check_compilation,
    check_gpu_kernel_cache,
    check_kernel_cache,
    check_processors,
    check_scan,
    check_shared_memory,
    is_writable,
)
from swin_umamba.cli.output import say, say_json

ORDER = 190
HELP = "check the installation: versions, devices, scan backends, folders, and a self-test"

REQUIRED_PACKAGES = (
    "torch",
    "nnunetv2",
    "numpy",
    "scipy",
    "numba",
    "nibabel",
    "pillow",
    "tifffile",
    "safetensors",
)
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
WITHOUT_PYTHON_3_10 = ("zarr", "docs")
"""Extras of which pip installs nothing on Python 3.10, and says nothing."""
NNUNET_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
LOW_DISK_GIB = 5
SECONDS_FOR_AN_IMPORT = 120
# The current folder is left out: any file in it could be called torchvision.py.
IMPORT = "import sys; sys.path[:] = filter(None, sys.path); import {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the kernels for the GPU now, in a process for each core, and not when they are needed",
    )


def run(args: argparse.Namespace) -> int:
    """Run all checks and print what they found; return 1 if something essential is broken."""
    findings = list(examine(check_compilation) if args.compile else examine())
    errors = sum(finding.status == "error" for finding in findings)
    if args.json:
        facts = {"formats": formats(), "extras": extras(), "limits": limits()}
        say_json("doctor", {"ok": not errors, "findings": [asdict(each) for each in findings], **facts})
        return 1 if errors else 0
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        say(f"{finding.status:8}{finding.name:{width}}  {finding.detail}")
        if finding.hint is not None:
            say(f"{'':8}{'':{width}}  what to do: {finding.hint}")
    warnings = sum(finding.status == "warning" for finding in findings)
    say(f"\nerrors: {errors}, warnings: {warnings}")
    return 1 if errors else 0


def examine(*more: Check) -> Iterator[Finding]:
    """Yield what each check, and those of ``more``, finds; a check that breaks is itself a finding."""
    checks: tuple[Check, ...] = (
        check_versions,
        check_extras,
        check_processors,
        check_backends,
        check_scan,
        check_kernel_cache,
        check_gpu_kernel_cache,
        check_shared_memory,
        check_torchvision,
        check_folders,
        check_disk,
        *more,
    )
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            yield from check()
        except Exception as error:
            # A broken package can raise anything on import; the other checks are still informative.
            yield Finding(
                name,
                "error",
                f"{type(error).__name__}: {error}",
                "reinstall swin-umamba into a new environment",
            )


def check_versions() -> Iterator[Finding]:
    """Python and the packages that are needed."""
    from swin_umamba import __version__

    yield Finding("swin-umamba", "ok", __version__)
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for package in REQUIRED_PACKAGES:
        try:
            yield Finding(package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, "error", "not installed", f"pip install {package}")


def check_extras() -> Iterator[Finding]:
    """Yield the optional packages and whether they are installed."""
    for name, extra in extras().items():
        purpose = extra["purpose"]
        on_newer = name in WITHOUT_PYTHON_3_10 and sys.version_info < (3, 11)
        yield Finding(
            f"extra {name}",
            "ok",
            f"installed, for {purpose}"
            if extra["installed"]
            else f"not installed; for {purpose}: pip install 'swin-umamba[{name}]'"
            + " on Python 3.11 or newer" * on_newer,
        )


def check_torchvision() -> Iterator[Finding]:
    """Yield whether torchvision matches torch; nnU-Net's own commands and packages like Lightning need it."""
    try:
        version = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("torchvision", "ok", "not installed, and not needed by the commands of swin-umamba")
        return
    # Imported in a separate process: a failed import would leave half of its operators registered in this
    # one.
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format("torchvision")],
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_AN_IMPORT,
        check=False,
    )
    if done.returncode == 0:
        yield Finding("torchvision", "ok", version)
        return
    import torch

    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    build = "cpu" if torch.version.cuda is None else "cu" + torch.version.cuda.replace(".", "")
    yield Finding(
        "torchvision",
        "warning",
        f"{version} does not fit torch {torch.__version__} ({reason}). The commands of swin-umamba do not "
        "need it; nnUNetv2_train and nnUNetv2_predict with another trainer than nnU-Net's default do, as do "
        "packages that import it, such as Lightning",
        'for those eval "$(swin-umamba env)", or '
        f"pip install --force-reinstall --no-deps torchvision=={version.partition('+')[0]} "
        f"--index-url https://download.pytorch.org/whl/{build}",
    )


def check_folders() -> Iterator[Finding]:
    """Yield the state of nnU-Net's three folders that the environment names."""
    for name in NNUNET_FOLDERS:
        value = os.environ.get(name)
        if not value:
            yield Finding(
                name,
                "ok",
                "not set: give plan and train --root DIR or the path of a data set folder, or work in the "
                "folder that has nnUNet_raw",
            )
        elif not Path(value).is_dir():
            yield Finding(name, "warning", f"{value} does not exist", f"mkdir -p {value}")
        elif not is_writable(Path(value)):
            yield Finding(
                name,
                "warning",
                f"{value} cannot be written to",
                "change its permissions, or use another folder",
            )
        else:
            yield Finding(name, "ok", value)


def check_disk() -> Iterator[Finding]:
    """Yield the free space where results are written."""
    places = [Path.cwd(), *(Path(os.environ[name]) for name in NNUNET_FOLDERS[1:] if os.environ.get(name))]
    for place in places:
        if place.is_dir():
            free = shutil.disk_usage(place).free / 2**30
            low = free < LOW_DISK_GIB
            yield Finding(
                "free disk",
                "warning" if low else "ok",
                f"{free:.1f} GiB at {place}",
                "free some space: one fold takes about 1 GiB, preprocessed data as much as the images"
                if low
                else None,
            )


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
