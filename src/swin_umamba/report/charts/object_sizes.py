"""The histogram of the areas or volumes of objects."""

from __future__ import annotations

import numpy as np

from swin_umamba.report.contents import Report
from swin_umamba.report.palette import class_colour
from swin_umamba.report.svg import (
    ACROSS,
    POSITIVE,
    UPWARDS,
    Scale,
    colour_text,
    document,
    frame,
    number,
    tick_texts,
)

BARS = 30
# Single objects far larger than all others, as merged ones are, would leave one bar for the rest.
WHOLE = 0.99
MUCH_LARGER = 1.5


def draw(report: Report) -> list[str]:
    """Return the histogram; none without objects."""
    objects = report.objects
    if objects is None or not len(objects.sizes):
        return []
    sizes = objects.sizes
    end = float(np.quantile(sizes, WHOLE))
    cut = sizes.max() > MUCH_LARGER * end
    low, high = float(sizes.min()), end if cut else float(sizes.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.minimum(sizes, high), bins=BARS, range=(low, high))
    x = Scale(low, high, *ACROSS)
    y = Scale.around([0.0, float(counts.max())], *UPWARDS, POSITIVE)
    what = "Volume" if objects.unit in ("voxels", "µm³") else "Area"
    title = f"{what} of {len(sizes):,} objects" + (", the last bar with all larger ones" if cut else "")
    ticks = x.ticks()
    parts = frame(title, objects.unit, y, list(zip(map(x, ticks), tick_texts(ticks), strict=True)))
    parts += [
        f'<rect class="box" x="{x(left):.1f}" y="{y(count):.1f}" width="{x(right) - x(left):.1f}" '
        f'height="{y(0) - y(count):.1f}" fill="{colour_text(class_colour(2))}"/>'
        for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if count
    ]
    lowest, median, highest = np.quantile(sizes, [0, 0.5, 1])
    words = f"median {number(median)}, smallest {number(lowest)}, largest {number(highest)} {objects.unit}."
    return [document(title, words, parts)]
