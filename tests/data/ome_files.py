"""TIFF files with OME-XML that tests write, well or badly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conformance.tiff_writer import ASCII, LONG, Coding, page_of, tiff_file

RNG = np.random.default_rng(0)


PLANES = RNG.integers(0, 256, (6, 4, 5, 1), np.uint8)


def ome_file(path: Path, xml: str, planes: np.ndarray = PLANES, *, first: int = 0) -> Path:
    """Write the planes as pages, with ``xml`` in the first of them; ``first`` thumbnails come before."""
    pages = [page_of(plane, 1 if plane.shape[-1] == 1 else 2, Coding()) for plane in planes]
    pages = [page_of(planes[0, :2, :2], 1, Coding(), t254=(LONG, 1))] * first + pages
    pages[0].tags[270] = (ASCII, xml)
    path.write_bytes(tiff_file(pages))
    return path


def xml_of(
    inner: str = "",
    *,
    order: str = "XYCZT",
    channels: int = 2,
    slices: int = 3,
    more: str = "",
    root: str = "",
) -> str:
    return (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}><Image ID="Image:0"><Pixels '
        f'ID="Pixels:0" DimensionOrder="{order}" Type="uint8" SizeX="5" SizeY="4" SizeC="2" '
        f'SizeZ="{slices}" SizeT="1" {more}>{inner}</Pixels></Image></OME>'
    )


OWN = 'UUID="urn:uuid:1"'
