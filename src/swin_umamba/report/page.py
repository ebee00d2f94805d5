"""Self-contained pages: one file of HTML, style and script, and the script's hash."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from swin_umamba.errors import printable

# Line in a style or a script that includes a file.
_INCLUDE = re.compile(r"^(?:/\* include (?P<style>\S+) \*/|// include (?P<script>\S+))$", re.MULTILINE)
_PARTS = {name: re.compile(f"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("script", "style")}


def render_page(package: str, name: str, **values: Any) -> str:
    """Return the page that a template makes of ``values``.

    Values are escaped unless they are markup. Script and style are used unchanged and contain no values, so
    the hash of the script is known: it is ``script_hash`` in the template, and nothing else may run, whatever
    a name in ``values`` contains.

    Parameters
    ----------
    package
        Package that contains the template.
    name
        File name of the template. It has one ``<style>`` and at most one ``<script>``; the lines ``// include
        FILE`` and ``/* include FILE */`` in them include files of the same package, or of
        ``swin_umamba.report``.
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
    # Surrogates, as in a file name that is not UTF-8, cannot be encoded.
    return page.encode(errors="replace").decode()


def _shown(value: Any) -> Any:
    """Replace characters that make a name look like another: control, bidirectional and invisible ones."""
    return printable(value) if type(value) is str else value


def inline_part(page: str, part: str) -> str:
    """Return the content of the first ``script`` or ``style`` of a page."""
    found = _PARTS[part].search(page)
    assert found is not None
    return found[1]


def source_hash(text: str) -> str:
    """Return the source expression of an inline script or style for a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
