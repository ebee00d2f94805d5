"""How a NIfTI header places an image in the world, and the header that places a label map on an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swin_umamba.data.image import (
    DIRECTION_TOLERANCE,
    ORIGIN_TOLERANCE_IN_VOXELS,
    SPACING_RELATIVE_TOLERANCE,
    Image,
)
from swin_umamba.errors import DataError

if TYPE_CHECKING:
    from nibabel import Nifti1Header

# The three lowest bits of xyzt_units. All readers take lengths without a unit as millimetres.
UNIT_MASK = 0b111
UNIT_IN_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
UNIT_NAME = {0: "mm", 1: "m", 2: "mm", 3: "micrometres"}
# Largest cosine of the angle between two axes. SimpleITK refuses more, and nnU-Net could not resample it.
SHEAR_TOLERANCE = 1e-4
# If a header differs by more than float32 rounding, its lengths come from the matrix, not from pixdim.
FLOAT32_ROUNDING = 1e-5
LARGEST_NIFTI1_SIZE = 32767

# All fields that determine where the voxels are. Nothing else from a source is copied to files made from it:
# free text (descrip, aux_file, intent_name, db_name) and extensions contain names of people and files.
_PLACEMENT = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
_QFORM, _SFORM = "qform", "sform"


def with_geometry(data: np.ndarray, path: Path, header: Nifti1Header) -> Image:
    """Return ``data``, ``(channels, [z,] y, x)``, as an image placed in the world by its header.

    Spacing and origin are in mm, whatever the header's unit. The sform takes precedence over the qform; a
    header with neither (both codes 0) gives an image without orientation.

    Raises
    ------
    DataError
        The header gives no place, or two that differ.
    """
    ndim = data.ndim - 1
    unit = header["xyzt_units"].item() & UNIT_MASK
    if unit not in UNIT_IN_MM:
        raise DataError(
            f"the header gives lengths in a unit that does not exist (xyzt_units {unit})",
            where=path,
            hint="set the unit in the header: 2 for millimetres, 3 for micrometres",
        )
    pixdim = header["pixdim"][1 : ndim + 1].astype(float)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise DataError(
            f"the spacing must be positive, and is {tuple(pixdim.tolist())} {UNIT_NAME[unit]}",
            where=path,
            hint="correct pixdim in the header, or copy the file again",
        )
    scale = UNIT_IN_MM[unit]
    image = replace(
        Image.without_geometry(data, path),
        spacing=tuple((pixdim[::-1] * scale).tolist()),
        header=header,
        has_spacing=True,
    )
    forms = _forms(path, header, ndim)
    if not forms:
        return image
    for name, form in forms.items():
        _check_form(path, name, form[:, [*range(ndim), 3]], pixdim)
    if len(forms) == 2:
        _check_agreement(path, header, forms[_SFORM], forms[_QFORM], ndim)
    elif _SFORM in forms:
        check_angles(path, forms[_SFORM][:, :ndim])
    form = forms[_SFORM] if _SFORM in forms else forms[_QFORM]
    lengths = np.linalg.norm(form[:, :ndim], axis=0)
    # Where both agree, use the plain number of pixdim, as nnU-Net does.
    spacing = pixdim if np.allclose(lengths, pixdim, rtol=FLOAT32_ROUNDING, atol=0) else lengths
    return replace(
        image,
        spacing=tuple((spacing[::-1] * scale).tolist()),
        origin=tuple((form[:, 3] * scale).tolist()),
        direction=tuple(tuple(axis.tolist()) for axis in (form[:, :ndim] / lengths).T[::-1]),
        has_orientation=True,
    )


def _forms(path: Path, header: Nifti1Header, ndim: int) -> dict[str, np.ndarray]:
    """Return the matrices (3 x 4, in the header's unit) that the header declares, by name."""
    codes = {_QFORM: header["qform_code"].item(), _SFORM: header["sform_code"].item()}
    if not all(code in range(6) for code in codes.values()):
        raise DataError(
            f"the orientation codes {tuple(codes.values())} do not exist",
            where=path,
            hint="correct qform_code and sform_code in the header, or copy the file again",
        )
    forms = {}
    if codes[_SFORM]:
        forms[_SFORM] = header.get_sform().astype(float)[:3]
    if codes[_QFORM]:
        completed = header.copy()
        handedness = header["pixdim"][0].item()
        if handedness not in (-1, 0, 1):
            raise DataError(
                f"pixdim[0], the handedness of the qform, is {handedness}, and should be 1 or -1",
                where=path,
                hint="correct pixdim[0] in the header, or copy the file again",
            )
        completed["pixdim"][0] = handedness or 1  # the standard's rule for 0
        if ndim == 2:  # a picture has no third spacing, but the quaternion form multiplies by it
            completed["pixdim"][3] = 1
        from nibabel.spatialimages import HeaderDataError

        try:
            with np.errstate(all="ignore"):
                forms[_QFORM] = completed.get_qform().astype(float)[:3]
        except (ValueError, HeaderDataError) as error:
            raise DataError(
                f"the orientation in the header is invalid: {error}",
                where=path,
                hint="correct the quaternion in the header, or copy the file again",
            ) from error
    return forms


def _check_form(path: Path, name: str, form: np.ndarray, pixdim: np.ndarray) -> None:
    """Refuse a matrix (axes and origin) that is invalid, or whose lengths differ from pixdim."""
    if not np.isfinite(form).all():
        raise DataError(f"the {name} holds NaN or infinity", where=path, hint="correct it in the header")
    axes = form[:, :-1]
    lengths = np.linalg.norm(axes, axis=0)
    if not (lengths > 0).all() or np.linalg.matrix_rank(axes / lengths, tol=1e-4) < axes.shape[1]:
        raise DataError(
            f"the {name} is singular: two axes of the image have the same direction, or one has none",
            where=path,
            hint="correct sform or qform in the header",
        )
    if not np.allclose(lengths, pixdim, rtol=SPACING_RELATIVE_TOLERANCE, atol=0):
        raise DataError(
            f"the header contradicts itself: spacing {tuple(pixdim.tolist())}, "
            f"but its {name} has {tuple(lengths.round(6).tolist())}",
            where=path,
            hint="correct pixdim or the matrix in the header",
        )


def _check_agreement(
    path: Path, header: Nifti1Header, sform: np.ndarray, qform: np.ndarray, ndim: int
) -> None:
    """Refuse a header with two places: nibabel uses one of them, and SimpleITK often the other."""
    units = [form[:, :ndim] / np.linalg.norm(form[:, :ndim], axis=0) for form in (sform, qform)]
    smallest = np.linalg.norm(sform[:, :ndim], axis=0).min()
    turned = np.abs(units[0] - units[1]).max() > DIRECTION_TOLERANCE
    shift = float(np.abs(sform[:, 3] - qform[:, 3]).max())
    if turned or not shift <= ORIGIN_TOLERANCE_IN_VOXELS * smallest:
        what = " and ".join(
            word
            for word, differs in (
                ("other directions of the axes", turned),
                (f"an origin that is {shift:.6g} away", shift > 0),
            )
            if differs
        )
        raise DataError(
            f"sform (code {header['sform_code'].item()}) and qform (code {header['qform_code'].item()}) "
            f"disagree: the one has {what}, and programs differ in which of them they take",
            where=path,
            hint="find out which one is right, and write it to both (nibabel: image.set_qform(image.affine))",
        )


def check_angles(path: Path, axes: np.ndarray) -> None:
    """Refuse axis directions (columns) that are not at right angles."""
    units = axes / np.linalg.norm(axes, axis=0)
    cosine = float(np.abs(units.T @ units - np.eye(units.shape[1])).max())
    if cosine > SHEAR_TOLERANCE:
        raise DataError(
            "sheared images are not supported: two axes of this one are "
            f"{np.degrees(np.arccos(min(cosine, 1.0))):.4g} degrees apart, and not 90",
            where=path,
            hint="resample the image onto a rectangular grid",
        )


def header_like(image: Image, dtype: np.dtype) -> Nifti1Header:
    """Return a header for one channel of voxels of ``dtype`` on the grid of ``image``.

    The placement of an image that came from NIfTI is copied bit by bit, with its unit and NIfTI version; no
    other field is.
    """
    from nibabel import Nifti1Header, Nifti2Header

    source = image.header
    shape = image.spatial_shape[::-1]
    wide = isinstance(source, Nifti2Header) or max(shape) > LARGEST_NIFTI1_SIZE
    header = Nifti2Header() if wide else Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(1, 0)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    if source is not None:
        for name in _PLACEMENT:
            header[name] = source[name]
        header["pixdim"][:4] = source["pixdim"][:4]
        header["xyzt_units"] = source["xyzt_units"].item() & UNIT_MASK
        return header
    header["pixdim"][1 : len(shape) + 1] = image.spacing[::-1]
    if image.has_spacing:
        header["xyzt_units"] = 2
    if image.is_placed:
        affine, code = _affine(image), "scanner" if image.has_orientation else "aligned"
        header.set_sform(affine, code=code)
        header.set_qform(affine, code=code)
        header["pixdim"][1 : len(shape) + 1] = image.spacing[::-1]
    return header


def _affine(image: Image) -> np.ndarray:
    affine = np.eye(4)
    for column, (axis, length) in enumerate(zip(image.direction[::-1], image.spacing[::-1], strict=True)):
        affine[:3, column] = np.asarray(axis) * length
    if len(image.direction) == 2:  # the normal of the plane, as the third column must not lie in it
        affine[:3, 2] = np.cross(image.direction[1], image.direction[0])
    affine[:3, 3] = image.origin
    return affine
