"""Nothing in a model folder tells on whose machine it was trained, or where."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path

from swin_umamba.nnunet.record.debug_file import forget_the_machine, named_places


def test_folders_get_their_names(tmp_path: Path) -> None:
    path = tmp_path / "debug.json"
    path.write_text(
        json.dumps({"hostname": "ward-7", "output_folder": f"{tmp_path}/results/a/fold_0", "lr": "0.1"})
    )
    forget_the_machine(path, {"nnUNet_results": tmp_path / "results"})
    assert json.loads(path.read_text()) == {"output_folder": "nnUNet_results/a/fold_0", "lr": "0.1"}


def test_places_are_replaced_whole() -> None:
    folders = {
        "P": Path("/data/nnUNet"),
        "R": Path("/data/nnUNet_results"),
        "other": Path("/"),
        "dot": Path("."),
    }
    text = "/data/nnUNet_results/D1 /data//nnUNet/x.json /data/nnUNet2 /data/nnUNet: a.b"
    assert (
        named_places(text, {name: Path(each) for name, each in folders.items()})
        == "R/D1 P/x.json /data/nnUNet2 P: a.b"
    )


def test_a_trained_model_tells_nothing_of_the_machine(trained: dict[str, Path]) -> None:
    for folder in trained.values():
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {"debug.json", "software.json", "checkpoint_final.pth"} <= {path.name for path in files}
        place = str(folder.parents[2])
        for path in files:
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
            for content in contents:
                assert place.encode() not in content, path
                assert b'"hostname"' not in content, path
                if len(socket.gethostname()) > 5:  # a shorter name can be part of any word
                    assert socket.gethostname().encode() not in content, path
