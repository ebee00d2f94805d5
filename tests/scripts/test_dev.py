"""scripts/dev.py: which steps each command takes, when it installs, and what becomes of signals."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "scripts" / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ModuleType, list[str]]:
    """Return the script, and the list of commands that it would have run."""
    dev, ran = load(), []

    def record(command: list[object], **keywords: object) -> None:
        if "venv" in command:
            Path(str(command[-1])).mkdir(exist_ok=True)
        ran.append(" ".join(map(str, command)))

    monkeypatch.setattr(dev, "run", record)
    return dev, ran


def installs(ran: list[str]) -> list[str]:
    return [each for each in ran if " pip install " in each or " venv " in each]


def test_an_environment_is_made_once_and_again_after_a_change(
    commands: tuple[ModuleType, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev, ran = commands
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("a")
    (tmp_path / "constraints.txt").write_text("b")
    arguments = ["test", "--venv", str(tmp_path / "v"), "--hashes", "no"]
    assert dev.main(arguments) == 0
    assert len(installs(ran)) == 2
    dev.main(arguments)
    assert len(installs(ran)) == 2
    (tmp_path / "constraints.txt").write_text("c")
    dev.main(arguments)
    assert len(installs(ran)) == 4
    dev.main([*arguments[:-1], "yes"])
    assert len(installs(ran)) == 9


def test_with_hashes_only_known_files_are_installed(
    commands: tuple[ModuleType, list[str]], tmp_path: Path
) -> None:
    dev, ran = commands
    dev.main(["lint", "slow", "docs", "--venv", str(tmp_path), "--hashes", "yes"])
    of_others = [each for each in installs(ran) if " pip install " in each and not each.endswith(" -e .")]
    assert len(of_others) == 3
    assert all("--require-hashes" in each and "--no-deps" in each for each in of_others)


def test_without_hashes_versions_are_pinned_and_torch_comes_with_nnunet(
    commands: tuple[ModuleType, list[str]], tmp_path: Path
) -> None:
    dev, ran = commands
    dev.main(["test", "slow", "docs", "napari", "--venv", str(tmp_path), "--hashes", "no"])
    of_pip = [each for each in installs(ran) if " pip install " in each]
    assert all("-c constraints.txt" in each for each in of_pip)
    assert "torch torchvision -e .[test]" in of_pip[0]
    assert [each.rsplit(" ", 1)[1] for each in of_pip] == list(dev.EXTRAS.values())


def test_an_interrupted_installation_is_done_again(
    commands: tuple[ModuleType, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev, _ = commands
    recorded = dev.run

    def fail(command: list[object], **keywords: object) -> None:
        recorded(command, **keywords)
        if "pip" in command:
            raise dev.Failed(7)

    monkeypatch.setattr(dev, "run", fail)
    assert dev.main(["test", "--venv", str(tmp_path), "--hashes", "no"]) == 7
    assert not (tmp_path / ".installed").exists()


def test_each_step_runs_once_in_order_and_nothing_after_a_failure(
    commands: tuple[ModuleType, list[str]], tmp_path: Path
) -> None:
    dev, ran = commands
    dev.main(["lint", "test", "test-all", "--venv", str(tmp_path), "--", "-k", "a b"])
    steps = [each.split(" -m ", 1)[1] for each in ran if " pip " not in each and " venv " not in each]
    assert [each.split()[0] for each in steps] == ["ruff", "ruff", "mypy", "mypy", "mypy", "pytest", "pytest"]
    assert steps[-2].endswith("-k a b")
    assert "slow or browser or docs" in steps[-1]


def test_an_environment_of_ones_own_is_left_as_it_is(
    commands: tuple[ModuleType, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dev, ran = commands
    dev.main(["--as-is", "test"])
    monkeypatch.setenv("DEV_AS_IS", "1")
    dev.main(["test"])
    assert installs(ran) == []
    assert all(each.startswith(f"{sys.executable} -m pytest ") for each in ran)


def test_python_is_where_each_system_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev = load()
    monkeypatch.setattr(dev, "os", type("os", (), {"name": "nt"}))
    assert dev.House(tmp_path, hashes=False).python == tmp_path / "Scripts" / "python.exe"


def test_exit_codes_are_those_of_shells(capfd: pytest.CaptureFixture[str]) -> None:
    dev = load()
    dev.run([sys.executable, "-c", "print('fine')"])
    assert "fine" in capfd.readouterr().out
    with pytest.raises(dev.Failed) as failed:
        dev.run(
            [sys.executable, "-c", "import os, sys; sys.exit(int(os.environ['CODE']))"],
            variables={"CODE": "3"},
        )
    assert failed.value.code == 3


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_stop_may_save_first(number: signal.Signals, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    code = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        f"    time.sleep(0.5); pathlib.Path({str(saved)!r}).write_text('yes'); sys.exit(9)\n"
        "signal.signal(signal.SIGTERM, stop); signal.signal(signal.SIGINT, stop)\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(600)"
    )
    program = (
        "import sys\nsys.path.insert(0, '.')\nimport dev\n"
        f"try: dev.run([{sys.executable!r}, '-c', {code!r}])\n"
        "except dev.Failed as failed: raise SystemExit(failed.code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT / "scripts",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    guard = threading.Timer(300, process.kill)
    guard.start()
    while not (tmp_path / "ready").exists() and process.poll() is None:
        time.sleep(0.02)
    if number == signal.SIGINT:  # as a terminal does
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait() == 9
    guard.cancel()
    assert saved.read_text() == "yes"


def test_a_wheel_that_is_too_large_is_refused(
    commands: tuple[ModuleType, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev, ran = commands
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    recorded, size = dev.run, dev.LARGEST_WHEEL

    def build(command: list[object], **keywords: object) -> None:
        recorded(command, **keywords)
        if "build" in command:
            (tmp_path / "dist").mkdir(exist_ok=True)
            for name in ("a.tar.gz", "a.whl"):
                (tmp_path / "dist" / name).write_bytes(b"0" * size)

    monkeypatch.setattr(dev, "run", build)
    assert "a.whl is larger" in dev.main(["build"])
    assert ran[-1].endswith("a.tar.gz " + str(tmp_path / "dist" / "a.whl"))
    monkeypatch.setattr(dev, "LARGEST_WHEEL", dev.LARGEST_WHEEL + 1)
    assert dev.main(["build", "try-install"]) == 0
    tried = [each for each in ran if each.endswith("swin-umamba --version")]
    assert len(tried) == len(set(tried)) == 2


def test_nothing_is_installed_that_was_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev = load()
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    assert "run the command build first" in dev.main(["try-install"])


def test_make_only_calls_the_script() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(r"^\t(.*)$", makefile, re.MULTILINE)
    assert recipes
    assert all(each.startswith("$(DEV) ") for each in recipes)
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert targets <= load().COMMANDS.keys()
