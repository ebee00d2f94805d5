"""Run the remaining steps of an experiment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from swin_umamba.errors import SwinUMambaError, UsageError
from swin_umamba.experiments.report import write_report
from swin_umamba.experiments.settings import deviations
from swin_umamba.experiments.steps import STEPS, Experiment, needed_weights
from swin_umamba.files import check_output_folder
from swin_umamba.json_files import read_contract, write_contract

SETTINGS_NAME = "reproduce.json"
WIDTH = 72


def reproduce(experiment: Experiment, announce: Callable[[str], None]) -> tuple[Path, Path]:
    """Convert, plan, train, predict, evaluate and report; finished steps are not repeated.

    Parameters
    ----------
    experiment
        The experiment and its folder.
    announce
        Function called with a line for each step.

    Returns
    -------
    tuple of Path
        The report as Markdown and as JSON.

    Raises
    ------
    UsageError
        The folder holds something else, or a run with other settings.
    SwinUMambaError
        A step failed. The steps before it are done, and the same command resumes there.
    """
    _check_root(experiment)
    for line in warning(experiment):
        announce(line)
    _check_source(experiment)
    if not experiment.final_checkpoint.is_file() and needed_weights(experiment) not in (None, "none"):
        from swin_umamba.nnunet.training.pretrained import locate_pretrained

        # Before hours of other work, as this may have to download.
        locate_pretrained(str(needed_weights(experiment)))
    write_contract("experiment-settings", experiment.root / SETTINGS_NAME, _settings(experiment))
    seconds: dict[str, float] = {}
    for number, step in enumerate(STEPS, start=1):
        title = f"[{number}/{len(STEPS)}] {step.name}"
        if step.is_done(experiment):
            announce(f"{title}: done before")
            continue
        announce(f"{title}: {step.describe(experiment)}")
        started = time.monotonic()
        step.do(experiment)
        seconds[step.name] = time.monotonic() - started
        if not step.is_done(experiment):
            raise SwinUMambaError(
                f"the step {step.name} ended without its result",
                where=experiment.root,
                hint="run the same command again; if it stays, look into this folder",
            )
    return write_report(experiment, seconds)


def dry_run(experiment: Experiment) -> Iterator[str]:
    """Yield what :func:`reproduce` would announce, without doing or writing anything."""
    _check_root(experiment)
    yield from warning(experiment)
    for number, step in enumerate(STEPS, start=1):
        done = ": done before" if step.is_done(experiment) else f": {step.describe(experiment)}"
        yield f"[{number}/{len(STEPS)}] {step.name}{done}"
    yield f"report: {experiment.root / experiment.trainer / 'report.md'}"


def warning(experiment: Experiment) -> list[str]:
    """Return a conspicuous warning if the run deviates from the paper; no lines if it does not."""
    lines = deviations(experiment.recipe, experiment.settings)
    if not lines:
        return []
    title = " NOT THE EXPERIMENT OF THE PAPER "
    return [title.center(WIDTH, "!"), *(f"  {line}" for line in lines), "!" * WIDTH]


def _settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that all trainers in a folder must share."""
    return {
        "recipe": experiment.recipe.name,
        "data": str(experiment.data.absolute()),
        "convert_options": {name: str(value) for name, value in experiment.convert_options.items()},
        **experiment.settings.as_dict(),
    }


def _check_root(experiment: Experiment) -> None:
    """Refuse a folder that holds something else, or a run with other settings."""
    root, path = experiment.root, experiment.root / SETTINGS_NAME
    if not root.exists():
        return check_output_folder(root)
    check_output_folder(root)
    if not path.is_file():
        if any(root.iterdir()):
            raise UsageError(
                "the folder is not empty and holds no run of a recipe",
                where=root,
                hint="give another --output",
            )
        return None
    before = read_contract(path, error=UsageError, hint="give another --output")
    now = _settings(experiment)
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in changed)
        raise UsageError(
            f"the folder holds a run with other settings: {listed}",
            where=root,
            hint="repeat the command of that run to continue it, or give another --output",
        )
    return None


def _check_source(experiment: Experiment) -> None:
    """Refuse a missing data folder while it is still needed."""
    if not experiment.data.is_dir() and not STEPS[0].is_done(experiment):
        raise UsageError("there is no such folder", where=experiment.data, hint="give the data with --data")
