"""Print the oldest versions that ``pyproject.toml`` allows as constraints for pip: NAME==VERSION a line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=(?P<version>[0-9.]+)")


def oldest_versions(pyproject: Path) -> dict[str, str]:
    """Return name to version of all requirements that have a lower bound, of the package and of its extras.

    Of a package with several bounds, the highest counts: all of them have to hold.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"]]
    for each in project["optional-dependencies"].values():
        required += each
    found: dict[str, str] = {}
    for match in filter(None, map(REQUIREMENT.match, required)):
        name, version = match["name"], match["version"]
        found[name] = max(found.get(name, "0"), version, key=lambda text: tuple(map(int, text.split("."))))
    return found


if __name__ == "__main__":
    oldest = oldest_versions(Path(__file__).parents[1] / "pyproject.toml")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in oldest.items())
