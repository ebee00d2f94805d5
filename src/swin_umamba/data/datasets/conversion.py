"""What all converters share: a new data set in nnU-Net's raw layout, created completely or not at all.

A converter finds cases and says which files it omits. Every case is then read, checked and written. The
folder appears when all is done; until then, and after an error, there is nothing in its place.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, Protocol, TypeVar

from swin_umamba.data.image_io import Image, write_image
from swin_umamba.data.png import stands_alone
from swin_umamba.errors import DataError, OutputError
from swin_umamba.files import atomic_folder, check_output_folder, copy_file
from swin_umamba.json_files import LARGEST_RESULTS, read_contract, write_contract, write_json
from swin_umamba.progress import progress
from swin_umamba.schema import Provenance, listed, table, text, whole

logger = logging.getLogger(__name__)

Split = Literal["Tr", "Ts"]
REPORT_NAME = "conversion.json"
PROBLEMS_SHOWN = 20


class SourceCase(Protocol):
    """A case found by a converter."""

    @property
    def name(self) -> str:
        """Name for its files."""

    @property
    def split(self) -> Split:
        """Training or test."""


AnyCase = TypeVar("AnyCase", bound=SourceCase)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not in the data set, and the reason."""

    path: str
    reason: str


@dataclass
class Found(Generic[AnyCase]):
    """What a converter finds in a source: the arguments of ``write_dataset`` of these names."""

    cases: list[AnyCase] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def leave_out(self, path: Path, reason: str) -> None:
        """Note a file or folder that does not belong to the data set."""
        self.left_out.append(LeftOut(str(path), reason))

    def lack(self, path: Path, reason: str) -> None:
        """Note a file of a case that is not complete."""
        self.problems.append(LeftOut(str(path), reason))


_LEFT_OUT = listed(table({"path": text(), "reason": text()}))
_REPORT = table(
    {
        "num_training": whole(0),
        "num_test": whole(0),
        "left_out": _LEFT_OUT,
        "damaged": _LEFT_OUT,
        "remarks": listed(text()),
    }
)


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes
    ----------
    folder
        The data set.
    num_training, num_test
        Number of cases in it.
    left_out
        Files found that do not belong to the data set.
    damaged
        Cases that belong to it but could not be read, if that was allowed.
    remarks
        Further notes for the user.
    """

    folder: Path
    num_training: int
    num_test: int
    left_out: tuple[LeftOut, ...] = ()
    damaged: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes as plain data for JSON."""
        return {
            "dataset": self.folder.name,
            "num_training": self.num_training,
            "num_test": self.num_test,
            "left_out": [vars(each) for each in self.left_out],
            "damaged": [vars(each) for each in self.damaged],
            "remarks": list(self.remarks),
        }

    @classmethod
    def of_folder(cls, folder: Path) -> Conversion:
        """Return the conversion described by ``conversion.json`` in a converted data set.

        Raises
        ------
        DataError
            The file cannot be read, or is of another kind.
        """
        path, hint = folder / REPORT_NAME, "convert the data again, or delete the file"
        stored = read_contract(path, hint=hint, largest=LARGEST_RESULTS)
        Provenance(path, hint, beginning="this is not a report of a conversion: ").check(stored, _REPORT)
        left_out, damaged = (
            tuple(LeftOut(each["path"], each["reason"]) for each in stored[name])
            for name in ("left_out", "damaged")
        )
        counts = stored["num_training"], stored["num_test"]
        return cls(folder, *counts, left_out, damaged, tuple(stored["remarks"]))

    def text(self) -> str:
        """Return the report for people: one line per reason, with the number of files and the first one."""
        lines = [f"{self.folder.name}: {self.num_training} training and {self.num_test} test cases"]
        for title, entries in (("left out", self.left_out), ("damaged, not converted", self.damaged)):
            for reason, count in Counter(each.reason for each in entries).items():
                first = next(each.path for each in entries if each.reason == reason)
                lines.append(f"{title}: {count} x {reason} ({first}{', ...' if count > 1 else ''})")
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.remarks)])


def write_dataset(
    folder: str | Path,
    cases: Sequence[AnyCase],
    write_case: Callable[[AnyCase, Path], Iterable[str]],
    description: Mapping[str, Any],
    *,
    left_out: Sequence[LeftOut] = (),
    problems: Sequence[LeftOut] = (),
    remarks: Sequence[str] = (),
    published: tuple[int, int] | None = None,
    skip_damaged: bool = False,
    needs_test: bool = False,
) -> Conversion:
    """Convert all cases into a new data set folder.

    Parameters
    ----------
    folder
        Folder of the data set, such as ``nnUNet_raw/Dataset702_AbdomenMR``. Must not exist.
    cases
        Cases to convert.
    write_case
        Function that reads and checks one case, writes it below the given folder, and returns remarks. It
        must write nothing before it has read the whole case.
    description
        Contents of ``dataset.json`` without ``numTraining``.
    left_out, remarks
        Entries for the report.
    problems
        Cases known to be incomplete: they count as damaged.
    published
        Number of training and test cases in the published data set; deviations cause a remark.
    skip_damaged
        Whether to omit damaged cases with a note in the report. By default they are an error.
    needs_test
        Whether to refuse a data set without test cases.

    Raises
    ------
    OutputError
        The folder exists or cannot be written.
    DataError
        Cases are damaged (all are listed), or there is no training case, or no test case where one is
        required. Nothing is left behind.
    """
    folder = Path(folder).absolute()
    _refuse_existing(folder)
    check_output_folder(folder.parent)
    damaged, notes = list(problems), list(remarks)
    written: list[AnyCase] = []
    _check_names(cases)
    with atomic_folder(folder) as temporary:
        for case in progress(cases, "converting", total=len(cases)):
            try:
                notes += [f"{case.name}: {remark}" for remark in write_case(case, temporary)]
                written.append(case)
            except DataError as error:
                damaged.append(LeftOut(error.where or case.name, error.what))
        if damaged and not skip_damaged:
            refuse_damaged(damaged)
        counts = Counter(case.split for case in written)
        if not counts["Tr"]:
            raise DataError("there is no training case", where=folder.name, hint="check the source folder")
        if needs_test and not counts["Ts"]:
            raise DataError(
                "there is no test case with a label",
                where=folder.name,
                hint="add the test data; for AMOS, which has none, give --test-data or --validation-as-test",
            )
        notes += _compared_with(published, (counts["Tr"], counts["Ts"]))
        result = Conversion(folder, counts["Tr"], counts["Ts"], tuple(left_out), tuple(damaged), tuple(notes))
        write_json(temporary / "dataset.json", {**description, "numTraining": counts["Tr"]})
        write_contract("conversion", temporary / REPORT_NAME, result.to_dict())
        _refuse_existing(folder)  # it may have been created in the meantime
    return result


def store_picture(image: Image, path: Path) -> None:
    """Write a picture as PNG; its bytes are copied if nnU-Net's reader sees them as ours does."""
    if image.path.suffix.lower() == ".png" and stands_alone(image.path):
        return copy_file(image.path, path)
    return write_image(path, image)


def refuse_damaged(damaged: Sequence[LeftOut]) -> NoReturn:
    """Raise a ``DataError`` that lists damaged cases."""
    listed = [f"{each.path}: {each.reason}" for each in damaged[:PROBLEMS_SHOWN]]
    if len(damaged) > len(listed):
        listed.append(f"and {len(damaged) - len(listed)} more")
    raise DataError(
        f"{len(damaged)} case(s) cannot be converted:\n  - " + "\n  - ".join(listed),
        hint="repair them, or leave them out with --skip-damaged; nothing was written",
    )


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise OutputError(
            "the data set exists already; nothing was changed",
            where=folder,
            hint="use it, give another folder, or move it away",
        )


def _check_names(cases: Sequence[SourceCase]) -> None:
    names: dict[tuple[Split, str], list[str]] = {}
    for case in cases:  # names that differ only by case are one file on Windows and macOS
        names.setdefault((case.split, case.name.casefold()), []).append(case.name)
    twice = [each for each in names.values() if len(each) > 1]
    if twice:
        shown = "; ".join(" and ".join(each) for each in twice[:PROBLEMS_SHOWN])
        raise DataError(
            f"{len(twice)} names belong to more than one case, or do so on systems that take capitals for "
            f"small letters: {shown}",
            hint="remove or rename the doubles",
        )


def _compared_with(published: tuple[int, int] | None, found: tuple[int, int]) -> list[str]:
    if published is None or published == found:
        return []
    return [
        f"the published data set has {published[0]} training and {published[1]} test cases, "
        f"this one {found[0]} and {found[1]}"
    ]
