"""The charts below the scores of a report: one module each, with ``draw``, and the user's own charts."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from swin_umamba.report.contents import Report

Draw = Callable[[Report], list[str]]
"""Function that draws charts of a report, each an SVG element; none if the report lacks the data."""

_OWN: dict[str, Draw] = {}


def register_chart(draw: Draw) -> Draw:
    """Add charts to every report; usable as a decorator.

    Call it in a file of your own that ``SWIN_UMAMBA_EXTENSIONS`` names (``docs/extending.md``). A function
    registered again under the same name replaces the first.

    Parameters
    ----------
    draw
        Function that takes the ``Report`` and returns SVG elements, as ``report.curves.line_chart`` and
        ``report.distributions.distribution_chart`` make them. They are inserted into the page unchanged.
    """
    _OWN[draw.__name__] = draw
    return draw


def draw_charts(report: Report) -> list[str]:
    """Return all charts of a report, those of the package first."""
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    draws: list[Draw] = [module.draw for module in modules]
    return [chart for draw in (*draws, *_OWN.values()) for chart in draw(report)]
