"""Colours of classes and of uncertainty, the same in every picture and chart."""

from __future__ import annotations

import colorsys

import numpy as np

Colour = tuple[int, int, int]

# Okabe and Ito's colours for the first seven classes can be distinguished with every common form of colour
# blindness. Black is left out, as it vanishes on images, and the strongest contrasts come first.
_OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
# Steps of the golden ratio around the colour wheel never repeat a hue, and keep neighbours far apart.
_GOLDEN_RATIO = 0.6180339887498949
# The start on the wheel, and the lightness, which alternates because colour-blind readers cannot rely on hue;
# both are chosen so that the first 20 colours are far apart.
_FIRST_HUE = 0.15
_LIGHTNESS = (0.78, 0.40, 0.60)
# From certain to uncertain: dark violet, red, yellow; they can also be distinguished by lightness alone.
UNCERTAINTY: tuple[Colour, ...] = ((30, 0, 90), (200, 60, 90), (250, 240, 60))
_UNCERTAINTY_OPACITY = 0.9
# Above this uncertainty the colour hides the picture; below, the picture shows through.
_OPAQUE_FROM = 0.4


# Errors of objects by kind, in the order of ``evaluation.object_errors.ERRORS``; colours of Okabe and Ito.
ERROR_COLOURS: dict[str, Colour] = {
    "missed": _OKABE_ITO[5],
    "false": _OKABE_ITO[1],
    "split": _OKABE_ITO[4],
    "merged": _OKABE_ITO[3],
}


def uncertainty_colours(uncertainty: np.ndarray) -> np.ndarray:
    """Return colours with opacity, uint8 ``(..., 4)``, for uncertainty from 0 (certain) to 1."""
    stops, colours = np.linspace(0, 1, len(UNCERTAINTY)), np.array(UNCERTAINTY, np.float64)
    channels = [np.interp(uncertainty, stops, colours[:, channel]) for channel in range(3)]
    channels.append(255 * _UNCERTAINTY_OPACITY * np.clip(uncertainty / _OPAQUE_FROM, 0, 1))
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def class_colour(label: int) -> Colour:
    """Return the RGB colour (0 to 255) of the class with label value ``label``, from 1; deterministic.

    The first seven are those of Okabe and Ito (2008, "Color universal design"); further ones differ in hue
    and lightness, and are unlimited in number.
    """
    if label < 1:
        raise ValueError(f"classes begin at 1, not {label}: the background has no colour")
    if label <= len(_OKABE_ITO):
        return _OKABE_ITO[label - 1]
    step = label - len(_OKABE_ITO)
    hue = (_FIRST_HUE + step * _GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, _LIGHTNESS[step % len(_LIGHTNESS)], 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def object_colours(instances: np.ndarray) -> np.ndarray:
    """Return a map in colours, uint8 ``(..., 4)``: of each value that of a class, the background transparent.

    Numbers of objects go through ``report.objects.told_apart`` first.
    """
    numbers, place = np.unique(instances, return_inverse=True)
    colours = [(*class_colour(number), 255) if number else (0, 0, 0, 0) for number in numbers.tolist()]
    table = np.array(colours, np.uint8).reshape(-1, 4)
    values: np.ndarray = table[place.reshape(instances.shape)]
    return values
