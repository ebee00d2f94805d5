"""What the room reads of an image layer of napari, without napari."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

MILLIMETRES = {
    "pixel": None,
    "second": None,
    "meter": 1000.0,
    "millimeter": 1.0,
    "mm": 1.0,
    "micrometer": 0.001,
}


@dataclass(frozen=True)
class StandInUnit:
    """The part of ``pint.Unit`` that is used: times 1 it is a quantity, to be checked and converted."""

    name: str

    def __rmul__(self, number: int) -> StandInUnit:
        assert number == 1
        return self

    def check(self, dimension: str) -> bool:
        return {"[time]": self.name == "second", "[length]": MILLIMETRES[self.name] is not None}[dimension]

    def m_as(self, unit: str) -> float:
        assert unit == "millimeter"
        millimetres = MILLIMETRES[self.name]
        assert millimetres is not None
        return millimetres


class StandInLayer:
    """An image layer with the defaults of ``napari.layers.Image``."""

    def __init__(
        self,
        data: Any,
        *,
        name: str = "picture",
        rgb: bool = False,
        multiscale: bool = False,
        scale: Any = None,
        affine: Any = None,
        units: tuple[str, ...] | None = None,
        axis_labels: tuple[str, ...] | None = None,
        **geometry: Any,
    ) -> None:
        self.data, self.name, self.rgb, self.multiscale = data, name, rgb, multiscale
        self.ndim = ndim = (data[0] if multiscale else data).ndim - rgb
        self.scale = np.ones(ndim) if scale is None else np.array(scale, float)
        self.translate = np.array(geometry.get("translate", np.zeros(ndim)), float)
        self.rotate = np.array(geometry.get("rotate", np.eye(ndim)), float)
        self.shear = np.array(geometry.get("shear", np.zeros(ndim * (ndim - 1) // 2)), float)
        self.affine = SimpleNamespace(affine_matrix=np.eye(ndim + 1) if affine is None else np.array(affine))
        self.units = tuple(map(StandInUnit, units or ("pixel",) * ndim))
        self.metadata = geometry.get("metadata", {})
        self.axis_labels = axis_labels or tuple(str(axis - ndim) for axis in range(ndim))

    def data_to_world(self, position: Any) -> Any:
        inside = self.rotate @ (self.scale * np.asarray(position)) + self.translate
        matrix = self.affine.affine_matrix
        return matrix[:-1, :-1] @ inside + matrix[:-1, -1]
