"""Objects from QuPath's GeoJSON, in pixels of the full image.

Sources: RFC 7946; QuPath's documentation of its export. A feature is an object: one or more polygons, with
holes. Its class is ``properties.classification.name``. For a cell, the outline counts, not its nucleus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swin_umamba.data.object_masks.object_map import OneObject, union
from swin_umamba.data.object_masks.polygons import polygon_object
from swin_umamba.errors import DataError

HINT = "export the objects again from QuPath, as GeoJSON"


def geojson_objects(path: Path, stored: Any, shape: tuple[int, int]) -> Iterator[OneObject]:
    """Yield the objects of a file with these contents, for an image of shape ``(rows, columns)``.

    Raises
    ------
    DataError
        The file has another format, or contains points or lines, which have no area.
    """
    if isinstance(stored, Mapping):
        stored = stored.get("features") if stored.get("type") == "FeatureCollection" else [stored]
    if not isinstance(stored, list):
        raise DataError("this is not GeoJSON: it has no features", where=path, hint=HINT)
    for number, feature in enumerate(stored):
        what = f"feature {number}"
        try:
            yield _object(feature, shape, what)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise DataError(f"{what} cannot be read: {error}", where=path, hint=HINT) from error


def _object(feature: Any, shape: tuple[int, int], what: str) -> OneObject:
    geometry = feature["geometry"]
    name = ((feature.get("properties") or {}).get("classification") or {}).get("name")
    if name is not None and not isinstance(name, str):
        raise ValueError("the name of its class is not a text")
    kind = geometry["type"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {kind} has no area")
    coordinates = geometry["coordinates"]
    if not isinstance(coordinates, list) or not coordinates:
        raise ValueError("it has no coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    parts = [[np.asarray(ring, np.float64) for ring in rings] for rings in polygons]
    return union(
        [polygon_object([_flat(ring) for ring in rings], shape, name, what) for rings in parts], shape
    )


def _flat(ring: np.ndarray) -> np.ndarray:
    """Return x and y of points that may also have a height."""
    return ring[:, :2] if ring.ndim == 2 and ring.shape[1] > 2 else ring
