"""A data set of drawn microscopy pictures with nuclei, for demonstrations and tests without a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from swin_umamba.data.image_io import Image, write_image, write_labels
from swin_umamba.data.instance_labels import BACKGROUND, BOUNDARY, INTERIOR, instances_to_classes
from swin_umamba.errors import UsageError
from swin_umamba.json_files import write_json

# Background and nucleus colours (RGB, 0 to 1): haematoxylin and eosin, haematoxylin alone, and fluorescence.
_STAINS = (
    ((0.93, 0.82, 0.88), (0.42, 0.25, 0.55)),
    ((0.90, 0.88, 0.93), (0.33, 0.33, 0.62)),
    ((0.95, 0.86, 0.84), (0.52, 0.24, 0.44)),
    ((0.03, 0.03, 0.06), (0.25, 0.42, 0.85)),
    ((0.02, 0.05, 0.03), (0.30, 0.75, 0.42)),
)
# Ranges of the typical nucleus radius as a fraction of the picture's side, and of the area fraction covered.
_RADIUS_FRACTION = (0.03, 0.055)
_COVERED_FRACTION = (0.14, 0.3)
# No nucleus hides more than this fraction of another or of its own size, so each stays recognisable.
_MAX_COVERED = 0.2
_MIN_RADIUS = 2.5
_MIN_AREA = 12
_MIN_SIZE = 32
_MAX_ATTEMPTS = 1000


@dataclass(frozen=True)
class _Picture:
    """Colours, uint8 ``(y, x, 3)``, and the instance map, uint16 ``(y, x)``: 0 background, nuclei from 1."""

    rgb: np.ndarray
    instances: np.ndarray


def make_nuclei(
    folder: str | Path, *, num_training: int, num_test: int, size: int = 256, seed: int = 0
) -> Path:
    """Draw a data set in nnU-Net's raw layout.

    Pictures are RGB PNG (channels R, G, B); label maps hold background 0, interior 1 and boundary 2, as
    ``data.instance_labels`` derives them from the nuclei. Nuclei are textured ellipses with uneven outlines
    that touch and overlap, under uneven light, blur and noise, in a stain that varies between pictures. The
    same arguments yield the same bytes; training and test pictures are drawn from separate random streams,
    and a larger set begins with the pictures of a smaller one.

    Parameters
    ----------
    folder
        Folder of the data set, such as ``nnUNet_raw/Dataset999_DemoNuclei``; its files are replaced.
    num_training, num_test
        Number of pictures.
    size
        Side of a picture in pixels, at least 32.
    seed
        Seed of all random numbers.

    Returns
    -------
    Path
        ``folder``, with ``imagesTr``, ``labelsTr``, ``instancesTr`` (uint16 PNG, one number per nucleus), the
        same for the test pictures as ``imagesTs`` and so on, and ``dataset.json``.
    """
    if num_training < 1 or num_test < 0 or size < _MIN_SIZE:
        raise UsageError(
            f"cannot draw {num_training} training and {num_test} test pictures of {size} pixels",
            hint=f"ask for at least 1 training picture and a size of at least {_MIN_SIZE}",
        )
    folder = Path(folder)
    training_seed, test_seed = np.random.SeedSequence(seed).spawn(2)
    for number, picture_seed in enumerate(training_seed.spawn(num_training)):
        _write_case(folder, "Tr", f"train_{number:03d}", _draw_picture(picture_seed, size))
    for number, picture_seed in enumerate(test_seed.spawn(num_test)):
        _write_case(folder, "Ts", f"test_{number:03d}", _draw_picture(picture_seed, size))
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": BACKGROUND, "interior": INTERIOR, "boundary": BOUNDARY},
            "numTraining": num_training,
            "file_ending": ".png",
            "name": folder.name,
            "description": "drawn microscopy pictures with nuclei",
        },
    )
    return folder


def _write_case(folder: Path, split: str, case: str, picture: _Picture) -> None:
    image = Image.without_geometry(picture.rgb.transpose(2, 0, 1), folder)
    write_image(folder / f"images{split}" / f"{case}_0000.png", image)
    write_labels(folder / f"labels{split}" / f"{case}.png", instances_to_classes(picture.instances), image)
    instances = Image.without_geometry(picture.instances[None], folder)
    write_image(folder / f"instances{split}" / f"{case}.png", instances)


def _draw_picture(seed: np.random.SeedSequence, size: int) -> _Picture:
    rng = np.random.default_rng(seed)
    background, stain = (
        np.clip(np.array(colour) + rng.normal(0, 0.03, 3), 0, 1)
        for colour in _STAINS[rng.integers(len(_STAINS))]
    )
    instances, density = _place_nuclei(rng, size)
    # Between the nuclei is weakly stained tissue; far less of it in fluorescence, on a dark background.
    fluorescent = background.mean() < 0.5
    tissue = rng.uniform(*((0.02, 0.08) if fluorescent else (0.15, 0.4)))
    density = density + (1 - density) * tissue * _clouds(rng, size, wavelengths=(0.12, 0.04, 0.012))
    rgb = background + density[..., None] * (stain - background)
    rgb *= 1 + rng.uniform(0.1, 0.25) * (_clouds(rng, size, wavelengths=(0.5,))[..., None] - 0.5)
    blur = rng.uniform(0.5, 1.1) * max(size / 256, 0.5)
    rgb = ndimage.gaussian_filter(rgb, (blur, blur, 0))
    rgb += rng.normal(0, rng.uniform(0.008, 0.025), rgb.shape)
    return _Picture(np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8), instances)


def _place_nuclei(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the instance map and how strongly each pixel is stained (0 to 1)."""
    instances = np.zeros((size, size), np.uint16)
    density = np.zeros((size, size))
    chromatin = _clouds(rng, size, wavelengths=(0.03, 0.012))
    typical_radius = max(size * rng.uniform(*_RADIUS_FRACTION), _MIN_RADIUS)
    wanted = rng.uniform(*_COVERED_FRACTION)
    areas = [0]
    for _ in range(_MAX_ATTEMPTS):
        if np.count_nonzero(instances) >= wanted * size * size:
            break
        # Some nuclei start a new cluster, the others join an earlier one, so they touch.
        if len(areas) == 1 or rng.random() < 0.45:
            centre = rng.uniform(0, size, 2)
        else:
            members = np.argwhere(instances == rng.integers(1, len(areas)))
            direction = rng.uniform(0, 2 * np.pi)
            reach = rng.uniform(1.5, 2.1) * typical_radius
            centre = members.mean(axis=0) + reach * np.array([np.sin(direction), np.cos(direction)])
        window, level = _nucleus(rng, size, centre, typical_radius * rng.uniform(0.75, 1.3))
        inside = level < 1
        area = int(np.count_nonzero(inside))
        covered = np.bincount(instances[window][inside], minlength=len(areas))
        limits = _MAX_COVERED * np.minimum(area, areas)
        if area < _MIN_AREA or (covered[1:] > limits[1:]).any():
            continue
        # Chromatin is granular and lines the membrane; where nuclei overlap, their stains add up.
        stained = rng.uniform(0.5, 0.85) + 0.6 * (chromatin[window] - 0.5) + 0.18 * level**6
        added = np.clip(stained + 0.3 * density[window], 0, 1)
        density[window] = np.where(inside, added, density[window])
        instances[window][inside] = len(areas)
        areas.append(area)
    return instances, density


def _nucleus(
    rng: np.random.Generator, size: int, centre: np.ndarray, radius: float
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return a picture window and, for its pixels, the distance to the nucleus's centre, 1 on its outline.

    The outline is a rotated ellipse with a gentle wobble. The window is empty if it lies outside the picture.
    """
    reach = 2 * radius
    first = np.clip(centre - reach, 0, size).astype(int)
    last = np.clip(centre + reach + 1, 0, size).astype(int)
    window = (slice(first[0], last[0]), slice(first[1], last[1]))
    rows, columns = np.mgrid[window] - centre[:, None, None]
    elongation = rng.uniform(1.0, 1.6)
    turn = rng.uniform(0, np.pi)
    along = (columns * np.cos(turn) + rows * np.sin(turn)) / np.sqrt(elongation)
    across = (rows * np.cos(turn) - columns * np.sin(turn)) * np.sqrt(elongation)
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for waves, amplitude in ((2, 0.06), (3, 0.05), (5, 0.02)):
        outline += rng.normal(0, amplitude) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    return window, np.hypot(along, across) / (radius * outline)


def _clouds(rng: np.random.Generator, size: int, wavelengths: Sequence[float]) -> np.ndarray:
    """Return smooth noise from 0 to 1, the mean of layers with the given wavelengths (parts of the side)."""
    layers = []
    for wavelength in wavelengths:
        sigma = max(wavelength * size / 2, 0.5)
        layer = ndimage.gaussian_filter(rng.normal(size=(size, size)), sigma, mode="wrap")
        layers.append((layer - layer.min()) / (layer.max() - layer.min()))
    mean: np.ndarray = np.mean(layers, axis=0)
    return mean
