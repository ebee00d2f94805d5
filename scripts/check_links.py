"""Find links, pictures and anchors of a site that lead nowhere: `python scripts/check_links.py build/site`.

Addresses elsewhere are not asked; a page that would fetch something from there by itself is a fault.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches without being asked, by tag.
FETCHED = {"img": "src", "script": "src", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and (link := values.get("href")):
            self.links.append(link)
        if tag == "link" and values.get("rel") in ("stylesheet", "icon") and (link := values.get("href")):
            self.fetched.append(link)
        if tag in FETCHED and (link := values.get(FETCHED[tag])):
            self.fetched.append(link)


def faults(site: Path) -> Iterator[str]:
    """Yield a line for each reference of the pages below ``site`` that leads nowhere."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links count from wherever it is shown
            continue
        for link in (*page.links, *page.fetched):
            where = f"{path.relative_to(site)}: {link}"
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    yield f"{where}: is fetched from elsewhere"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_relative_to(site) or not target.is_file():
                yield f"{where}: there is no such file"
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors and not anchor.startswith("__"):
                    yield f"{where}: the page has no such anchor"


def main(arguments: list[str]) -> int:
    """Print each fault; return 1 if there is one, or no page at all."""
    site = Path(arguments[0])
    found = list(faults(site))
    number = len(list(site.rglob("*.html")))
    print("\n".join(found) or f"{number} pages: no broken link")
    return 1 if found or not number else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
