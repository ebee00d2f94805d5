"""``--anonymous`` on DICOM: identifiers planted wherever people put them are in no output, also unpacked."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.dicom_files import Elements
from inference.studies.trees import SAGITTAL, Written, write_directory, write_tree
from swin_umamba.cli.main import main

NAME, FAMILY, PATIENT_ID = "MUSTERFRAU^ERIKA", "MUSTERFRAU", "PID4711007"
PLANTED = {
    "patient's name": FAMILY,
    "given name": "ERIKA",
    "patient's ID": PATIENT_ID,
    "birth date": "19640812",
    "study date": "20240229",
    "time": "131415",
    "accession number": "ACC998877",
    "institution": "Krankenhaus Entenhausen",
    "physician": "DR_EISENBART",
    "address": "Waldweg 7",
    "study UID": "1.2.826.77.1",
    "series UID": "1.2.826.77.2",
    "frame of reference": "1.2.826.77.4",
    "description": "knee of FRAU M",
    "folder": "Erika_M_geb_1964",
    "file": "muster_im",
}
HEADER: Elements = {
    0x00080020: ("DA", PLANTED["study date"]),
    0x00080021: ("DA", PLANTED["study date"]),
    0x00080022: ("DA", PLANTED["study date"]),
    0x00080030: ("TM", PLANTED["time"]),
    0x00080032: ("TM", PLANTED["time"]),
    0x00080050: ("SH", PLANTED["accession number"]),
    0x00080080: ("LO", PLANTED["institution"]),
    0x00080090: ("PN", PLANTED["physician"]),
    0x00081030: ("LO", f"study of {NAME}"),
    0x0008103E: ("LO", PLANTED["description"]),
    0x00081050: ("PN", PLANTED["physician"]),
    0x00100010: ("PN", NAME),
    0x00100020: ("LO", PATIENT_ID),
    0x00100030: ("DA", PLANTED["birth date"]),
    0x00101040: ("LO", PLANTED["address"]),
    0x0020000D: ("UI", PLANTED["study UID"]),
    0x00200010: ("SH", PLANTED["accession number"]),
    0x00200052: ("UI", PLANTED["frame of reference"]),
}


def planted_series(folder: str, number: int, **more: object) -> Written:
    """Return a series of the patient, whose UID is planted, too."""
    uid = f"{PLANTED['series UID']}.{number}"
    place = f"{PLANTED['folder']}/{FAMILY} {PLANTED['study date']}/{folder}"
    return Written(place, uid, number=number, more=HEADER, **more)  # type: ignore[arg-type]


def renamed(paths: list[Path]) -> list[Path]:
    """Give files the names of a patient, and return the new ones."""
    return [path.rename(path.with_name(f"{PLANTED['file']}_{PATIENT_ID}_{path.name}")) for path in paths]


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """Return a disc with good and bad series of one patient, in folders and files of her name."""
    root = tmp_path / f"{FAMILY}_{PATIENT_ID}"
    write_tree(root, [])
    renamed(planted_series("good", 1).write(root))
    renamed(planted_series("flat", 2, images=1).write(root))
    renamed(planted_series("gap", 3).write(root))[2].unlink()
    renamed(planted_series("planes", 4).write(root))
    other = planted_series("planes", 8, orientation=SAGITTAL)
    other.uid = f"{PLANTED['series UID']}.4"
    renamed(other.write(root))
    twice = planted_series("twice", 5)
    renamed(twice.write(root))
    twice.folder += f"/{NAME}"
    twice.more = HEADER | {0x00080032: ("TM", "131416")}
    renamed(twice.write(root))
    cut = renamed(planted_series("cut", 6).write(root))[1]
    cut.write_bytes(cut.read_bytes()[:-50])
    frames = renamed(planted_series("frames", 9).write(root))[1]
    own = PLANTED["frame of reference"]
    frames.write_bytes(frames.read_bytes().replace(own.encode(), f"{own[:-1]}9".encode()))
    for path in renamed(planted_series("video", 7).write(root)):
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.102"[:20]))
    damaged = root / PLANTED["folder"] / f"{PATIENT_ID}.dcm"
    damaged.write_bytes(NAME.encode() * 20)
    (root / f"{FAMILY} out").symlink_to("/etc")
    (root / f"{FAMILY} round").symlink_to(f"{FAMILY} round")
    write_directory(root, [f"..\\{PATIENT_ID}", f"{FAMILY}\\LOST"])
    return root


def contents(name: str, content: bytes) -> Iterator[bytes]:
    """Yield the name of a file, its content, and what can be unpacked of it."""
    yield name.encode()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from contents(name, gzip.decompress(content))
    if content[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for each in archive.namelist():
                yield from contents(each, archive.read(each))
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        place = 8
        while place < len(content):
            size = int.from_bytes(content[place : place + 4], "big")
            if content[place + 4 : place + 8] in (b"zTXt", b"iTXt"):
                yield zlib.decompress(content[place + 8 : place + 8 + size].partition(b"\0\0")[2])
            place += size + 12


def leaks(root: Path, printed: str) -> list[str]:
    """Return which planted identifiers are in files below a folder or in a text, in any spelling."""
    written = [
        part
        for path in root.rglob("*")
        for part in contents(path.relative_to(root).as_posix(), path.read_bytes() if path.is_file() else b"")
    ]
    everything = [part.lower() for part in (*written, printed.encode())]
    found = []
    for name, value in PLANTED.items():
        spelled = {value, json.dumps(value)[1:-1], value.replace(" ", "-"), value.replace("_", "-")}
        spelled |= {value[:4] + "-" + value[4:6] + "-" + value[6:]} if "date" in name else set()
        forms = [
            form.lower().encode(code) for form in spelled for code in ("utf-8", "utf-16-le", "utf-16-be")
        ]
        for part in everything:
            for form in forms:
                place = part.find(form)
                if place >= 0:
                    found.append(f"{name}: {part[max(place - 150, 0) : place + 150]!r}")
    return found


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" + FAMILY.encode()))
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{PATIENT_ID}.npy", gzip.compress(b"on 2024-02-29"))
    found = {each.partition(":")[0] for each in leaks(tmp_path, "by dr_eisenbart")}
    assert found == {"patient's name", "patient's ID", "study date", "physician"}


@pytest.fixture
def model(tmp_path: Path, make_model_at: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a model; the current folder is an empty one beside it, the key of pseudonyms is a new one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return make_model_at(tmp_path / "model")


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_studies(
    disc: Path, debug: tuple[str, ...], tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fast = ("predict", "-m", str(model), "--device", "cpu", "--anonymous", *debug)
    more = ("--confidence", "--probabilities", "--preview", "--instances")
    flat = (*more, "--objects", "geojson", "rois", "--max-slices", "1")
    printed = ""
    one = f"{PLANTED['series UID']}.1"
    for code, *command in (
        (1, *fast, "-i", str(disc), "-o", "out", "--min-slices", "2", *more),
        (1, *fast, "-i", f"../{disc.name}", "-o", "out", "--min-slices", "2", *more, "--json"),
        (0, *fast, "-i", str(disc), "-o", "flat", *flat),
        (0, *fast, "-i", str(disc), "-o", "none", "--dry-run"),
        (0, *fast, "-i", f"../{disc.name}", "-o", "none", "--dry-run", "--json"),
        (0, *fast, "-i", str(disc), "-o", "none", "--dry-run", "--json", "--series", one),
        (2, *fast, "-i", str(disc), "-o", "none", "--series-modality", "PT"),
        (0, "report", "out", "-o", "report.html", "--anonymous"),
        (0, "statistics", "out", "--anonymous", "-o", "table.csv"),
    ):
        if debug and code == 2:
            continue  # it raises the error, with a traceback
        assert main(command) == code, (command, capfd.readouterr())
        printed += "".join(capfd.readouterr())
    assert leaks(tmp_path / "work", printed) == []
    manifest = json.loads(Path("out/studies.json").read_text())
    assert [each["status"] for each in manifest["series"]].count("written") == 0  # the second run kept them
    assert [each["status"] for each in manifest["series"]].count("kept") == 1
    assert all(each["reason"] for each in manifest["series"] if each["status"] == "failed")
    assert all(each["series_uid"].startswith("2.25.") for each in manifest["series"])
    assert len({each["series_uid"] for each in manifest["series"]}) == 8
    assert len({each["study_uid"] for each in manifest["series"]}) == 1
    assert len(manifest["problems"]) == 5


def test_segmentations(disc: Path, tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They belong together as before, by pseudonyms and other UIDs, and to nobody."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    odd = HEADER | {0x00100030: ("DA", "19640812 or so"), 0x00100021: ("LO", PLANTED["institution"])}
    for folder, number, patient in (("more", 21, PATIENT_ID), ("other", 22, "PID4711008")):
        series = planted_series(folder, number)
        series.more = odd | {
            0x00100020: ("LO", patient),
            0x00120010: ("LO", PLANTED["institution"]),
            0x00120040: ("LO", PATIENT_ID),
            0x00120063: ("LO", NAME),
            0x00100040: ("CS", "F"),
        }
        renamed(series.write(disc))
    for more in ((), ("--json", "--derived-uids", "--overwrite")):
        command = ("predict", "-m", str(model), "--device", "cpu", "--anonymous", "--format", "dicom-seg")
        assert main([*command, "-i", str(disc), "-o", "out", "--studies", "--no-mirroring", *more]) == 1
    assert leaks(tmp_path / "work", "".join(capfd.readouterr())) == []
    manifest = json.loads(Path("out/studies.json").read_text())["series"]
    written = [each for each in manifest if each["status"] == "written"]
    found = [pydicom.dcmread(Path("out") / each["result"]) for each in written]
    assert len(found) == 4
    for each, one in zip(written, found, strict=True):
        assert one.StudyInstanceUID == each["study_uid"]
        assert one.ReferencedSeriesSequence[0].SeriesInstanceUID == each["series_uid"]
        assert one.PatientName == one.PatientID
        assert (one.PatientIdentityRemoved, one.PatientBirthDate, one.StudyDate) == ("YES", "", "")
    assert len({one.PatientID for one in found}) == 2
    assert len({one.FrameOfReferenceUID for one in found if "FrameOfReferenceUID" in one}) == 1


@pytest.mark.parametrize("folder", ["good", "gap", "planes", "twice", "cut", "frames", "video"])
def test_a_folder_of_one_series(
    disc: Path, folder: str, tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the options of studies, too, and with the other commands that read images."""
    (series,) = disc.rglob(folder)
    code = 0 if folder == "good" else 1
    printed = ""
    for command in (
        ("predict", "-m", str(model), "--device", "cpu", "-i", str(series), "-o", "out", "--no-mirroring"),
        ("predict", "-m", str(model), "--device", "cpu", "-i", str(series), "-o", "out", "--json"),
        ("preview", str(series), "-o", "a.png"),
    ):
        assert main([*command, "--anonymous"]) == code, (command, capfd.readouterr())
        printed += "".join(capfd.readouterr())
    for condition in (":AcquisitionTime=000000", ":ImageType=OTHER", "1.2.3.4"):
        assert main(["preview", str(series), "--series", condition, "-o", "b.png", "--anonymous"]) == 1
        printed += "".join(capfd.readouterr())
    assert leaks(tmp_path / "work", printed) == []
