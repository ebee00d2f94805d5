"""OME-XML in TIFF files: which page is what, and that no other file is opened."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile

from data.ome_files import OWN, PLANES, RNG, ome_file, xml_of
from swin_umamba.data.image_io import read_image
from swin_umamba.errors import DataError


@pytest.mark.parametrize("order", ["XY" + "".join(each) for each in itertools.permutations("CZT")])
@pytest.mark.parametrize(
    "inner", ["", "<TiffData/>", '<TiffData IFD="0" PlaneCount="6"/>', '<TiffData FirstZ="0"/>']
)
def test_every_order_of_dimensions(tmp_path: Path, order: str, inner: str) -> None:
    image = read_image(ome_file(tmp_path / "a.tif", xml_of(inner, order=order)))
    planes = PLANES[..., 0]
    if order.index("C") < order.index("Z"):
        expected = planes.reshape(3, 2, 4, 5).swapaxes(0, 1)
    else:
        expected = planes.reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(image.data, expected)


def test_a_page_for_each_plane_in_any_order(tmp_path: Path) -> None:
    places = list(itertools.product(range(2), range(3)))
    pages = RNG.permutation(6).tolist()
    inner = "".join(
        f'<TiffData FirstC="{channel}" FirstZ="{number}" FirstT="0" IFD="{page + 1}"/>'
        for (channel, number), page in zip(places, pages, strict=True)
    )
    image = read_image(ome_file(tmp_path / "a.tif", xml_of(inner), first=1))
    np.testing.assert_array_equal(image.data, PLANES[pages, ..., 0].reshape(2, 3, 4, 5))


def test_what_tifffile_writes(tmp_path: Path) -> None:
    data = RNG.integers(0, 60000, (2, 3, 7, 6), np.uint16)
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 300, "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 1e-6}
    sizes["PhysicalSizeZUnit"] = "m"
    tifffile.imwrite(
        tmp_path / "a.ome.tif", data, ome=True, metadata={"axes": "CZYX", **sizes}, tile=(16, 16)
    )
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, data)
    assert image.has_spacing
    np.testing.assert_allclose(image.spacing, (1e-3, 3e-4, 2e-4))
    rgb = RNG.integers(0, 256, (7, 6, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "b.ome.tif", rgb, ome=True, photometric="rgb", metadata={"PhysicalSizeX": 0.2}
    )
    image = read_image(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(image.data, rgb.transpose(2, 0, 1))
    assert not image.has_spacing  # only one of two is there


@pytest.mark.parametrize(
    ("identity", "name"),
    [("urn:uuid:1", 'FileName="renamed.tif"'), ("urn:uuid:1", ""), ("urn:uuid:2", 'FileName="a.tif"')],
)
def test_a_file_that_names_itself(tmp_path: Path, identity: str, name: str) -> None:
    inner = f'<TiffData IFD="0" PlaneCount="6"><UUID {name}>{identity}</UUID></TiffData>'
    xml = xml_of(inner, root=OWN)
    assert read_image(ome_file(tmp_path / "a.tif", xml)).data.shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (xml_of().replace('SizeT="1"', 'SizeT="3"'), "3 points in time .* not supported"),
        (xml_of().replace("</OME>", '<Image ID="Image:1"/></OME>'), "2 images .* not supported"),
        (xml_of(slices=4), "8 planes, but there are 6 pages"),
        (xml_of().replace('SizeX="5"', 'SizeX="6"'), "6 x 4 pixels .* its pages hold 5 x 4"),
        (xml_of(order="XYZZT"), "XYZZT"),
        (xml_of(order="XZYCT"), "XZYCT"),
        (xml_of('<TiffData IFD="0" PlaneCount="5"/>'), "planes without a page"),
        (xml_of('<TiffData IFD="2" PlaneCount="6"/>'), "a plane that is not there"),
        (xml_of('<TiffData/><TiffData IFD="0"/>'), "has another page"),
        (xml_of('<TiffData FirstC="2"/>'), "FirstC=2 of 2"),
        (xml_of('<TiffData PlaneCount="999999999"/>'), "a plane that is not there"),
        (xml_of('<TiffData PlaneCount="9999999999999"/>'), "PlaneCount"),
        (xml_of('<TiffData IFD="-1"/>'), "IFD='-1'"),
        (xml_of("<BinData>AAAA</BinData>"), "stand in their OME-XML .* not supported"),
        (xml_of()[:-9], "cannot be read"),
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "e">]>' + xml_of(), "cannot be read"),
        (xml_of().replace("<Pixels", "<Other").replace("</Pixels", "</Other"), "0 sets of pixels"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, xml: str, why: str) -> None:
    with pytest.raises(DataError, match=f"(?s){why}"):
        read_image(ome_file(tmp_path / "a.tif", xml))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.25"', None),
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.25" PhysicalSizeZ="2"', (2e-3, 2.5e-4, 5e-4)),
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.25" PhysicalSizeZ="0"', None),
        ('PhysicalSizeX="NaN" PhysicalSizeY="0.25" PhysicalSizeZ="2"', None),
        ('PhysicalSizeX="a" PhysicalSizeY="0.25" PhysicalSizeZ="2"', None),
        *(
            (
                f'PhysicalSizeX="1" PhysicalSizeXUnit="{unit}" PhysicalSizeY="1" PhysicalSizeYUnit="{unit}" '
                f'PhysicalSizeZ="3" PhysicalSizeZUnit="{unit}"',
                None if length is None else (3 * length, length, length),
            )
            for unit, length in {
                "µm": 1e-3,
                "μm": 1e-3,
                "nm": 1e-6,
                "Å": 1e-7,
                "pm": 1e-9,
                "mm": 1,
                "cm": 10,
                "dm": 100,
                "m": 1e3,
                "in": 25.4,
                "thou": 0.0254,
                **dict.fromkeys(("pixel", "reference frame", "Mm", "parsec")),
            }.items()
        ),
    ],
)
def test_sizes_and_their_units(tmp_path: Path, more: str, expected: tuple[float, ...] | None) -> None:
    image = read_image(ome_file(tmp_path / "a.tif", xml_of(more=more)))
    assert image.has_spacing == (expected is not None)
    np.testing.assert_allclose(image.spacing, expected or (1, 1, 1))
