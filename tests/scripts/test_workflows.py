"""The workflows: right in form, complete, calling scripts/dev.py, their steps run where they can be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

import swin_umamba
from script_modules import ROOT, script

GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: path for path in sorted((GITHUB / "workflows").glob("*.yml"))}


class NotHere(Enum):
    """Why a step does not run in this test."""

    RUN_LOCALLY = "what `make` runs of the local CI"
    NETWORK = "asks a service other than a package index"
    SYSTEM = "installs packages of the system, or needs a screen"
    ENVIRONMENT = "installs torch anew, or runs the whole tests once more: too long"
    TWICE = "runs here for another job"
    PUBLISHES = "publishes"


# Of each job, in order: a reason for each step that runs a command, or None where it runs here.
STEPS: dict[tuple[str, str], list[NotHere | None]] = {
    ("ci", "lint"): [NotHere.RUN_LOCALLY],
    ("ci", "test"): [NotHere.RUN_LOCALLY],
    ("ci", "docs"): [None],
    ("ci", "package"): [NotHere.TWICE, NotHere.ENVIRONMENT],
    ("ci", "oldest-versions"): [None, NotHere.ENVIRONMENT, NotHere.ENVIRONMENT],
    ("ci", "audit"): [NotHere.NETWORK, NotHere.NETWORK, NotHere.NETWORK],
    ("nightly", "test-all"): [NotHere.RUN_LOCALLY],
    ("nightly", "napari"): [NotHere.SYSTEM, NotHere.SYSTEM],
    ("nightly", "coverage"): [NotHere.ENVIRONMENT],
    ("release", "build"): [None, None, NotHere.ENVIRONMENT, NotHere.ENVIRONMENT, NotHere.ENVIRONMENT, None],
    ("release", "publish"): [NotHere.PUBLISHES],
    ("release", "publish-to-pypi"): [],
}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for stem, path in WORKFLOWS.items():
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            yield stem, name, job


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", [".github/workflows/*.yml"]),
        ("dependabot", [".github/dependabot.yml"]),
        ("github-issue-forms", [".github/ISSUE_TEMPLATE/[!c]*.yml"]),
        ("github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ],
)
def test_form(schema: str, files: list[str]) -> None:
    pytest.importorskip("check_jsonschema")
    found = [path for pattern in files for path in sorted(ROOT.glob(pattern))]
    assert found
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{schema}",
        *map(str, found),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_step_runs_here_or_has_a_reason() -> None:
    counted = {(stem, name): len(commands(job)) for stem, name, job in jobs()}
    assert {place: len(steps) for place, steps in STEPS.items()} == counted


def test_what_is_said_to_run_locally_does() -> None:
    (local,) = re.findall(r"^make (.*)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    for stem, name, job in jobs():
        for command, reason in zip(commands(job), STEPS[stem, name], strict=True):
            if reason is NotHere.RUN_LOCALLY:
                assert command.removeprefix("python scripts/dev.py ") in local.split()


def test_what_is_said_to_run_for_another_job_does() -> None:
    run_here, twice = set[str](), set[str]()
    for stem, name, job in jobs():
        for command, reason in zip(commands(job), STEPS[stem, name], strict=True):
            (run_here if reason is None else twice if reason is NotHere.TWICE else set()).add(command)
    assert twice <= run_here


def test_commands_of_the_script_exist() -> None:
    called = [
        word
        for _, _, job in jobs()
        for command in commands(job)
        for words in re.findall(r"scripts/dev\.py (.*)$", command, re.MULTILINE)
        for word in words.split()
    ]
    assert len(called) >= 8
    assert set(called) <= script("dev").COMMANDS.keys()


def test_the_tests_run_on_every_system_with_every_python() -> None:
    (matrix,) = (job["strategy"]["matrix"] for stem, name, job in jobs() if (stem, name) == ("ci", "test"))
    assert {each.split("-")[0] for each in matrix["system"]} == {"ubuntu", "macos", "windows"}
    classifiers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert matrix["python"] == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', classifiers)


def test_what_runs_on_windows_needs_no_shell_of_unix() -> None:
    for stem, name, job in jobs():
        if "strategy" in job:
            for command in commands(job):
                assert re.fullmatch(r"python scripts/dev\.py [a-z -]+", command), (stem, name, command)


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what is under version control, or would be, with a dated section in the changelog."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    changelog = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.sub(r"^(## [\d.]+) - unreleased$", r"\1 - 2026-12-01", changelog, count=1, flags=re.MULTILINE)
    (folder / "CHANGELOG.md").write_text(dated, encoding="utf-8")
    return folder


RUNNING = [place for place, steps in STEPS.items() if None in steps]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the jobs run on Linux")
@pytest.mark.parametrize("place", RUNNING, ids=" ".join)
def test_steps_run(place: tuple[str, str], tmp_path: Path) -> None:
    (job,) = (job for stem, name, job in jobs() if (stem, name) == place)
    tree = copy_of_the_tree(tmp_path)
    (tree / "swin-umamba.cdx.json").write_text("{}")  # of a step that does not run here
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tree / "src"),
        "DEV_AS_IS": "1",
        "GITHUB_REF_NAME": f"v{swin_umamba.__version__}",
    }
    for command, reason in zip(commands(job), STEPS[place], strict=True):
        if reason is None:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=tree,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}"
    if place[0] == "release":
        sums = (tree / "release" / "SHA256SUMS").read_text(encoding="utf-8")
        names = {line.split("  ")[1] for line in sums.splitlines()}
        version = swin_umamba.__version__
        built = {f"swin_umamba-{version}.tar.gz", f"swin_umamba-{version}-py3-none-any.whl"}
        assert names == {*built, "notes.md", "swin-umamba.cdx.json"}
