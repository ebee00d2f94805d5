"""Pages that need nothing besides themselves: one file of HTML, style and script, and the script's hash."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from swin_umamba.errors import printable

# A line that stands for a file, in a style or in a script.
_INCLUDE = re.compile(r"^(?:/\* include (?P<style>\S+) \*/|// include (?P<script>\S+))$", re.MULTILINE)
_PARTS = {name: re.compile(f"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("script", "style")}


def render_page(package: str, name: str, **values: Any) -> str:
    """Return the page that a template makes of ``values``.

    Every value is escaped where it is not markup already. Script and style are taken as they are; no value
    gets into them, so that the hash of the script is known: it is ``script_hash`` in the template, and all
    that may run, whatever a name in ``values`` holds.

    Parameters
    ----------
    package
        The room that the template lies in.
    name
        Its file name. It has one ``<style>`` and at most one ``<script>``; the lines ``// include FILE`` and
        ``/* include FILE */`` in them stand for files of the same room, or of ``swin_umamba.report``.
    """
    rooms = (files(package), files("swin_umamba.report"))

    def included(line: re.Match[str]) -> str:
        file = line["style"] or line["script"]
        found = next(room / file for room in rooms if (room / file).is_file())
        return found.read_text(encoding="utf-8").rstrip("\n")

    template = _INCLUDE.sub(included, (rooms[0] / name).read_text(encoding="utf-8"))
    parts = {part: inline_part(template, part) for part in _PARTS if _PARTS[part].search(template)}
    for part, text in parts.items():
        template = template.replace(text, f"{{{{ {part} }}}}")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    page = environment.from_string(template).render(
        **values,
        **{part: Markup(text) for part, text in parts.items()},
        script_hash=source_hash(parts.get("script", "")),
    )
    # Half a character, as in a file name that is not UTF-8, cannot be written.
    return page.encode(errors="replace").decode()


def _shown(value: Any) -> Any:
    """Replace what makes a name look like another: control, bidirectional and invisible characters."""
    return printable(value) if type(value) is str else value


def inline_part(page: str, part: str) -> str:
    """Return the content of the first ``script`` or ``style`` of a page."""
    found = _PARTS[part].search(page)
    assert found is not None
    return found[1]


def source_hash(text: str) -> str:
    """Return what a content security policy calls an inline script or style: ``sha256-`` and its hash."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
