"""The public CI, and the oldest versions that it installs: no more rights than needed, nothing moving."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from script_modules import ROOT, script

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


PUBLISHING = {"publish": {"contents": "write"}, "publish-to-pypi": {"id-token": "write"}}
"""The jobs that may do more than read, and what."""


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_and_run_what_is_pinned(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    assert {name for name, job in workflow["jobs"].items() if "permissions" in job} <= PUBLISHING.keys()
    triggers = workflow[True]  # YAML reads the key "on" so
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(triggers)
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each) for each in used), used
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    # Titles and branches of strangers become shell code where they are put into a script.
    assert not any("${{" in step.get("run", "") for step in steps(workflow))
    assert "secrets." not in path.read_text()


def test_who_may_write_a_release_runs_nothing_that_was_built_or_installed() -> None:
    (release,) = (yaml.safe_load(path.read_text()) for path in WORKFLOWS if path.stem == "release")
    jobs = {name: release["jobs"][name] for name in PUBLISHING}
    assert {name: job["permissions"] for name, job in jobs.items()} == PUBLISHING
    run = {
        name: [step["run"].split()[0] for step in job["steps"] if "run" in step] for name, job in jobs.items()
    }
    assert run == {"publish": ["gh"], "publish-to-pypi": []}
    actions = {
        name: [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]
        for name, job in jobs.items()
    }
    assert actions == {
        "publish": ["actions/download-artifact"],
        "publish-to-pypi": ["actions/download-artifact", "pypa/gh-action-pypi-publish"],
    }
    # The index trusts a workflow in an environment, for which people may be asked; no password is kept.
    assert jobs["publish-to-pypi"]["environment"] == "pypi"
    assert not any("password" in step.get("with", {}) for step in jobs["publish-to-pypi"]["steps"])


def test_dependencies_are_audited_every_week() -> None:
    (ci,) = (yaml.safe_load(path.read_text()) for path in WORKFLOWS if path.stem == "ci")
    ((*_, day, month, weekday),) = (each["cron"].split() for each in ci[True]["schedule"])
    assert (day, month) == ("*", "*")
    assert weekday.isdigit()
    audits = re.findall(r"pip-audit .*-r (\S+)", "\n".join(step.get("run", "") for step in steps(ci)))
    assert audits == ["constraints.txt", "oldest.txt"]


def test_a_release_comes_with_hashes_and_a_bill_of_materials() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "cyclonedx-py environment" in text
    assert text.index("cyclonedx-py") < text.index("sha256sum -- * > SHA256SUMS")
    assert "--require-hashes" in (ROOT / "scripts" / "dev.py").read_text(encoding="utf-8")


def test_ci_runs_what_the_local_ci_runs() -> None:
    workflows = (yaml.safe_load(path.read_text()) for path in WORKFLOWS)
    commands = " ".join(step.get("run", "") for workflow in workflows for step in steps(workflow))
    (local,) = re.findall(r"^make (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert set(local.split()) <= set(commands.split())


def test_oldest_versions(tmp_path: Path) -> None:
    module = script("oldest_versions")
    (tmp_path / "pyproject.toml").write_text(
        "[project]\n"
        'dependencies = ["a>=2.6,!=2.9.*", "b", "c>=1.9"]\n'
        "[project.optional-dependencies]\n"
        'x = ["project[y]", "d-e[z]>=3; python_version > \'3\'", "c>=1.10"]\n'
    )
    assert module.oldest_versions(tmp_path / "pyproject.toml") == {"a": "2.6", "c": "1.10", "d-e": "3"}
    ours = module.oldest_versions(ROOT / "pyproject.toml")
    assert {"torch", "nnunetv2", "numpy", "fastapi", "monai"} <= ours.keys()


HASHED = {path.stem: path.read_text() for path in (ROOT / "hashes").glob("*.txt")}
LINE = re.compile(r"^(\S+?)==(\S+) --hash=sha256:[0-9a-f]{64}$", re.MULTILINE)
LOCKED = dict(LINE.findall("\n".join(HASHED.values())))


def test_every_line_of_the_hashed_files_is_one_package_with_its_hash() -> None:
    lines = [line for text in HASHED.values() for line in text.splitlines() if not line.startswith("#")]
    assert HASHED.keys() == {"build", "torch", "all"}
    assert len(lines) == len(LOCKED) > 100


def test_hashed_versions_are_the_pinned_ones() -> None:
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {script("lock_hashes").normal(name): version for name, version in pins}
    other = {
        name: (version, pinned[name])
        for name, version in LOCKED.items()
        if name in pinned and version.removesuffix("+cpu") != pinned[name]
    }
    assert not other, "run scripts/lock_hashes.py"


def test_all_that_the_tests_need_has_a_hash() -> None:
    project = script("oldest_versions").tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        each for name in ("compare", "serve", "tensorboard", "test", "test-all") for each in extras[name]
    ]
    normal = script("lock_hashes").normal
    names = {normal(re.match(r"[\w.-]+", each)[0]) for each in project["dependencies"] + wanted}
    assert names - LOCKED.keys() == {normal(project["name"])}, "run scripts/lock_hashes.py"


def test_hashed_lines_come_from_a_report_of_pip() -> None:
    def package(name: str, **where: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "version": "1.0"}, "download_info": where}

    def archive(digest: str) -> dict[str, Any]:
        return {"archive_info": {"hashes": {"sha256": digest}}}

    locked = script("lock_hashes").locked
    own = package("this", dir_info={"editable": True})
    report = {"install": [package("A_b.c", **archive("12")), own, package("torch", **archive("34"))]}
    assert locked(report) == {
        "build": [],
        "torch": ["torch==1.0 --hash=sha256:34"],
        "all": ["a-b-c==1.0 --hash=sha256:12"],
    }
    with pytest.raises(ValueError, match=r"no SHA-256 of a 1\.0"):
        locked({"install": [package("a", archive_info={})]})
