"""Shell commands that let nnU-Net's own commands find our trainers."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from swin_umamba.nnunet.environment import Folders
from swin_umamba.torch_settings import SETTINGS

SHIM_FOLDER = Path(__file__).resolve().parent / "shim"
TRAINER_SHIM = SHIM_FOLDER / "trainers"
TORCHVISION_SHIM = SHIM_FOLDER / "torchvision_schemas"

TORCHVISION_COMMENT = """\
torchvision does not fit the installed torch build, and nnU-Net imports it when it searches for a trainer:
"operator torchvision::nms does not exist". The next line puts a folder on Python's path whose
sitecustomize.py declares the two operators that torchvision misses. It becomes superfluous with a torchvision
that was built for this torch (both from the same index: https://pytorch.org/get-started)."""


class Variable(NamedTuple):
    """An environment variable to set, and the reason if it is not obvious."""

    name: str
    value: str
    comment: str = ""


def shell_variables(root: str | Path | None = None) -> list[Variable]:
    """Return the variables that nnU-Net's own commands need to work with this package.

    Parameters
    ----------
    root
        Folder that contains nnU-Net's three folders; None does not set their variables.
    """
    variables = []
    if root is not None:
        variables += [Variable(*each) for each in Folders.below(root).variables().items()]
    for setting in SETTINGS:
        if setting.name in os.environ:  # it was set by the command line for itself, or by the user
            variables.append(Variable(setting.name, os.environ[setting.name], setting.reason))
    variables.append(Variable("nnUNet_extTrainer", _prepended(TRAINER_SHIM, "nnUNet_extTrainer")))
    if torchvision_is_broken():
        variables.append(
            Variable("PYTHONPATH", _prepended(TORCHVISION_SHIM, "PYTHONPATH"), TORCHVISION_COMMENT)
        )
    return variables


def torchvision_is_broken() -> bool:
    """Return whether torchvision is installed, but built for another torch, so that it cannot be imported."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        return "torchvision::nms" in str(error)
    except ImportError:
        pass
    return False


def as_sh(variables: list[Variable]) -> str:
    """Return commands for sh, bash and zsh that export the variables."""
    return _script(variables, lambda name, value: f"export {name}={shlex.quote(value)}")


def as_powershell(variables: list[Variable]) -> str:
    """Return commands for PowerShell that set the variables."""
    # Quotation marks are doubled. PowerShell treats typographic ones like the plain one.
    doubled = partial(re.sub, "['\u2018-\u201b]", r"\g<0>\g<0>")
    return _script(variables, lambda name, value: f"$env:{name} = '{doubled(value)}'")


def _script(variables: list[Variable], command: Callable[[str, str], str]) -> str:
    lines = []
    for name, value, comment in variables:
        lines += [f"# {line}" for line in comment.splitlines()]
        lines.append(command(name, value))
    return "\n".join(lines) + "\n"


def _prepended(folder: Path, name: str) -> str:
    """Return the path list in a variable with ``folder`` in front, and nowhere else."""
    others = [entry for entry in os.environ.get(name, "").split(os.pathsep) if entry and entry != str(folder)]
    return os.pathsep.join([str(folder), *others])
