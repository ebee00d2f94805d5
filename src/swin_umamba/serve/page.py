"""The page of the server."""

from __future__ import annotations

from html import escape
from pathlib import Path

from swin_umamba.report.page import inline_part, render_page, source_hash
from swin_umamba.report.palette import UNCERTAINTY
from swin_umamba.report.svg import colour_text
from swin_umamba.serve.schema import ModelInfo
from swin_umamba.serve.upload import FIELD


def page_html(model: ModelInfo) -> str:
    """Return the page for a model, with all names escaped."""
    return render_page(
        "swin_umamba.serve",
        "page.html",
        model=model,
        field=FIELD,
        uncertainty_colours=[colour_text(colour) for colour in UNCERTAINTY],
    )


def login_html(*, wrong: bool = False) -> str:
    """Return the login page, which has no script."""
    return render_page("swin_umamba.serve", "login.html", wrong=wrong, entered=False)


def entrance_html() -> str:
    """Return the page that redirects to ``/`` from within the site.

    A browser that follows a link from elsewhere, such as a mail, does not send ``SameSite=Strict`` cookies
    with it.
    """
    return render_page("swin_umamba.serve", "login.html", wrong=False, entered=True)


def entrance_policy(html: str) -> str:
    """Return the content security policy of these two pages: their own style, and a form for this server."""
    return (
        f"default-src 'none'; style-src '{source_hash(inline_part(html, 'style'))}'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def entrance_file(folder: Path, address: str) -> str:
    """Write a page into a private folder that redirects to an address; return the address of that page."""
    path = folder / "open.html"
    link = escape(address)
    path.write_text(
        f'<!DOCTYPE html><title>swin-umamba</title><meta http-equiv="refresh" content="0; url={link}">'
        f'<p><a href="{link}">Open the page.</a></p>',
        encoding="utf-8",
    )
    return path.as_uri()


def page_policy(html: str) -> str:
    """Return the content security policy of the page: only its own style, script and server."""
    style, script = (source_hash(inline_part(html, part)) for part in ("style", "script"))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
