"""What `make` and the workflows do, the same on Linux, macOS and Windows: python scripts/dev.py COMMAND...

Standard library only: it makes the environment that all else is installed in. Every command does the
set-up it needs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
TORCH_FOR_CPU = "https://download.pytorch.org/whl/cpu"
LOCKED = ("--no-deps", "--require-hashes")
PLATFORMS = ("linux", "win32", "darwin")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Extras of an environment besides those of the last; with hashes, all but napari's are installed at once.
EXTRAS = {
    "installed": ".[test]",
    "installed-all": ".[test-all]",
    "installed-docs": ".[docs]",
    "installed-napari": ".[test,napari]",
}
QT = ("pyqt6", "pytest-qt")


class Failed(Exception):
    """A command ended with another exit code than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run(command: Sequence[str | Path], **variables: str) -> None:
    """Run a command in the root folder, with further environment variables.

    Of a signal that asks to stop, the command is told, and it is waited for: it may save what it has.

    Raises
    ------
    Failed
        If it fails, with its exit code; 128 and more for a signal, as shells have it.
    """
    words = [str(each) for each in command]
    print("+", " ".join(words), flush=True)
    stopping = (signal.SIGINT, signal.SIGTERM)
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        # An interrupt of the terminal goes to all processes in front, so that the command has it already.
        if process is not None and number == signal.SIGTERM:
            process.terminate()

    before = {number: signal.signal(number, pass_on) for number in stopping}
    try:
        process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **variables})
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        raise Failed(code if code > 0 else 128 - code)


def hashes_fit() -> bool:
    """Return whether hashes/ is for this Python and system."""
    here = (
        sys.platform,
        platform.machine(),
        platform.libc_ver()[0],
        platform.python_implementation(),
        *sys.version_info[:2],
    )
    return here == ("linux", "x86_64", "glibc", "CPython", 3, 11)


class House:
    """The clone, and the virtual environment of its tests.

    Parameters
    ----------
    folder
        The virtual environment; made where it is missing.
    hashes
        Whether known files are installed only (hashes/, see SECURITY.md), without resolving anything.
    rest
        Further arguments for what the command runs.
    """

    def __init__(self, folder: Path, *, hashes: bool, rest: Sequence[str] = ()) -> None:
        self.folder = folder
        self.hashes = hashes
        self.rest = list(rest)
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def module(self, *words: str | Path, **variables: str) -> None:
        """Run a module with the Python of the environment."""
        run([self.python, "-m", *words], **variables)

    def pip(self, *words: str | Path) -> None:
        """Install into the environment."""
        self.module("pip", "install", "--quiet", *words)

    def fingerprint(self) -> str:
        """Return a digest of all that decides what is installed."""
        digest = hashlib.sha256(f"{sys.version} {self.hashes}".encode())
        for path in (
            ROOT / "pyproject.toml",
            ROOT / "constraints.txt",
            *sorted((ROOT / "hashes").glob("*.txt")),
        ):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def install(self, name: str = "installed") -> None:
        """Make the environment with one set of extras, unless it is as it should be.

        Parameters
        ----------
        name
            A key of `EXTRAS`.
        """
        stamp, wanted = self.folder / f".{name}", self.fingerprint()
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        if name != "installed":
            self.install()
        else:
            run([sys.executable, "-m", "venv", self.folder])
        if name == "installed-napari":
            self.pip("-c", "constraints.txt", *QT, "-e", EXTRAS[name])
        elif not self.hashes:
            # torch is named in the same command as nnU-Net on purpose: installed one after the other,
            # nnU-Net's dependencies replace torch by the newest CUDA build.
            self.pip("-c", "constraints.txt", "torch", "torchvision", "-e", EXTRAS[name])
        elif name == "installed":
            # torch's build for the CPU is in an index of its own, or where PIP_FIND_LINKS says.
            self.pip(*LOCKED, "-r", "hashes/build.txt")
            self.pip(*LOCKED, "--retries", "1", "--index-url", TORCH_FOR_CPU, "-r", "hashes/torch.txt")
            self.pip(*LOCKED, "--no-build-isolation", "-r", "hashes/all.txt")
            self.pip("--no-deps", "--no-build-isolation", "-e", ".")
        stamp.write_text(wanted, encoding="utf-8")

    def pytest(self, *words: str) -> None:
        """Run tests on two processes."""
        # Without compiled files, each of the many processes that tests start would compile all sources.
        self.module(
            "pytest", "-n", "2", "--dist", "worksteal", "--durations", "20", *words, *self.rest,
            PYTHONDONTWRITEBYTECODE="",
        )  # fmt: skip

    def demo(self) -> None:
        """Draw cells, train, calibrate, predict, evaluate."""
        self.install()
        self.module("swin_umamba", "demo", *self.rest)

    def test(self) -> None:
        """Run the default tests."""
        self.install()
        self.pytest()

    def slow(self) -> None:
        """Run what takes long, or a browser."""
        self.install("installed-all")
        if sys.platform == "linux" and not any(map(shutil.which, BROWSERS)) and shutil.which("apt-get"):
            run(["apt-get", "update", "-qq"])
            run(["apt-get", "install", "-qq", "--no-install-recommends", "chromium"])
        self.pytest("-m", "slow or browser or docs")

    def napari(self) -> None:
        """Test the widget in napari, without a screen."""
        self.install("installed-napari")
        self.module("pytest", "-m", "napari", *self.rest, QT_QPA_PLATFORM="offscreen")

    def lint(self) -> None:
        """Run ruff, and mypy for each system."""
        self.install()
        self.module("ruff", "check", ".")
        self.module("ruff", "format", "--check", ".")
        for each in PLATFORMS:
            self.module("mypy", "--platform", each, "--cache-dir", Path(".mypy_cache", each))

    def docs(self) -> None:
        """Build the site, in build/site; a broken link or reference fails. Python 3.11 or newer."""
        self.install("installed-docs")
        self.module("zensical", "build", "--clean", "--strict", *self.rest)
        run([self.python, Path("scripts", "check_links.py"), Path("build", "site")])

    def gpu_check(self) -> None:
        """Check a GPU, with any Python that has PyTorch, NumPy and Triton: this one."""
        run([sys.executable, Path("benchmarks", "gpu_check.py"), *self.rest])

    def clean(self) -> None:
        """Remove the environment and the demo's folder."""
        for each in (self.folder, ROOT / "demo"):
            shutil.rmtree(each, ignore_errors=True)


COMMANDS: dict[str, tuple[Callable[[House], None], ...]] = {
    "demo": (House.demo,),
    "test": (House.test,),
    "slow": (House.slow,),
    "test-all": (House.test, House.slow),
    "napari": (House.napari,),
    "lint": (House.lint,),
    "docs": (House.docs,),
    "gpu-check": (House.gpu_check,),
    "clean": (House.clean,),
}


def main(arguments: Sequence[str]) -> int:
    """Run commands one after the other, each step once; return the exit code of the first that fails."""
    arguments = list(arguments)
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__)
    parser.add_argument("commands", nargs="+", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument(
        "--hashes", choices=("auto", "yes", "no"), default="auto", help="install files of known hashes only"
    )
    parser.epilog = "What follows -- goes to the command, such as: dev.py test -- -k scan"
    chosen = parser.parse_args(arguments[:at])
    hashes = hashes_fit() if chosen.hashes == "auto" else chosen.hashes == "yes"
    house = House(chosen.venv.absolute(), hashes=hashes, rest=arguments[at + 1 :])
    steps = dict.fromkeys(step for command in chosen.commands for step in COMMANDS[command])
    try:
        for step in steps:
            step(house)
    except Failed as failed:
        return failed.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
