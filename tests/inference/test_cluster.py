"""Prediction with the workers of a Dask cluster that was started by its own commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from swin_umamba.errors import UsageError
from swin_umamba.inference import cluster

NAMES = "abc"
SECONDS_TO_START = 600
SCHEDULER = (sys.executable, "-m", "distributed.cli.dask_scheduler")
WORKER = (sys.executable, "-m", "distributed.cli.dask_worker")
NUM_PREDICTED = 3
# What a worker loads, twice: of more than so many cases it predicts none.
HOLD = f"""
import itertools, time
from swin_umamba.inference.case_run import CaseRun

def hold(predict, numbers):
    def held(run, *given):
        if next(numbers) > {NUM_PREDICTED}:
            time.sleep({SECONDS_TO_START})
        predict(run, *given)
    return held

if CaseRun.predict.__name__ != "held":
    CaseRun.predict = hold(CaseRun.predict, itertools.count(1))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in NAMES:
        PillowImage.fromarray(generator.integers(0, 255, (40, 50), np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def started() -> Iterator[ExitStack]:
    """Yield what ends all processes that a test starts."""
    with ExitStack() as stack:
        yield stack


def start(
    stack: ExitStack, command: tuple[str, ...], *more: str, **environment: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*command, *more],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def start_cluster(
    stack: ExitStack, folder: Path, protocol: str, environment: Mapping[str, str], *of_worker: str
) -> tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start a scheduler and a worker; return the address of the scheduler, and both processes."""
    file = folder / "scheduler.json"
    place = ("--protocol", protocol, "--host", "127.0.0.1", "--port", "0")
    scheduler = start(
        stack, SCHEDULER, *place, "--no-dashboard", "--scheduler-file", str(file), **environment
    )
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny", *of_worker)
    patience = ("--death-timeout", str(SECONDS_TO_START))
    worker = start(stack, WORKER, *options, "--local-directory", str(folder), *patience, **environment)
    deadline = time.monotonic() + SECONDS_TO_START
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline, "no scheduler"
        time.sleep(0.1)
    return str(json.loads(file.read_text())["address"]), scheduler, worker


def predict(model: Path, images: Path, out: Path, address: str, **environment: str) -> tuple[int, str]:
    """Return exit code and errors of the command, as soon as there is a worker."""
    command = [
        sys.executable,
        "-m",
        "swin_umamba",
        "predict",
        "-m",
        str(model),
        "-i",
        str(images),
        "-o",
        str(out),
    ]
    command += ["--scheduler", address, "--device", "cpu", "--no-mirroring"]
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        if "has no workers" not in done.stderr or time.monotonic() > deadline:
            return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_only_who_has_a_certificate_is_let_in(
    model: Path, images: Path, tmp_path: Path, started: ExitStack
) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=dask")
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    prefix = "DASK_DISTRIBUTED__COMM__"
    trusted = {f"{prefix}TLS__CA_FILE": certificate, f"{prefix}REQUIRE_ENCRYPTION": "True"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        trusted |= {f"{prefix}TLS__{role}__CERT": certificate, f"{prefix}TLS__{role}__KEY": key}
    address, _, _ = start_cluster(started, tmp_path, "tls", trusted)
    assert address.startswith("tls://")
    code, said = predict(model, images, tmp_path / "out", address)
    assert code == 2, said
    assert "no scheduler answers" in said
    assert "Traceback" not in said
    code, said = predict(model, images, tmp_path / "out", address, **trusted)
    assert code == 0, said
    assert sorted(each.name for each in (tmp_path / "out").glob("*.png")) == [f"{name}.png" for name in NAMES]


@pytest.mark.slow
def test_a_scheduler_that_vanishes_costs_nothing_that_is_finished(
    model: Path, images: Path, tmp_path: Path, started: ExitStack
) -> None:
    generator = np.random.default_rng(1)
    for number in range(NUM_PREDICTED):
        pixels = generator.integers(0, 255, (40, 50), np.uint8)
        PillowImage.fromarray(pixels).save(images / f"{number:03d}.png")
    (tmp_path / "hold.py").write_text(HOLD)
    hold = ("--preload", str(tmp_path / "hold.py"))
    address, scheduler, worker = start_cluster(started, tmp_path, "tcp", {}, *hold)
    out = tmp_path / "out"

    def end_it() -> None:
        while not list(out.glob("*.png")):
            time.sleep(0.01)
        scheduler.kill()

    killer = threading.Thread(target=end_it, daemon=True)
    killer.start()
    code, said = predict(model, images, out, address)
    killer.join()
    assert code == 1
    assert "the connection to the scheduler is lost" in said, said
    assert "Traceback" not in said
    finished = len(list(out.glob("*.png")))
    assert 0 < finished <= NUM_PREDICTED
    worker.kill()
    worker.wait()
    command = [sys.executable, "-m", "swin_umamba", "predict", "-m", str(model), "-i", str(images)]
    command += ["-o", str(out), "--device", "cpu", "--no-mirroring", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert counts["kept"] >= finished - 1  # one may have been written and not yet recorded
    assert counts["kept"] + counts["written"] == len(NAMES) + NUM_PREDICTED


def test_workers_with_other_software_are_refused() -> None:
    class Client:
        def run(self, function: Callable[[], dict[str, str]]) -> dict[str, dict[str, str]]:
            return {
                "tcp://a:1": function(),
                "tcp://b:2": {**function(), "torch": "1.0", "swin-umamba": "0.0"},
            }

    with pytest.raises(UsageError, match=r"swin-umamba 0.0 and not .*, torch 1.0 and not") as caught:
        cluster._check_software(Client())
    assert caught.value.where == "tcp://b:2"
