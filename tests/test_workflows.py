"""The public CI, and the oldest versions that it installs: no more rights than needed, nothing moving."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_and_run_what_is_pinned(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    assert {name for name, job in workflow["jobs"].items() if "permissions" in job} <= {"publish"}
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
    publish = release["jobs"]["publish"]
    assert publish["permissions"] == {"contents": "write"}
    assert [step["run"].split()[0] for step in publish["steps"] if "run" in step] == ["gh"]
    (action,) = (step["uses"] for step in publish["steps"] if "uses" in step)
    assert action.startswith("actions/download-artifact@")


def test_ci_runs_what_the_local_ci_runs() -> None:
    (ci,) = (yaml.safe_load(path.read_text()) for path in WORKFLOWS if path.stem == "ci")
    commands = " ".join(step.get("run", "") for step in steps(ci))
    (local,) = re.findall(r"^make (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert set(local.split()) <= set(commands.split())


def test_oldest_versions(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("oldest", ROOT / "scripts" / "oldest_versions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text(
        "[project]\n"
        'dependencies = ["a>=2.6,!=2.9.*", "b", "c>=1.9"]\n'
        "[project.optional-dependencies]\n"
        'x = ["project[y]", "d-e[z]>=3; python_version > \'3\'", "c>=1.10"]\n'
    )
    assert module.oldest_versions(tmp_path / "pyproject.toml") == {"a": "2.6", "c": "1.10", "d-e": "3"}
    ours = module.oldest_versions(ROOT / "pyproject.toml")
    assert {"torch", "nnunetv2", "numpy", "fastapi", "monai"} <= ours.keys()
