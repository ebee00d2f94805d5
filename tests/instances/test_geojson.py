"""GeoJSON as QuPath reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from skimage.draw import polygon2mask

from swin_umamba.errors import UsageError
from swin_umamba.instances.geojson import features_of, write_geojson
from swin_umamba.instances.outlines import outlines_of
from swin_umamba.instances.table import objects_of

ROWS = ["0110000", "1111022", "1001020", "1111022", "0000000", "5300003"]
INSTANCES = np.array([list(map(int, row)) for row in ROWS])


def written(path: Path, instances: np.ndarray = INSTANCES, **arguments: object) -> list[dict]:
    write_geojson(path, objects_of(instances, case="a", **arguments), outlines_of(instances))
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


def pixels_of(geometry: dict, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a geometry: a pixel is in it if its centre is inside an odd number of rings."""
    several = geometry["type"] == "MultiPolygon"
    polygons = geometry["coordinates"] if several else [geometry["coordinates"]]
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        for ring in polygon:
            assert ring[0] == ring[-1]
            assert all(type(value) is int for corner in ring for value in corner)
            inside ^= polygon2mask(shape, np.array(ring)[:, ::-1] - 0.5)
    return inside


def test_outlines_are_drawn_back_to_the_map(tmp_path: Path) -> None:
    features = written(tmp_path / "a.geojson")
    drawn = np.zeros_like(INSTANCES)
    for feature in features:
        drawn[pixels_of(feature["geometry"], INSTANCES.shape)] = int(feature["properties"]["name"])
    np.testing.assert_array_equal(drawn, INSTANCES)
    kinds = {feature["properties"]["name"]: feature["geometry"]["type"] for feature in features}
    assert kinds == {"1": "Polygon", "2": "Polygon", "3": "MultiPolygon", "5": "Polygon"}
    holes = [len(feature["geometry"]["coordinates"]) - 1 for feature in features[:2]]
    assert holes == [1, 0]


def test_properties_are_those_that_qupath_reads(tmp_path: Path) -> None:
    features = written(
        tmp_path / "a.geojson",
        classes=np.where(INSTANCES == 2, 2, 0),
        class_names={2: "tumour"},
        image=np.full((1, *INSTANCES.shape), 7.0),
        spacing=(0.0005, 0.0005),
    )
    assert set(features[1]) == {"type", "id", "geometry", "properties"}
    properties = features[1]["properties"]
    assert set(properties) == {"objectType", "name", "classification", "measurements"}
    assert properties["objectType"] == "detection"
    assert properties["classification"] == {"name": "tumour", "color": [86, 180, 233]}
    measured = properties["measurements"]
    assert list(measured) == [
        *("area_px", "area_um2", "centroid_y", "centroid_x"),
        *("box_y_min", "box_y_max", "box_x_min", "box_x_max"),
        *("equivalent_diameter_px", "equivalent_diameter_um", "eccentricity", "touches_border"),
        *("mean_0", "std_0"),
    ]
    assert (measured["area_px"], measured["area_um2"], measured["mean_0"]) == (5, 1.25, 7.0)
    assert "classification" not in features[0]["properties"]


def test_identifiers_are_stable_and_distinct() -> None:
    def identifiers(case: str, instances: np.ndarray) -> list[str]:
        return [each["id"] for each in features_of(objects_of(instances, case=case), outlines_of(instances))]

    found = identifiers("a", INSTANCES)
    assert found == identifiers("a", INSTANCES.astype(np.uint8))
    assert found[0] == "c7c77cf4-3015-50fe-b28c-ced66336998c"
    assert all(UUID(each).version == 5 for each in found)
    moved = np.roll(INSTANCES, 1, axis=1)
    assert len({*found, *identifiers("b", INSTANCES), *identifiers("a", moved)}) == 3 * len(found)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    image = np.full((2, *INSTANCES.shape), math.nan)
    image[1] = math.inf
    for feature in written(tmp_path / "a.geojson", image=image):
        assert not {"mean_0", "mean_1", "area_um2"} & set(feature["properties"]["measurements"])


def test_a_case_without_objects_is_an_empty_collection(tmp_path: Path) -> None:
    assert written(tmp_path / "a.geojson", np.zeros((3, 3), int)) == []


def test_outlines_of_another_map_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="different objects"):
        write_geojson(tmp_path / "a.geojson", objects_of(INSTANCES), outlines_of(INSTANCES * 2))
    assert not list(tmp_path.iterdir())
