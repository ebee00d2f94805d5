from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from swin_umamba.cli import doctor
from swin_umamba.cli.doctor import Finding
from swin_umamba.data.formats import image_suffixes
from swin_umamba.ops import ss2d_scan as scan_module
from swin_umamba.ops.backend import BackendStatus


def findings(check: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in check()}  # type: ignore[operator]


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(doctor.check_versions)
    assert found["torch"].detail == importlib.metadata.version("torch")
    assert all(finding.status == "ok" for finding in found.values())
    monkeypatch.setattr(doctor, "REQUIRED_PACKAGES", ("torch", "no-such-package"))
    missing = findings(doctor.check_versions)["no-such-package"]
    assert (missing.status, missing.hint) == ("error", "pip install no-such-package")


def test_extras_that_are_missing_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(doctor.check_extras)
    assert found["extra serve"].detail == "installed, for swin-umamba serve"
    monkeypatch.setattr(doctor, "EXTRAS", {"x": ("this", ("torch", "no-such-package"))})
    assert doctor.extras() == {"x": {"purpose": "this", "installed": False, "missing": ["no-such-package"]}}
    missing = findings(doctor.check_extras)["extra x"]
    assert missing.status == "ok"
    assert missing.detail == "not installed; for this: pip install 'swin-umamba[x]'"


def test_extras_are_those_of_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^([\w-]+) = ", table, re.MULTILINE)
    assert set(doctor.EXTRAS) == set(extras) - {"test", "test-all"}


def test_processors() -> None:
    found = findings(doctor.check_processors)
    assert f"{torch.get_num_threads()} threads" in found["processor"].detail
    assert found["mps"].status == "ok"


def test_backends_are_listed() -> None:
    assert findings(doctor.check_backends)["backend chunked"].detail.startswith("available")


@pytest.mark.parametrize(("gpu", "status"), [(True, "warning"), (False, "ok")])
def test_missing_cuda_kernels_matter_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, status: str
) -> None:
    report = [BackendStatus("triton", False, "Triton cannot be used", "pip install triton")]
    monkeypatch.setattr("swin_umamba.ops.backend.backend_report", lambda: report)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = findings(doctor.check_backends)["backend triton"]
    assert found.status == status
    assert found.detail == "not available: Triton cannot be used"
    assert found.hint == ("pip install triton" if gpu else None)


def test_the_scan_is_compared_with_the_reference() -> None:
    scan = findings(doctor.check_scan)["scan on cpu"]
    assert scan.status == "ok"
    assert "largest difference from the reference" in scan.detail


def test_a_wrong_scan_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scan_module.ss2d_scan

    def wrong(*inputs: torch.Tensor, backend: str | None = None) -> torch.Tensor:
        y = right(*inputs, backend=backend)
        return y if backend == "reference" else y + 1e-3 * y.abs().max()

    monkeypatch.setattr(scan_module, "ss2d_scan", wrong)
    scan = findings(doctor.check_scan)["scan on cpu"]
    assert scan.status == "error"
    assert "1.0e-03" in scan.detail


def test_a_backend_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_UMAMBA_BACKEND", "mamba_ssm")
    assert findings(doctor.check_scan)["scan on cpu"].status == "error"


@pytest.mark.parametrize("fits", [True, False])
def test_torchvision(monkeypatch: pytest.MonkeyPatch, fits: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.28.0+cu130")
    message = "Traceback\nRuntimeError: operator torchvision::nms does not exist"
    done = SimpleNamespace(returncode=0 if fits else 1, stderr=message)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)
    found = findings(doctor.check_torchvision)["torchvision"]
    if fits:
        assert found == Finding("torchvision", "ok", "0.28.0+cu130")
    else:
        assert found.status == "warning"
        assert "operator torchvision::nms does not exist" in found.detail
        assert "swin-umamba do not need it" in found.detail
        assert found.hint is not None
        assert "torchvision==0.28.0 --index-url https://download.pytorch.org/whl/" in found.hint


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "nowhere"))
    found = findings(doctor.check_folders)
    assert found["nnUNet_raw"] == Finding("nnUNet_raw", "ok", str(tmp_path))
    assert found["nnUNet_preprocessed"].status == "warning"
    assert found["nnUNet_results"].detail.startswith("not set")
    assert not list(tmp_path.iterdir())


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "LOW_DISK_GIB", 0)
    assert findings(doctor.check_disk)["free disk"].status == "ok"
    monkeypatch.setattr(doctor, "LOW_DISK_GIB", float("inf"))
    assert findings(doctor.check_disk)["free disk"].status == "warning"


def run(monkeypatch: pytest.MonkeyPatch, *found: Finding, as_json: bool) -> int:
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    return doctor.run(argparse.Namespace(json=as_json, compile=False))


def test_exit_codes_and_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fine, odd = Finding("a", "ok", "fine"), Finding("b", "warning", "odd", "mend it")
    broken = Finding("c", "error", "broken", "replace it")
    assert run(monkeypatch, fine, odd, as_json=False) == 0
    assert "what to do: mend it" in capsys.readouterr().out
    assert run(monkeypatch, fine, odd, broken, as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    png = {"name": "PNG", "suffixes": [".png"], "writes": True, "holds_labels": True, "has_geometry": False}
    assert {**png, "label_suffix": ".png"} in report["formats"]
    assert [suffix for each in report["formats"] for suffix in each["suffixes"]] == list(image_suffixes())
    assert report["limits"]["network_smallest_side"] == 32
    assert report["extras"]["zarr"] == {"purpose": "images in OME-Zarr", "installed": True, "missing": []}
    assert report["findings"][2] == {"name": "c", "status": "error", "detail": "broken", "hint": "replace it"}


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_disk() -> object:
        raise OSError("no such device")
        yield

    for name in (
        "versions",
        "extras",
        "processors",
        "backends",
        "scan",
        "kernel_cache",
        "gpu_kernel_cache",
        "shared_memory",
        "torchvision",
        "folders",
    ):
        monkeypatch.setattr(doctor, f"check_{name}", lambda: iter(()))
    monkeypatch.setattr(doctor, "check_disk", check_disk)
    (finding,) = doctor.examine()
    assert (finding.name, finding.status) == ("disk", "error")
    assert "no such device" in finding.detail


def test_an_extra_that_python_3_10_cannot_have_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_umamba.cli.doctor._missing", list)
    for version, zarr_needs_newer in (((3, 10, 13), True), ((3, 11, 0), False)):
        monkeypatch.setattr("swin_umamba.cli.doctor.sys.version_info", version)
        found = {each.name: each.detail for each in doctor.check_extras()}
        assert found["extra zarr"].endswith("on Python 3.11 or newer") == zarr_needs_newer
        assert not found["extra serve"].endswith("newer")
