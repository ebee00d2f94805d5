"""Files of 0.1, which have no number, are read as those of today; files of a newer version are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from contract_files import EPOCH, NEVER_READ, OPTIONS, READ, RECORD, RECORD_OF_TODAY, START, TERMS
from schemas import check_contract
from swin_umamba import contracts
from swin_umamba.compare.comparison import _check_settings
from swin_umamba.contracts import printed
from swin_umamba.errors import OutputError, SwinUMambaError
from swin_umamba.inference.records import RECORDS_FILE, PredictionRecords
from swin_umamba.json_files import SCHEMA
from swin_umamba.nnunet.record.metrics_file import METRICS_FILE, MetricsFile
from swin_umamba.nnunet.record.software_file import SOFTWARE_FILE, record_start
from swin_umamba.nnunet.record.training_record import OPTIONS_FILE, TrainingRecord
from swin_umamba.nnunet.training.options import TrainingOptions

NO_NUMBERS = ["2", -1, 0, 1, 2.0, None, True, [2], {}]
NEWER = "the file was written by a newer version: its schema is 3, and this version reads up to 2"
LOG = {
    "train_losses": [1.0],
    "val_losses": [0.5],
    "mean_fg_dice": [0.5],
    "ema_fg_dice": [0.5],
    "lrs": [0.1],
    "dice_per_class_or_region": [[0.5]],
    "epoch_start_timestamps": [1.0],
    "epoch_end_timestamps": [2.0],
}


def test_every_file_with_a_contract_is_here() -> None:
    files = {
        name for name, kind in contracts._KINDS.items() if getattr(kind, "__module__", "") != printed.__name__
    }
    files.remove("weights-list")  # printed, and a table as it has keys of backbones
    assert files == READ.keys() | NEVER_READ


@pytest.mark.parametrize("name", READ)
def test_a_file_of_the_first_version_is_read_as_one_of_today(name: str, tmp_path: Path) -> None:
    file = READ[name]
    check_contract(name, file.now(SCHEMA))
    old = file.read(file.write(tmp_path, file.of_first))
    assert old == file.read(file.write(tmp_path, file.now(SCHEMA)))
    assert file.expected in (None, old)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("number", [3, 4, 10**30])
def test_a_file_of_a_newer_version_is_refused(name: str, number: int, tmp_path: Path) -> None:
    path = READ[name].write(tmp_path, READ[name].now(number))
    with pytest.raises(
        SwinUMambaError, match="the file was written by a newer version: its schema is"
    ) as caught:
        READ[name].read(path)
    if caught.value.hint is not None:  # else the message is that of a report, which names the file
        assert (caught.value.where, caught.value.hint) == (str(path), "update swin-umamba")
    else:
        assert path.name in caught.value.what


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("number", NO_NUMBERS, ids=repr)
def test_a_number_that_no_version_writes_is_refused(name: str, number: object, tmp_path: Path) -> None:
    with pytest.raises(SwinUMambaError, match=r"which no version writes|the line is damaged"):
        READ[name].read(READ[name].write(tmp_path, READ[name].now(number)))


def continue_training(path: Path) -> None:
    record = TrainingRecord(path.parent, ["liver"])
    options = TrainingOptions(epochs=2)
    with patch("swin_umamba.nnunet.record.software_file.this_start", return_value=START):  # asks git
        record.start(options, LOG, fresh=False, skipped_steps=0, device=torch.device("cpu"))


def continue_predictions(path: Path) -> None:
    PredictionRecords(path.parent)


def compare_again(path: Path) -> None:
    _check_settings(path, SimpleNamespace(raw_folder=Path("/liver")), TERMS)


REPLACED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "comparison-settings": ("settings.json", compare_again),
    "metrics-line": (METRICS_FILE, continue_training),
    "predictions-line": (RECORDS_FILE, continue_predictions),
    "software": (SOFTWARE_FILE, continue_training),
    "training-options": (OPTIONS_FILE, continue_training),
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_a_newer_version_wrote_is_not_replaced(name: str, tmp_path: Path) -> None:
    """Files that a run goes on with are written again from what was read of them."""
    place, write_again = REPLACED[name]
    path = tmp_path / place
    path.write_text(json.dumps(READ[name].now(SCHEMA + 1)) + "\n")
    before = path.read_bytes()
    with pytest.raises(SwinUMambaError) as caught:
        write_again(path)
    assert (caught.value.what, caught.value.hint) == (NEWER, "update swin-umamba")
    assert path.read_bytes() == before


def test_a_training_that_starts_again_replaces_what_a_newer_version_wrote(tmp_path: Path) -> None:
    for name, content in ((METRICS_FILE, EPOCH), (SOFTWARE_FILE, {"starts": []}), (OPTIONS_FILE, OPTIONS)):
        (tmp_path / name).write_text(json.dumps({"schema": 3, **content}) + "\n")
    with patch("swin_umamba.nnunet.record.software_file.this_start", return_value=START):
        TrainingRecord(tmp_path, ["liver"]).start(
            TrainingOptions(epochs=2),
            dict.fromkeys(LOG, ()),
            fresh=True,
            skipped_steps=0,
            device=torch.device("cpu"),
        )
    assert (tmp_path / METRICS_FILE).read_text() == ""
    assert json.loads((tmp_path / SOFTWARE_FILE).read_text()) == {"schema": 2, "starts": [START]}


def test_lines_of_the_first_version_get_the_form_of_today(tmp_path: Path) -> None:
    today = {"schema": SCHEMA, **RECORD_OF_TODAY, "case": "b"}
    nan = {**RECORD, "case": "c", "error": None, "seconds": float("nan")}
    path = tmp_path / RECORDS_FILE
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (RECORD, today, nan)))
    records = PredictionRecords(tmp_path)
    assert list(records.of_case) == ["a", "b", "c"]
    expected = [{"schema": SCHEMA, **RECORD_OF_TODAY}, today, {"schema": SCHEMA, **nan, "seconds": None}]
    assert [json.loads(line) for line in path.read_text().splitlines()] == expected


def test_starts_of_both_versions_lie_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / SOFTWARE_FILE
    path.write_text(json.dumps({"starts": [START]}))
    with patch(
        "swin_umamba.nnunet.record.software_file.this_start", return_value={**START, "first_epoch": 2}
    ):
        record_start(path, first_epoch=2, device=torch.device("cpu"), replace=False)
    assert json.loads(path.read_text()) == {"schema": 2, "starts": [START, {**START, "first_epoch": 2}]}


def test_skipped_steps_of_the_first_version_are_kept(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    file = MetricsFile(path, ["liver"])
    log = {name: 2 * values for name, values in LOG.items()}
    line = {**EPOCH, "finished": "1970-01-01T00:00:02.000+00:00", "skipped_steps": 5}
    path.write_text(json.dumps(line) + "\n")
    file.start(log, 6)
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [(each["schema"], each["skipped_steps"]) for each in lines] == [(2, 5), (2, 6)]


@pytest.mark.parametrize("line", ['{"schema": 3, "case": "b"}', '{"schema": 3}'])
def test_one_line_of_a_newer_version_is_enough(line: str, tmp_path: Path) -> None:
    text = f"{json.dumps(RECORD)}\n{line}\n"
    (tmp_path / RECORDS_FILE).write_text(text)
    with pytest.raises(OutputError, match="newer version"):
        PredictionRecords(tmp_path)
    assert (tmp_path / RECORDS_FILE).read_text() == text
