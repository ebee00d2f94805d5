"""DICOM files of all kinds, written byte by byte from known values, against what the reader makes of them.

The expected values are known before a file is written. SimpleITK's GDCM, which the reader does not use,
confirms the files themselves. JPEG-LS and lossless JPEG are encoded by imagecodecs, whose decoders the reader
uses: for these, GDCM is the only independent witness.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from conformance.combinations import Combination, Outcomes, covering_combinations, possible_pairs
from conformance.dicom_files import PLAIN, SYNTAXES, Slice, Stored, enhanced, file_bytes, write_series
from conformance.dicom_kinds import KINDS, VOLUME
from swin_umamba.data.dicom import read_dicom
from swin_umamba.data.image import Image
from swin_umamba.errors import DataError

# Allocated, stored, highest bit.
BITS = {
    "1": (1, 1, 0),
    "8": (8, 8, 7),
    "12 of 16": (16, 12, 11),
    "12 above 4": (16, 12, 15),
    "16": (16, 16, 15),
    "32": (32, 32, 31),
}
FEATURES: dict[str, tuple[str, ...]] = {
    "transfer syntax": tuple(SYNTAXES),
    "bits": tuple(BITS),
    "numbers": ("unsigned", "signed"),
    "photometric": ("MONOCHROME1", "MONOCHROME2", "RGB", "RGB by planes", "YBR_FULL", "PALETTE COLOR"),
    "rescale": ("none", "whole", "fractions", "by slice"),
    "layout": ("one image", "series", "enhanced"),
    "plane": ("axial", "sagittal", "oblique"),
}
GREY = ("MONOCHROME1", "MONOCHROME2")
ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": (0.8, 0.6, 0.0, -0.36, 0.48, 0.8),
}
ROWS, COLUMNS, SLICES = 8, 16, 3
SPACING, STEP, CORNER = (0.75, 0.5), 2.5, np.array((-10.25, 20.5, 31.0))
TO_RAS = np.array((-1.0, -1.0, 1.0))
# Lossy: what the decoders of two libraries may differ by in one of 256 steps.
BASELINE_TOLERANCE = 3


def exists(each: Combination) -> bool:
    """Return whether the standard has such files: one bit and baseline JPEG only of few kinds, and so on."""
    grey = each["photometric"] in GREY
    if each["rescale"] != "none" and not grey:
        return False
    if each["photometric"] == "YBR_FULL" and (each["bits"] != "8" or each["numbers"] == "signed"):
        return False
    if each["photometric"] == "PALETTE COLOR" and (
        each["bits"] not in ("8", "16") or each["numbers"] == "signed"
    ):
        return False
    if each["photometric"].startswith("RGB") and each["numbers"] == "signed":
        return False
    if each["photometric"] == "RGB by planes" and each["transfer syntax"] not in PLAIN:
        return False
    if each["bits"] in ("1", "32") and each["transfer syntax"] == "explicit big endian":
        return False  # one of the kinds that are refused
    if each["bits"] == "1" and not (
        grey and each["numbers"] == "unsigned" and each["transfer syntax"] in PLAIN
    ):
        return False
    if each["rescale"] == "by slice" and each["layout"] == "one image":
        return False
    return _codec_takes(each)


def _codec_takes(each: Combination) -> bool:
    syntax, bits = each["transfer syntax"], each["bits"]
    if syntax == "JPEG baseline":
        return (
            bits == "8"
            and each["numbers"] == "unsigned"
            and each["photometric"] not in ("PALETTE COLOR", "RGB")
        )
    if syntax in ("JPEG lossless", "JPEG-LS", "JPEG 2000"):
        if bits == "32" or (each["photometric"] == "YBR_FULL" and syntax == "JPEG lossless"):
            return False
        return bits == "8" or each["photometric"] in (*GREY, "PALETTE COLOR")
    return True


class Generated:
    """The files of one combination, and what must be read from them."""

    def __init__(self, each: Combination, path: Path, seed: int) -> None:
        generator = np.random.default_rng(seed)
        allocated, stored, high = BITS[each["bits"]]
        signed = each["numbers"] == "signed"
        count = 1 if each["layout"] == "one image" else SLICES
        samples = () if each["photometric"] in (*GREY, "PALETTE COLOR") else (3,)
        low, above = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
        shape = (count, ROWS, COLUMNS, *samples)
        if each["transfer syntax"] == "JPEG baseline":
            block = generator.integers(0, 256, (count, 1, 2, *samples))
            numbers = block.repeat(8, axis=1).repeat(8, axis=2)
        else:
            numbers = generator.integers(low, above, shape)
            numbers[:, 0, 0], numbers[:, -1, -1] = low, above - 1
        photometric = "RGB" if each["photometric"] == "RGB by planes" else each["photometric"]
        self.storage = Stored(
            allocated,
            stored,
            high,
            signed,
            photometric,
            each["photometric"] == "RGB by planes",
            each["transfer syntax"],
        )
        rescales = self._rescales(each, count)
        palette, more = self._palette(generator) if photometric == "PALETTE COLOR" else (None, {})
        self.values = self._values(each, numbers, rescales, (low, above - 1), palette)
        rows, columns = np.array(ORIENTATIONS[each["plane"]]).reshape(2, 3)
        normal = np.cross(rows, columns)
        slices = [
            Slice(
                numbers[index],
                CORNER + index * STEP * normal,
                (*rows, *columns),
                SPACING,
                rescales[index],
                more if each["layout"] != "enhanced" else {},
            )
            for index in range(count)
        ]
        self.spacing = (STEP, *SPACING)[3 - (count > 1) - 2 :]
        self.direction = np.array((normal, columns, rows))[3 - (count > 1) - 2 :] * TO_RAS
        self.path = path
        modality = "CR" if each["photometric"] == "MONOCHROME1" else "CT"
        if each["layout"] == "enhanced":
            self.path = path.with_suffix(".dcm")
            content = enhanced(slices, self.storage, modality) | more
            self.path.write_bytes(file_bytes(content, self.storage.syntax))
        elif each["layout"] == "one image":
            self.path = write_series(path, slices, self.storage, modality=modality)[0]
        else:
            write_series(path, slices, self.storage, modality=modality)

    @staticmethod
    def _rescales(each: Combination, count: int) -> list[tuple[Any, Any] | None]:
        return {
            "none": [None] * count,
            "whole": [(1, -1024)] * count,
            "fractions": [("0.5", "-3.25")] * count,
            "by slice": [("0.5", 0), ("0.125", "10"), ("2", "-7.5")][:count],
        }[each["rescale"]]

    @staticmethod
    def _palette(generator: np.random.Generator) -> tuple[np.ndarray, dict[int, tuple[str, Any]]]:
        table = generator.integers(0, 2**16, (3, 256)).astype(np.uint16)
        more: dict[int, tuple[str, Any]] = {}
        for index in range(3):
            more[0x00281101 + index] = ("US", (256, 0, 16))
            more[0x00281201 + index] = ("US", tuple(table[index].tolist()))
        return table, more

    @staticmethod
    def _values(
        each: Combination,
        numbers: np.ndarray,
        rescales: list[Any],
        ends: tuple[int, int],
        palette: np.ndarray | None,
    ) -> np.ndarray:
        """Return what the numbers mean, (channels, z, y, x), in float64."""
        if palette is not None:
            return palette[:, np.minimum(numbers, 255)].astype(float)
        if each["photometric"] == "YBR_FULL" and each["transfer syntax"] != "JPEG baseline":
            luminance, blue, red = np.moveaxis(numbers.astype(float), -1, 0)
            # The inverse of the matrix in the standard.
            to_ycc = np.array(((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813)))
            ycc = np.stack((luminance, blue - 128, red - 128), axis=-1)
            return np.moveaxis(np.clip(ycc @ np.linalg.inv(to_ycc).T, 0, 255), -1, 0)
        if numbers.ndim == 4:
            return np.moveaxis(numbers, -1, 0).astype(float)
        if each["photometric"] == "MONOCHROME1" and each["rescale"] == "none":
            return (sum(ends) - numbers)[None].astype(float)
        values = [
            image * (1.0 if rescale is None else float(rescale[0]))
            + (0.0 if rescale is None else float(rescale[1]))
            for image, rescale in zip(numbers, rescales, strict=True)
        ]
        return np.stack(values)[None]

    def dtype(self, each: Combination) -> np.dtype:
        """Return the smallest type that holds all that the header allows."""
        if each["photometric"] == "PALETTE COLOR":
            return np.dtype(np.uint16)
        if each["rescale"] in ("fractions", "by slice"):
            return np.dtype(np.float32)
        stored, signed = self.storage.stored, self.storage.signed
        shift = -1024 if each["rescale"] == "whole" else 0
        low, high = (-(2 ** (stored - 1)) if signed else 0) + shift, 2 ** (stored - signed) - 1 + shift
        low, high = min(low, 0), max(high, 0)
        fitting = [
            np.dtype(name)
            for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float64")
            if name == "float64" or (np.iinfo(name).min <= low and high <= np.iinfo(name).max)
        ]
        return fitting[0]

    def differences(self, image: Image, each: Combination) -> list[str]:
        """Return in words what is not as it should be."""
        found = []
        values = self.values if len(self.spacing) == 3 else self.values[:, 0]
        tolerance: float = 0
        if image.data.dtype == np.float32:
            tolerance = float(np.abs(values).max()) * 2**-23
        if each["photometric"] == "YBR_FULL":
            tolerance = 1
        if each["transfer syntax"] == "JPEG baseline":
            tolerance = BASELINE_TOLERANCE
        if image.data.shape != values.shape:
            found.append(f"shape {image.data.shape}, not {values.shape}")
        elif np.abs(image.data.astype(float) - values).max() > tolerance:
            found.append(f"values differ by {np.abs(image.data.astype(float) - values).max()}")
        if image.data.dtype != self.dtype(each):
            found.append(f"the type is {image.data.dtype}, not {self.dtype(each)}")
        for name, wanted in (
            ("spacing", self.spacing),
            ("origin", CORNER * TO_RAS),
            ("direction", self.direction),
        ):
            if not np.allclose(getattr(image, name), wanted, rtol=0, atol=1e-6):
                found.append(f"{name} {getattr(image, name)}, not {wanted}")
        return found


def check(combinations: list[Combination], folder: Path, outcomes: Outcomes) -> None:
    """Write each combination, read it, and note what became of it."""
    for number, each in enumerate(combinations):
        generated = Generated(each, folder / str(number), seed=number)
        try:
            image = read_dicom(generated.path)
        except DataError as error:
            outcomes.differences.append(f"{each}: refused: {error.what}")
        else:
            outcomes.differences += [f"{each}: {words}" for words in generated.differences(image, each)]
            outcomes.add(each, "read")


def check_kinds(folder: Path, outcomes: Outcomes) -> None:
    """Write files of each kind, read them, and note what became of them."""
    for number, (name, (write, series, refusal)) in enumerate(KINDS.items()):
        path = folder / f"kind{number}" / "scan"
        path.parent.mkdir()
        write(path)
        try:
            image = read_dicom(path, series=series)
        except DataError as error:
            if refusal is None or not re.search(refusal, error.what) or not error.hint:
                outcomes.differences.append(f"{name}: refused: {error.what}")
            outcomes.add({"kind": name}, "refused")
        else:
            if refusal is not None or not np.array_equal(image.data[0], VOLUME):
                outcomes.differences.append(f"{name}: read, with other values or against the contract")
            if not np.allclose(image.origin, (-1, -2, 3)) or not np.allclose(image.spacing, (2, 0.75, 0.5)):
                outcomes.differences.append(f"{name}: origin {image.origin}, spacing {image.spacing}")
            outcomes.add({"kind": name}, "read")


def test_files_of_all_kinds(tmp_path: Path, record_property: Any) -> None:
    outcomes = Outcomes("DICOM")
    check(covering_combinations(FEATURES, exists, at_least=90), tmp_path, outcomes)
    check_kinds(tmp_path, outcomes)
    outcomes.check(possible_pairs(FEATURES, exists), record_property)


@pytest.mark.slow
def test_thousands_of_files(tmp_path: Path, record_property: Any) -> None:
    outcomes = Outcomes("DICOM")
    check(covering_combinations(FEATURES, exists, at_least=3000, seed=1), tmp_path, outcomes)
    assert outcomes.differences == []
    record_property("summary", outcomes.summary(possible_pairs(FEATURES, exists)))


def is_clear_to_gdcm(each: Combination) -> bool:
    """Return whether GDCM gives the numbers that are there: some bits and colours it turns its own way."""
    return (
        each["bits"] in ("8", "12 of 16", "16")
        and each["photometric"] in ("MONOCHROME2", "RGB", "RGB by planes")
        and each["layout"] != "enhanced"
        and each["transfer syntax"] != "JPEG baseline"
        and not (each["transfer syntax"] == "RLE" and each["photometric"] == "RGB" and each["bits"] != "8")
        # Of differences of 2**15 and more it takes another than was encoded.
        and not (each["transfer syntax"] == "JPEG lossless" and each["bits"] == "16")
    )


def test_another_reader_sees_the_same_files(tmp_path: Path) -> None:
    """GDCM confirms the generator: values and geometry."""
    chosen = list(filter(is_clear_to_gdcm, covering_combinations(FEATURES, exists, at_least=300)))
    assert {each["transfer syntax"] for each in chosen} == set(SYNTAXES) - {"JPEG baseline"}
    for number, each in enumerate(chosen):
        generated = Generated(each, tmp_path / str(number), seed=number)
        normal = np.cross(*np.array(ORIENTATIONS[each["plane"]]).reshape(2, 3))
        for path in [generated.path] if generated.path.is_file() else sorted(generated.path.iterdir()):
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(path))
            image = reader.Execute()
            index = round(float((np.array(image.GetOrigin()) - CORNER) @ normal / STEP))
            expected = np.moveaxis(generated.values[:, index], 0, -1)
            found = sitk.GetArrayFromImage(image)[0].reshape(expected.shape)
            assert np.allclose(found, expected, rtol=1e-6, atol=1e-6), each
            assert np.allclose(image.GetSpacing()[:2], SPACING[::-1]), each
