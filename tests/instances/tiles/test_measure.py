"""The tables and outlines of objects, a few rows at a time, are those of the whole map to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from swin_umamba.errors import DataError
from swin_umamba.instances import table
from swin_umamba.instances.decoding import ObjectClasses
from swin_umamba.instances.outlines import outlines_of
from swin_umamba.instances.table import objects_of
from swin_umamba.instances.tidy import ordered
from swin_umamba.instances.tiles import components, measure
from swin_umamba.instances.tiles.measure import MeasuredMap, tables_over

CLASSES = ObjectClasses({1: "round", 3: "long"}, 2)


def measured(instances: np.ndarray, labels: np.ndarray, image: np.ndarray, probability: np.ndarray) -> Any:
    return MeasuredMap(
        instances.shape,
        lambda region: instances[region],
        lambda region: labels[region],
        lambda region: image[(slice(None), *region)],
        lambda region: probability[region],
        image[:, :1, :1].nbytes,
        (0.5,) * instances.ndim,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(91, 67), (9, 20, 17)])
def test_parts_are_those_of_the_whole(
    shape: tuple[int, ...], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "SLAB", 7 * 67)
    monkeypatch.setattr(measure, "BAND_BYTES", 20 * 7 * 67 * 2)
    monkeypatch.setattr(measure, "MOST_PIXELS", 4000)
    generator = np.random.default_rng(0)
    field = ndimage.gaussian_filter(generator.normal(size=shape), 1.5)
    instances = ordered(ndimage.label(field > 0.1)[0])
    labels = generator.integers(0, 4, shape).astype(np.uint8)
    labels[instances == 2] = 2  # all boundary
    image = (generator.random((3, *shape)) * 255).astype(dtype)
    probability = generator.random(shape).astype(np.float32)
    what = measured(instances, labels, image, probability)
    flat = len(shape) == 2
    rows, outlines, parts = [], {}, 0
    for part, found in tables_over(what, CLASSES, "a", solidity=flat, outlines=flat):
        rows += list(part.rows())
        outlines |= found
        parts += 1
    expected = objects_of(
        instances,
        case="a",
        classes=CLASSES.classes_of(instances, labels),
        class_names=CLASSES.names,
        image=image,
        probability=probability,
        spacing=(0.5,) * len(shape),
        solidity=flat,
    )
    assert parts > 1
    assert str(rows) == str(list(expected.rows()))
    if flat:
        assert str(outlines) == str(outlines_of(instances))


def test_a_map_without_objects_has_an_empty_table() -> None:
    nothing = np.zeros((5, 4), np.uint8)
    what = measured(nothing, nothing, nothing[None], nothing.astype(np.float32))
    ((part, outlines),) = tables_over(what, CLASSES, "a", solidity=True, outlines=True)
    assert (len(part), outlines) == (0, {})
    assert list(part.columns()) == list(objects_of(nothing, image=nothing[None]).columns())


def test_outlines_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (measure, components):
        monkeypatch.setattr(module, "MOST_PIXELS", 100)
    ones = np.ones((11, 10), np.uint8)
    what = measured(ones, ones, ones[None], ones.astype(np.float32))
    assert len(list(tables_over(what, CLASSES, "a", solidity=False, outlines=False))) == 1
    with pytest.raises(DataError, match="object 1 has a box of 11 x 10 pixels"):
        list(tables_over(what, CLASSES, "a", solidity=False, outlines=True))
