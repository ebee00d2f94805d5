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
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType

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
NONE: Mapping[str, str] = MappingProxyType({})
QT = ("pyqt6", "pytest-qt")
LARGEST_WHEEL = 1_200_000
"""In bytes."""
# What an installed package has to be able to do, from any folder: a network predicts.
TRIAL = """
import torch, swin_umamba
network = swin_umamba.create_model("swin_umamba_d", in_channels=1, num_classes=3).eval()
with torch.inference_mode():
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 3, 64, 64)
"""


class Failed(Exception):
    """A command ended with another exit code than 0, or what it made is not as it should be."""

    def __init__(self, code: int | str) -> None:
        super().__init__(code)
        self.code = code


def run(command: Sequence[str | Path], *, folder: Path = ROOT, variables: Mapping[str, str] = NONE) -> None:
    """Run a command in a folder, with further environment variables.

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
    early: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        # An interrupt of the terminal goes to all processes in front, so that the command has it already.
        if process is None:
            early.append(number)
        elif number == signal.SIGTERM:
            process.terminate()

    before = {number: signal.signal(number, pass_on) for number in stopping}
    try:
        process = subprocess.Popen(words, cwd=folder, env={**os.environ, **variables})
        if early:
            process.terminate()  # it was not there when they came
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


def distributions() -> list[Path]:
    """Return what is in dist/."""
    found = sorted(path for path in (ROOT / "dist").glob("*") if path.name.endswith((".whl", ".tar.gz")))
    if not found:
        raise Failed("there is nothing in dist/: run the command build first")
    return found


class House:
    """The clone, and the virtual environment of its tests.

    Parameters
    ----------
    folder
        The virtual environment, made where it is missing; None for the Python that runs this, as it is.
    hashes
        Whether known files are installed only (hashes/, see SECURITY.md), without resolving anything.
    rest
        Further arguments for what the command runs.
    """

    def __init__(self, folder: Path | None, *, hashes: bool, rest: Sequence[str] = ()) -> None:
        self.folder = folder
        self.hashes = hashes
        self.rest = list(rest)
        place = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        self.python = Path(sys.executable) if folder is None else folder / place

    def module(self, *words: str | Path, **variables: str) -> None:
        """Run a module with the Python of the environment."""
        run([self.python, "-m", *words], variables=variables)

    def pip(self, *words: str | Path) -> None:
        """Install into the environment."""
        # What a path of one's own has would count as installed.
        self.module("pip", "install", "--quiet", *words, PYTHONPATH="")

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
        if self.folder is None:
            return
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
        missing = [] if any(map(shutil.which, BROWSERS)) else ["chromium"]
        missing += [] if shutil.which("dciodvfy") else ["dicom3tools"]
        if sys.platform == "linux" and missing and shutil.which("apt-get"):
            run(["apt-get", "update", "-qq"])
            run(["apt-get", "install", "-qq", "--no-install-recommends", *missing])
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

    def module_of_ones_own(self) -> None:
        """Run a module with what follows --, in the environment."""
        self.install()
        self.module(*self.rest)

    def docs(self) -> None:
        """Build the site, in build/site; a broken link or reference fails. Python 3.11 or newer."""
        self.install("installed-docs")
        self.module("zensical", "build", "--clean", "--strict", *self.rest)
        run([self.python, Path("scripts", "check_links.py"), Path("build", "site")])

    def coverage(self) -> None:
        """Measure which lines the default tests reach, into coverage/; fail below the floor."""
        self.install("installed-all")
        self.module("coverage", "erase")
        # Of compiled kernels no line is seen; pyproject.toml names what is left out.
        self.module("coverage", "run", "-m", "pytest", "-n", "2", "--dist", "worksteal", *self.rest)
        self.module("coverage", "combine", "--quiet")
        self.module("coverage", "html", "--quiet", "-d", Path("coverage", "html"))
        self.module("coverage", "json", "--quiet", "-o", Path("coverage", "coverage.json"))
        run([self.python, Path("scripts", "coverage_floor.py"), Path("coverage", "coverage.json")])

    def build(self) -> None:
        """Build the source archive and the wheel into dist/, and check them as a package index would."""
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        with tempfile.TemporaryDirectory() as folder:
            tools = empty_house(Path(folder))
            tools.pip("-c", "constraints.txt", "build", "twine", "setuptools>=77")
            tools.module("build", "--no-isolation", "--outdir", "dist")
            tools.module("twine", "check", "--strict", *distributions())
        for path in distributions():
            print(f"{path.name}: {path.stat().st_size} bytes")
            if path.suffix == ".whl" and path.stat().st_size >= LARGEST_WHEEL:
                raise Failed(f"{path.name} is larger than {LARGEST_WHEEL} bytes")

    def try_install(self) -> None:
        """Install what was built, each in an empty environment, and let it predict."""
        for path in distributions():
            with tempfile.TemporaryDirectory() as folder:
                empty = empty_house(Path(folder))
                empty.pip("-c", "constraints.txt", "torch", "torchvision", path)
                at = Path(folder, "elsewhere")
                at.mkdir()
                run([empty.python, "-m", "pip", "check"], folder=at)
                program = empty.python.with_name("swin-umamba" + empty.python.suffix)
                run([program, "--version"], folder=at, variables={"PYTHONPATH": ""})
                run([program, "models", "--json"], folder=at, variables={"PYTHONPATH": ""})
                run([empty.python, "-c", TRIAL], folder=at, variables={"PYTHONPATH": ""})

    def gpu_check(self) -> None:
        """Check a GPU, with any Python that has PyTorch, NumPy and Triton: this one."""
        run([sys.executable, Path("benchmarks", "gpu_check.py"), *self.rest])

    def clean(self) -> None:
        """Remove the environment and what was made."""
        made = [ROOT / name for name in ("demo", "dist", "build", "coverage")]
        for each in made if self.folder is None else [self.folder, *made]:
            shutil.rmtree(each, ignore_errors=True)


def empty_house(folder: Path) -> House:
    """Make an environment with nothing in it, in a folder."""
    house = House(folder / "venv", hashes=False)
    run([sys.executable, "-m", "venv", folder / "venv"])
    return house


COMMANDS: dict[str, tuple[Callable[[House], None], ...]] = {
    "demo": (House.demo,),
    "test": (House.test,),
    "slow": (House.slow,),
    "test-all": (House.test, House.slow),
    "napari": (House.napari,),
    "lint": (House.lint,),
    "run": (House.module_of_ones_own,),
    "docs": (House.docs,),
    "coverage": (House.coverage,),
    "build": (House.build,),
    "try-install": (House.try_install,),
    "gpu-check": (House.gpu_check,),
    "clean": (House.clean,),
}


def main(arguments: Sequence[str]) -> int | str:
    """Run commands one after the other, each step once; return the exit code of the first that fails.

    Returns
    -------
    int or str
        An exit code; or, as `sys.exit` takes it, what is wrong.
    """
    arguments = list(arguments)
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__)
    parser.add_argument("commands", nargs="+", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument(
        "--as-is",
        action="store_true",
        default=bool(os.environ.get("DEV_AS_IS")),
        help="make no environment: use the Python that runs this, such as conda's (or set DEV_AS_IS=1)",
    )
    parser.add_argument(
        "--hashes", choices=("auto", "yes", "no"), default="auto", help="install files of known hashes only"
    )
    parser.epilog = "What follows -- goes to the command, such as: dev.py test -- -k scan"
    chosen = parser.parse_args(arguments[:at])
    hashes = hashes_fit() if chosen.hashes == "auto" else chosen.hashes == "yes"
    folder = None if chosen.as_is else chosen.venv.absolute()
    house = House(folder, hashes=hashes, rest=arguments[at + 1 :])
    steps = dict.fromkeys(step for command in chosen.commands for step in COMMANDS[command])
    try:
        for step in steps:
            step(house)
    except Failed as failed:
        return failed.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
