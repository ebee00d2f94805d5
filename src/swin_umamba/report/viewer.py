"""Pictures of a case in the page: panels of one picture with the paths of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from swin_umamba.report.contents import CasePictures, Slice
from swin_umamba.report.layers import data_uri, fill_path, outline_path
from swin_umamba.report.objects import coloured
from swin_umamba.report.palette import ERROR_COLOURS, class_colour, uncertainty_colours
from swin_umamba.report.svg import colour_text

PANEL_TITLES = {
    "truth": "Truth",
    "prediction": "Prediction",
    "errors": "Errors",
    "uncertainty": "Uncertainty",
    "true_objects": "True objects",
    "objects": "Objects",
    "object_errors": "Errors of objects",
}
OVERLAYS = ("uncertainty", "true_objects", "objects", "object_errors")
"""Panels with a picture over the picture; the others have paths."""
# Limit for the paths of a case: ragged labels in many slices would make pages too large for browsers.
MAX_PATH_CHARACTERS = 2 * 2**20


def case_viewer(case: CasePictures, number: int, classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the values of a case for the template: its pictures, and paths and a text for each panel.

    Parameters
    ----------
    case
        The case.
    number
        Number of the case in the page.
    classes
        Class name to label value.
    """
    height, width = case.slices[0].image.shape[:2]
    kinds = {
        kind for each in case.slices for kind in ("truth", "prediction") if getattr(each, kind) is not None
    }
    panels: list[str] = [kind for kind in ("truth", "prediction") if kind in kinds]
    if len(panels) == 2:
        panels.append("errors")
    panels += [kind for kind in OVERLAYS if any(getattr(each, kind) is not None for each in case.slices)]
    layers = {kind: [_layers(kind, each) for each in case.slices] for kind in panels or ["image"]}
    kept = _affordable(layers)
    slices = [case.slices[place] for place in kept]
    notes = [case.note] if case.note else []
    if len(kept) < len(case.slices):
        notes.append(f"as outlines are long, {len(kept)} of {len(case.slices)} shown")
    names = {value: name for name, value in classes.items()}
    return {
        "id": f"case-{number}",
        "case": case,
        "width": width,
        "height": height * case.aspect,
        "aspect": case.aspect,
        "note": "; ".join(notes),
        "start": max(range(len(slices)), key=lambda place: _labelled(slices[place])),
        "stripe": max(width, height) / 128,
        "marks": _marks(case.edges, width, height * case.aspect),
        "slices": [
            {
                "index": each.index,
                "image": data_uri(each.image),
                "overlays": {kind: uri for kind in panels if (uri := _overlay(kind, each)) is not None},
            }
            for each in slices
        ],
        "panels": [
            {
                "kind": kind,
                "title": PANEL_TITLES.get(kind, "Image"),
                "text": _panel_text(kind, case, names),
                "legend": _error_legend(case) if kind == "object_errors" else [],
                "slices": [parts[place] for place in kept],
            }
            for kind, parts in layers.items()
        ],
    }


def _overlay(kind: str, picture: Slice) -> str | None:
    """Return what lies over the picture in a panel as a data URI; None if nothing does."""
    values = getattr(picture, kind) if kind in OVERLAYS else None
    if values is None:
        return None
    if kind == "uncertainty":
        colours = uncertainty_colours(values)
    else:
        colours = coloured(values, list(ERROR_COLOURS.values()) if kind == "object_errors" else None)
    return data_uri(colours, lossless=True)


def _error_legend(case: CasePictures) -> list[dict[str, Any]]:
    return [
        {"name": kind, "count": case.errors.get(kind, 0), "colour": colour_text(colour)}
        for kind, colour in ERROR_COLOURS.items()
    ]


def _marks(edges: Sequence[str], width: float, height: float) -> list[dict[str, Any]]:
    """Return the letters at the edges of a picture, and their centres."""
    size = max(width, height) / 18
    places = (
        (size * 0.6, height / 2),
        (width - size * 0.6, height / 2),
        (width / 2, size * 0.6),
        (width / 2, height - size * 0.6),
    )
    return [
        {"text": edge, "x": f"{x:.2f}", "y": f"{y:.2f}", "size": f"{size:.2f}"}
        for edge, (x, y) in zip(edges, places, strict=False)
    ]


def _affordable(layers: dict[str, list[list[dict[str, Any]]]]) -> list[int]:
    """Return slices whose paths are short enough in total: all, or every second, fourth and so on."""
    costs = [
        sum(len(str(value)) for parts in slices for layer in parts for value in layer.values())
        for slices in zip(*layers.values(), strict=True)
    ]
    step = 1
    while step < len(costs) and sum(costs[::step]) > MAX_PATH_CHARACTERS:
        step *= 2
    return list(range(0, len(costs), step))


def _labelled(picture: Slice) -> int:
    maps = (picture.truth, picture.prediction, picture.true_objects, picture.objects)
    return sum(int(np.count_nonzero(each)) for each in maps if each is not None)


def _layers(kind: str, picture: Slice) -> list[dict[str, Any]]:
    """Return the paths of each class of one slice."""
    truth, prediction = picture.truth, picture.prediction
    if kind == "errors" and truth is not None and prediction is not None:
        pairs = [(value, truth == value, prediction == value) for value in _values(truth, prediction)]
        return [_layer(value, t, missed=t & ~p, extra=p & ~t) for value, t, p in pairs]
    labels = {"truth": truth, "prediction": prediction}.get(kind)
    if labels is None:
        return []
    return [_layer(value, labels == value, fill=labels == value) for value in _values(labels)]


def _layer(value: int, outlined: np.ndarray, **filled: np.ndarray) -> dict[str, Any]:
    paths = {"outline": outline_path(outlined), **{name: fill_path(mask) for name, mask in filled.items()}}
    markup = {name: Markup(path) for name, path in paths.items()}
    return {"value": value, "colour": colour_text(class_colour(value)), **markup}


def _values(*maps: np.ndarray) -> list[int]:
    found: list[int] = sorted({value for labels in maps for value in np.unique(labels).tolist() if value > 0})
    return found


def _panel_text(kind: str, case: CasePictures, names: dict[int, str]) -> str:
    """Return a description for readers who cannot see the picture."""
    maps = [(each.truth, each.prediction) for each in case.slices]
    if kind == "errors":
        wrong = sum(int(np.count_nonzero(t != p)) for t, p in maps if t is not None and p is not None)
        pixels = sum(t.size for t, p in maps if t is not None and p is not None)
        return f"Errors of case {case.name}: {wrong} of {pixels} pixels shown differ from the truth"
    if kind == "uncertainty":
        shown = [each.uncertainty for each in case.slices if each.uncertainty is not None]
        mean = float(np.mean([each.mean() for each in shown]))
        return f"Uncertainty of case {case.name}: {mean:.3f} on average, from 0 for certain to 1"
    if kind == "object_errors":
        counts = ", ".join(f"{case.errors.get(kind, 0)} {kind}" for kind in ERROR_COLOURS)
        return f"Errors of objects of case {case.name}: {counts}"
    if kind in OVERLAYS:
        return f"{PANEL_TITLES[kind]} of case {case.name}, one colour an object"
    labels = [t if kind == "truth" else p for t, p in maps]
    found = _values(*(each for each in labels if each is not None))
    listed = ", ".join(names.get(value, f"label {value}") for value in found) or "no class"
    what = {"truth": "Truth", "prediction": "Prediction"}.get(kind, "Image")
    return f"{what} of case {case.name}, showing {listed}"
