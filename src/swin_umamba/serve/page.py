"""The page of the server."""

from __future__ import annotations

from swin_umamba.report.page import inline_part, render_page, source_hash
from swin_umamba.report.palette import UNCERTAINTY
from swin_umamba.report.svg import colour_text
from swin_umamba.serve.schema import ModelInfo
from swin_umamba.serve.upload import FIELD


def page_html(model: ModelInfo) -> str:
    """Return the page for a model; names in it are escaped."""
    return render_page(
        "swin_umamba.serve",
        "page.html",
        model=model,
        field=FIELD,
        uncertainty_colours=[colour_text(colour) for colour in UNCERTAINTY],
    )


def page_policy(html: str) -> str:
    """Return the content security policy of the page: its own style, script and server, and nothing else."""
    style, script = (source_hash(inline_part(html, part)) for part in ("style", "script"))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
