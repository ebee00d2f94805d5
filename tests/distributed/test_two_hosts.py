"""Two hosts, as two networks that one cable joins: one is lost, and the other one goes on alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.training_process import children, root_with_data
from nnunet.ranks import DATASET_NAME, SMALL, TRAINER, Ranks, fold_folder
from swin_umamba.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

ADDRESSES = ("10.99.0.1", "10.99.0.2")
# The defaults are a minute and half a minute; as long as both are there, one may be halted for longer.
CODE = """
import sys, threading, time
from pathlib import Path
from nnunet.ranks import train_rank
from swin_umamba.distributed import watch

start = watch.Watch.start

def lose_patience(watching):
    while not Path(__file__).with_name("lost").exists():
        time.sleep(0.1)
    watch.SECONDS_UNTIL_LOST = watching._patience = 8.0

def start_and_lose_patience(watching):
    threading.Thread(target=lose_patience, args=(watching,), daemon=True).start()
    start(watching)

watch.Watch.start, watch.SECONDS_TO_LEAVE = start_and_lose_patience, 4.0
sys.exit(train_rank(sys.argv[1:], "", {}))
"""


class Host:
    """A network of its own, below the rights of a first one if given, with a cable to it."""

    def __init__(self, first: Host | None = None) -> None:
        self.cable = "cable0" if first is None else "cable1"
        enter = [] if first is None else first.enter
        rights = ["--map-root-user"] if first is None else []
        self.holder = subprocess.Popen([*enter, "unshare", *rights, "--net", "sleep", "3600"])
        self.training: subprocess.Popen[str] | None = None
        process = str(self.holder.pid)
        self.enter = ["nsenter", "--target", process, "--user", "--net", "--preserve-credentials"]
        own = os.readlink("/proc/self/ns/net" if first is None else f"/proc/{first.holder.pid}/ns/net")
        deadline = time.monotonic() + 300
        while os.readlink(f"/proc/{process}/ns/net") in (own, os.readlink("/proc/self/ns/net")):
            assert time.monotonic() < deadline
            assert self.holder.poll() is None
            time.sleep(0.01)

    def ip(self, *command: str) -> None:
        subprocess.run([*self.enter, "ip", *command], check=True)

    def train(self, number: int, root: Path, *options: str) -> None:
        """Start ``torchrun`` of one process."""
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        place = ["--node-rank", str(number), "--master-addr", ADDRESSES[0], "--master-port", "29500"]
        given = ["train", DATASET_NAME, "--root", str(root), "--trainer", TRAINER, *SMALL, *options]
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        self.training = subprocess.Popen(
            [*self.enter, *launch, *place, str(root / "rank.py"), *given],
            env=os.environ
            | {
                "PYTHONPATH": path,
                "SWIN_UMAMBA_BACKEND": "chunked",
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": self.cable,
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def lose(self) -> None:
        """End everything on the host without a word to the other one."""
        self.ip("link", "set", self.cable, "down")
        self.kill()

    def kill(self) -> None:
        if self.training is not None and self.training.poll() is None:
            for each in (*children(self.training.pid), self.training.pid):
                os.kill(each, signal.SIGKILL)
            self.training.communicate()

    def close(self) -> None:
        self.kill()
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Two hosts and the cable between them."""
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    tried = subprocess.run(["unshare", "--map-root-user", "--net", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no network of its own can be made here: {tried.stderr.strip()}")
    made = [Host()]
    try:
        made.append(Host(made[0]))
        other = str(made[1].holder.pid)
        cable = ["ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", other]
        tried = subprocess.run([*made[0].enter, *cable], capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"no cable between networks can be made here: {tried.stderr.strip()}")
        for number, host in enumerate(made):
            host.ip("address", "add", f"{ADDRESSES[number]}/24", "dev", host.cable)
            for device in ("lo", host.cable):
                host.ip("link", "set", device, "up")
        yield made
    finally:
        for host in made:
            host.close()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_is_lost_and_the_other_one_goes_on(
    hosts: list[Host], planned_folder: Path, tmp_path: Path, lost: int
) -> None:
    root = root_with_data(planned_folder, tmp_path / "shared")
    (root / "rank.py").write_text(CODE)
    for number, host in enumerate(hosts):
        host.train(number, root, "--epochs", "100000", "--save-every", "1")
    metrics = fold_folder(root) / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert time.monotonic() < deadline
        for host in hosts:
            assert host.training is not None
            assert host.training.poll() is None, host.training.communicate()
        time.sleep(0.02)
    hosts[lost].lose()
    (root / "lost").touch()
    survivor = hosts[1 - lost].training
    assert survivor is not None
    _, said = survivor.communicate(timeout=600)
    assert survivor.returncode == 1, said
    assert f"all ranks stop, since rank {lost}: no sign of life" in said
    assert "continue with the same command and --continue" in said
    trained = max(
        load_checkpoint(path)["current_epoch"] for path in fold_folder(root).glob("checkpoint_*.pth")
    )
    assert trained >= 2
    ((code, said),) = Ranks(root, "--continue", "--epochs", str(trained + 1), size=1).wait()
    assert code == 0, said
    assert "until now 2 ranks have trained, and now 1 do" in said
    assert load_checkpoint(fold_folder(root) / "checkpoint_final.pth")["current_epoch"] == trained + 1
