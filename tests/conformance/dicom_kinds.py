"""Kinds of DICOM files and folders beyond single features: what discs, archives and scanners leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from conformance.dicom_files import (
    MR,
    SECONDARY,
    Elements,
    Slice,
    Stored,
    enhanced,
    file_bytes,
    single,
    write_series,
)

VOLUME = np.arange(5 * 6 * 7).reshape(5, 6, 7) * 3
REPORT, SEGMENTATION, DOSE, DIRECTORY = (
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.1.3.10",
)
KINDS: dict[str, tuple[Callable[[Path], None], str | None, str | None]] = {}
"""Name to: what writes the files into a folder; the series to choose; words of the refusal.

Without a refusal, reading must give ``VOLUME``.
"""


def kind(
    name: str, refusal: str | None = None, series: str | None = None
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register what writes files of a kind."""

    def register(write: Callable[[Path], None]) -> Callable[[Path], None]:
        KINDS[name] = (write, series, refusal)
        return write

    return register


def stack(step: float = 2.0, shift: float = 0.0, more: Elements | None = None) -> list[Slice]:
    """Return the slices of ``VOLUME``, axial and evenly spaced."""
    return [
        Slice(image, (1.0, 2.0 + index * shift, 3.0 + index * step), more=dict(more or {}))
        for index, image in enumerate(VOLUME)
    ]


@kind("a disc (subfolders with a DICOMDIR and a report)")
def _disc(folder: Path) -> None:
    for index, slice_ in enumerate(stack()):
        inner = folder / "DICOM" / f"S{index % 2}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"I{index}").write_bytes(file_bytes(single(slice_, Stored(), index)))
    (folder / "DICOMDIR").write_bytes(
        file_bytes({0x00080016: ("UI", DIRECTORY), 0x00041500: ("CS", "..\\..\\SECRET")})
    )
    (folder / "DICOM" / "SR1").write_bytes(
        file_bytes({0x00080016: ("UI", REPORT), 0x00080060: ("CS", "SR"), 0x0020000E: ("UI", "1.2.3.10")})
    )
    (folder / "README.TXT").write_text("a viewer")
    (folder / ".hidden.dcm").write_text("no image")


@kind("several series", "2 DICOM series")
def _several(folder: Path) -> None:
    write_series(folder / "a", stack())
    write_series(folder / "b", [Slice(VOLUME[0])], series="1.2.3.10")


@kind("several series with one chosen by UID", series="1.2.3.9")
def _chosen(folder: Path) -> None:
    _several(folder)


@kind("several patients", "of 2 patients")
def _patients(folder: Path) -> None:
    write_series(folder / "a", stack())
    write_series(folder / "b", [Slice(VOLUME[0], more={0x00100020: ("LO", "other")})], series="1.2.3.10")


@kind("several patients in one series", "belong to several patients")
def _mixed(folder: Path) -> None:
    write_series(folder / "a", stack())
    write_series(folder / "b", [Slice(VOLUME[0], (1, 2, 13), more={0x00100020: ("LO", "other")})])


@kind("no preamble and no meta header")
def _bare(folder: Path) -> None:
    folder.mkdir()
    for index, slice_ in enumerate(stack()):
        syntax = ("implicit little endian", "explicit little endian", "explicit big endian")[index % 3]
        content = file_bytes(single(slice_, Stored(syntax=syntax), index), syntax, meta=False)
        (folder / f"{9 - index}").write_bytes(content)


@kind("a slice missing", r"not evenly spaced: 4 mm between \d+\.dcm at \(1, 2, 5\)")
def _missing(folder: Path) -> None:
    write_series(folder, [slice_ for index, slice_ in enumerate(stack()) if index != 2])


@kind("uneven gaps", "not evenly spaced")
def _uneven(folder: Path) -> None:
    slices = stack()
    slices[4].position = (1.0, 2.0, 11.5)
    write_series(folder, slices)


@kind("several volumes in a series", "EchoTime 10 / 20")
def _echoes(folder: Path) -> None:
    write_series(folder / "a", stack(more={0x00180081: ("DS", 10)}))
    write_series(folder / "b", stack(more={0x00180081: ("DS", 20)}))


@kind("several volumes in a series with one chosen", series="7:EchoTime=10:AcquisitionNumber=1")
def _chosen_echo(folder: Path) -> None:
    for echo in (10, 20):
        for number in (1, 2):
            more: Elements = {0x00180081: ("DS", echo), 0x00200012: ("IS", number)}
            slices = stack(more=more)
            if (echo, number) != (10, 1):
                slices = [Slice(each.numbers + 1, each.position, more=each.more) for each in slices]
            write_series(folder / f"{echo} {number}", slices)


@kind("a tilted gantry", "tilted by 14 degrees")
def _tilted(folder: Path) -> None:
    write_series(folder, stack(shift=0.5))


@kind("slices of several orientations", "several orientations")
def _localizer(folder: Path) -> None:
    write_series(folder, [*stack(), Slice(VOLUME[0], orientation=(0, 1, 0, 0, 0, -1))])


@kind("slices of several sizes", "several sizes")
def _sizes(folder: Path) -> None:
    write_series(folder, [*stack(), Slice(VOLUME[0, :4], (1, 2, 13))])


@kind("slices without positions", "positions of 5 of 5 images are not known")
def _unplaced(folder: Path) -> None:
    write_series(folder, [Slice(image, None, None) for image in VOLUME])


@kind("numbers of several bit depths and signs in one series")
def _depths(folder: Path) -> None:
    for index, slice_ in enumerate(stack()):
        stored = (Stored(), Stored(stored=12), Stored(signed=True))[index % 3]
        write_series(folder / str(index), [slice_], stored)


@kind("overlays in the bits beside the numbers")
def _overlay(folder: Path) -> None:
    write_series(folder, stack(more={0x60000102: ("US", 12)}), Stored(stored=12, beside=0xF000))


@kind("a padding value outside of the field of view")
def _padding(folder: Path) -> None:
    more: Elements = {0x00280120: ("US", 0)}
    slices = [Slice(each.numbers + 24, each.position, rescale=(1, -24), more=more) for each in stack()]
    write_series(folder, slices)


@kind("PET rescaled slice by slice")
def _pet(folder: Path) -> None:
    more: Elements = {0x00541001: ("CS", "BQML")}
    slices = [
        Slice(each.numbers * 2**index, each.position, rescale=(0.5**index, 0), more=more)
        for index, each in enumerate(stack())
    ]
    write_series(folder, slices, modality="PT")


@kind("enhanced with frames in no order")
def _shuffled(folder: Path) -> None:
    folder.mkdir()
    slices = stack()
    (folder / "1").write_bytes(file_bytes(enhanced([slices[index] for index in (3, 0, 4, 1, 2)], Stored())))


@kind("enhanced with several points of time", "TemporalPositionIndex 1 / 2")
def _times(folder: Path) -> None:
    folder.mkdir()
    slices = [
        each for time in (1, 2) for each in stack(more={0x00209111: ("SQ", [{0x00209128: ("UL", time)}])})
    ]
    (folder / "1").write_bytes(file_bytes(enhanced(slices, Stored())))


@kind("a film (frames without positions)", "positions of 5 of 5 images are not known")
def _film(folder: Path) -> None:
    folder.mkdir()
    content = single(Slice(VOLUME[0], None, None), Stored()) | Stored().elements(VOLUME)
    (folder / "1").write_bytes(file_bytes(content | {0x00080016: ("UI", SECONDARY)}))


@kind("a segmentation alone", "only 1 x segmentation")
def _segmentation(folder: Path) -> None:
    write_series(folder, [Slice(VOLUME[0], more={0x00080016: ("UI", SEGMENTATION)})])


@kind("a radiotherapy dose beside the images")
def _dose(folder: Path) -> None:
    write_series(folder / "a", stack())
    write_series(folder / "b", [Slice(VOLUME[0], more={0x00080016: ("UI", DOSE)})], series="1.2.3.10")


@kind("a lookup table of values", "Modality LUT Sequence")
def _lut(folder: Path) -> None:
    write_series(folder, stack(more={0x00283000: ("SQ", [{0x00283006: ("US", 1)}])}))


@kind("a mosaic", "mosaics, .* are not supported")
def _mosaic(folder: Path) -> None:
    more: Elements = {0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC")}
    write_series(folder, [Slice(VOLUME[0], more=more)], modality="MR")


@kind("a slope without an intercept", "cannot be rescaled")
def _half(folder: Path) -> None:
    write_series(folder, stack(more={0x00281053: ("DS", 2)}))


@kind("a segmented palette", "segmented palettes are not supported")
def _palette(folder: Path) -> None:
    more: Elements = {0x00281101: ("US", (256, 0, 16)), 0x00281221: ("OW", b"\0\0")}
    write_series(folder, [Slice(VOLUME[0] % 256, more=more)], Stored(photometric="PALETTE COLOR"))


@kind("32 bits in big-endian order", "not supported")
def _wide(folder: Path) -> None:
    write_series(folder, stack(), Stored(32, 32, syntax="explicit big endian"))


@kind("1 bit in big-endian order", "not supported")
def _narrow(folder: Path) -> None:
    write_series(folder, [Slice(VOLUME[0] % 2)], Stored(1, 1, syntax="explicit big endian"))


@kind("MPEG-4", "MPEG-4 AVC/H.264 .* are not supported")
def _mpeg(folder: Path) -> None:
    folder.mkdir()
    content = single(Slice(VOLUME[0]), Stored()) | {0x7FE00010: ("OB", [b"\0\0\0\1"])}
    (folder / "1").write_bytes(file_bytes(content, "1.2.840.10008.1.2.4.102"))


@kind("a link out of the folder", "leads out of the folder")
def _link(folder: Path) -> None:
    paths = write_series(folder, stack())
    paths[2].rename(folder.parent / "elsewhere.dcm")
    paths[2].symlink_to(folder.parent / "elsewhere.dcm")


@kind("a file cut short", "pixels are missing")
def _cut(folder: Path) -> None:
    path = write_series(folder, stack())[1]
    path.write_bytes(path.read_bytes()[:-20])


@kind("a MetaImage header that is named DICOM", "ends within its header")
def _other_format(folder: Path) -> None:
    folder.mkdir()
    (folder.parent / "secret").write_bytes(bytes(64))
    head = "ObjectType = Image\nNDims = 3\nComment = ".ljust(128, "x") + "DICM\nDimSize = 8 8 1\n"
    (folder / "1.dcm").write_text(
        head + f"ElementType = MET_UCHAR\nElementDataFile = {folder.parent / 'secret'}\n"
    )


@kind("several series with one chosen by number", series="7")
def _number(folder: Path) -> None:
    write_series(folder / "a", stack(more={0x00080016: ("UI", MR)}), modality="MR")
    write_series(folder / "b", [Slice(VOLUME[0], more={0x00200011: ("IS", 8)})], series="1.2.3.10")
