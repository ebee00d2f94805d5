"""Choose series of a tree of DICOM studies, and make cases of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from swin_umamba.data.dicom.series import SeriesFiles, choice_of, is_number, is_uid
from swin_umamba.data.dicom.studies import FoundSeries, Tree, find_series
from swin_umamba.errors import DataError, SwinUMambaError, UsageError
from swin_umamba.exchange.segmentation import Kind, check_highdicom, check_source
from swin_umamba.exchange.source import read_source
from swin_umamba.inference.blocks.inputs import is_label_name
from swin_umamba.inference.cases import Case
from swin_umamba.inference.inputs import takes_colours
from swin_umamba.inference.options import FolderOptions
from swin_umamba.pseudonyms import current, hide_below

if TYPE_CHECKING:
    from swin_umamba.inference.predictor import Predictor

_LONGEST_WORDS = 40
_MOST_REASONS = 5
_DIGITS_OF_UID = 12


@dataclass(frozen=True)
class ListedSeries:
    """A series of a tree, as a case, and why it is left out; empty if it is chosen."""

    found: FoundSeries
    case: Case
    reason: str = ""

    def why_not(self, kind: Kind | None) -> SwinUMambaError | None:
        """Return why there will be no result, as far as headers tell; ``kind`` as in the list."""
        assert self.case.series is not None
        problem = self.found.why_no_volume(self.case.series.conditions)
        if problem is None and kind is not None:
            try:
                check_source(read_source(self.case.files, self.case.series), kind)
            except SwinUMambaError as error:
                return error
        return problem


@dataclass(frozen=True)
class StudyList:
    """All series of a tree, in its order, and the kind of DICOM segmentations that they get, if they do."""

    tree: Tree
    series: tuple[ListedSeries, ...]
    kind: Kind | None = None

    @property
    def cases(self) -> list[Case]:
        """The cases of the chosen series, by name."""
        return sorted((each.case for each in self.series if not each.reason), key=lambda case: case.name)

    def check(self, channels: Sequence[str] | None, model: Path, output: Path) -> None:
        """Refuse a model and a folder of results whatever is chosen.

        Parameters
        ----------
        channels
            Names of the channels that the model takes; None if they are not known.
        model, output
            Where it is, and where results go.

        Raises
        ------
        UsageError
            If the model takes several channels, or results would go into a file or among the studies.
        """
        if channels is not None and len(channels) > 1 and not takes_colours(channels):
            raise UsageError(
                f"the model takes {len(channels)} channels ({', '.join(channels)}), and a series has one",
                where=model,
                hint="convert the series to files CASE_0000, CASE_0001 and so on, and predict their folder",
            )
        if is_label_name(output) and not output.is_dir():
            raise UsageError(
                "the results of studies go into a folder", where=output, hint="give a folder with -o"
            )
        if output.resolve().is_relative_to(self.tree.root):
            raise UsageError(
                "the results would lie among the studies", where=output, hint="give another output folder"
            )

    def cases_for(self, predictor: Predictor, output: Path) -> list[Case]:
        """Return the cases of the chosen series, by name, for a model and the folder of results.

        Raises
        ------
        UsageError
            If none is chosen, or as ``check`` says.
        """
        self.check(predictor.channel_names, predictor.model.path, output)
        if not (cases := self.cases):
            reasons = Counter(each.reason for each in self.series).most_common(_MOST_REASONS)
            raise UsageError(
                "\n".join(
                    [
                        f"none of the {len(self.series)} series is chosen:",
                        *(f"  - {number} x {reason}" for reason, number in reasons),
                    ]
                ),
                where=self.tree.root,
                hint="choose others; --dry-run lists all of them",
            )
        return cases


def list_studies(inputs: str | Path | Sequence[str | Path], options: FolderOptions) -> StudyList:
    """Return the series of a tree of studies with the choice that the options make.

    Raises
    ------
    DataError
        There is no such folder, no series in it, or too many files.
    UsageError
        There are several inputs, or options that have no meaning for series; or DICOM segmentations are
        wanted, and highdicom is not installed.
    """
    if options.format is not None:
        check_highdicom()
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    if len(given) != 1:
        raise UsageError(
            f"{len(given)} inputs, and studies are in one folder", hint="give the folder above them"
        )
    if options.in_blocks:
        raise UsageError(
            "series of studies are not predicted in blocks", hint="leave out the options of blocks"
        )
    root = Path(given[0])
    hide_below(root)
    tree = find_series(root)
    if not tree.series:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in tree.others.items()) or "nothing"
        problem = f"; {tree.problems[0]}" if tree.problems else ""
        raise DataError(
            f"there are no DICOM images in the folder and its subfolders, only {kinds}{problem}",
            where=root.absolute(),
            hint="give the folder with the studies; for other images, leave out what chooses series",
        )
    wanted, conditions = choice_of(options.series)
    assert not isinstance(wanted, SeriesFiles)
    listed = []
    for found in tree.series:
        files = SeriesFiles(tuple(found.files), conditions)
        case = Case(case_name(found, tree.root), (found.folder,), series=files)
        listed.append(ListedSeries(found, case, "; ".join(_reasons(found, options, wanted))))
    return StudyList(tree, tuple(listed), None if options.format is None else options.seg_type)


def case_name(found: FoundSeries, root: Path) -> str:
    """Return the name of the results of a series: what it is in words, and digits that its UID yields.

    It depends on nothing else, so that it stays when the tree is moved or grows.
    """
    series = found.series
    identity = series.uid or found.folder.relative_to(root).as_posix()
    digits = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:_DIGITS_OF_UID]
    words = (series.modality, series.number, series.description)
    parts = [re.sub(r"[^A-Za-z0-9]+", "-", each).strip("-")[:_LONGEST_WORDS] for each in words]
    return "_".join([*(part for part in parts if part), digits])


def _reasons(found: FoundSeries, options: FolderOptions, wanted: str | None) -> list[str]:
    """Return why a series is left out; empty if it is chosen. No free text of its header is in it."""
    series, count = found.series, found.num_images
    reasons = []
    if wanted is not None and not is_uid(series.uid, wanted) and not is_number(series.number, wanted):
        named = f"the series {wanted}" if current() is None else "the wanted series"
        reasons.append(f"it is not {named}")
    modalities = options.series_modality
    if modalities is not None and series.modality.upper() not in [each.upper() for each in modalities]:
        reasons.append(f"its modality is not {' or '.join(modalities)}")
    patterns = options.series_description
    if patterns is not None and not any(
        fnmatchcase(series.description.casefold(), pattern.casefold()) for pattern in patterns
    ):
        reasons.append(f"its description is not like {' or '.join(patterns)}")
    if options.min_slices is not None and count < options.min_slices:
        reasons.append(f"it has fewer than {options.min_slices} images")
    if options.max_slices is not None and count > options.max_slices:
        reasons.append(f"it has more than {options.max_slices} images")
    if options.plane is not None and found.plane not in options.plane:
        reasons.append(f"its plane is not {' or '.join(options.plane)}")
    return reasons
