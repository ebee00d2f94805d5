"""Objects as GeoJSON for QuPath (0.5 and later): detections with their class and measurements.

Coordinates are pixels of the full-resolution image, as QuPath expects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from swin_umamba.errors import UsageError
from swin_umamba.files import atomic_open
from swin_umamba.instances.outlines import Polygon
from swin_umamba.instances.table import ObjectTable
from swin_umamba.report.palette import class_colour

# Namespace of the objects' identifiers; any constant will do.
_NAMESPACE = UUID("6e0c5d0e-3f4b-5b0c-9a55-1d3f0a7f6d21")
Add = Callable[[ObjectTable, Mapping[int, tuple[Polygon, ...]]], None]
_NO_MEASUREMENTS = {"case", "object", "class", "schema"}


def write_geojson(path: str | Path, table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
    """Write the objects of a case as a FeatureCollection, atomically.

    Parameters
    ----------
    path
        File to write; QuPath opens ``.geojson``.
    table
        The objects of a flat map.
    outlines
        Outlines of the same map.

    Raises
    ------
    UsageError
        Table and outlines hold different objects.
    OutputError
        The file cannot be written.
    """
    with geojson_file(path) as add:
        add(table, outlines)


@contextmanager
def geojson_file(path: str | Path) -> Iterator[Add]:
    """Yield a function that adds objects to a file of :func:`write_geojson`, for tables in parts."""
    with atomic_open(path) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        begin = b"\n"

        def add(table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
            nonlocal begin
            check_same_objects(table, outlines)
            for feature in features_of(table, outlines):
                file.write(begin + json.dumps(feature, allow_nan=False).encode())
                begin = b",\n"

        yield add
        file.write(b"\n]}\n")


def features_of(table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> Iterator[dict[str, Any]]:
    """Yield a GeoJSON feature for each object, in the order of the table.

    Its name is the object's number; its measurements are named like the columns of the table, units included,
    and those not applicable are left out. Its identifier depends only on case, number and outline.
    """
    columns = list(table.columns())
    for label, row in zip(table.label.tolist(), table.rows(), strict=True):
        values = dict(zip(columns, row, strict=True))
        number = values["object"]
        coordinates = [[ring.tolist() for ring in polygon] for polygon in outlines[number]]
        several = len(coordinates) > 1
        geometry = {
            "type": "MultiPolygon" if several else "Polygon",
            "coordinates": coordinates if several else coordinates[0],
        }
        properties: dict[str, Any] = {"objectType": "detection", "name": str(number)}
        if label > 0:  # an object entirely on background has no class
            properties["classification"] = {"name": values["class"], "color": list(class_colour(label))}
        properties["measurements"] = {
            name: value
            for name, value in values.items()
            if name not in _NO_MEASUREMENTS and math.isfinite(value)
        }
        identity = json.dumps([table.case, number, coordinates])
        yield {
            "type": "Feature",
            "id": str(uuid5(_NAMESPACE, identity)),
            "geometry": geometry,
            "properties": properties,
        }


def check_same_objects(table: ObjectTable, outlines: Mapping[int, tuple[Polygon, ...]]) -> None:
    """Refuse a table and outlines of different maps."""
    if table.number.tolist() != list(outlines):
        raise UsageError("the table and the outlines are of different objects", where=table.case)
