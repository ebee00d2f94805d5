"""Write ``docs/benchmarks.md`` from ``benchmarks/results``: `python scripts/benchmarks_page.py`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Made from `benchmarks/results` by `scripts/benchmarks_page.py`. Each figure is of the machine that its heading
names, shared with other work: ratios within a table compare, single figures jump.
**No figure of a GPU exists yet**; [checking a GPU](gpu.md) makes them.

Measure yours:

```sh
python benchmarks/ss2d.py --help
python benchmarks/network.py --help
swin-umamba models swin_umamba_d nnunet --size 64 64 --measure --device cpu
```

Both benchmarks compare their results with float64 first, and measure only what is right.
"""
# What a table of times is of, by file.
NETWORKS = {
    "network.txt": "Whole networks",
    "network_large.txt": "Whole networks, two large images at a time",
    "network_large_memory_given_back.txt": "The same with GLIBC_TUNABLES= (freed memory is given back)",
}
OTHERS = {
    "large_images.txt": "Large images: blocks, processes, one answer",
    "start.txt": "Commands: what starting and ending costs",
    "objects.txt": "Objects: classes, depth, and stock nnU-Net",
}


def scan_tables(timings: list[dict[str, object]]) -> Iterator[str]:
    """Yield a table of the scan's times: a line for each size, a column for each implementation."""
    modes: dict[object, dict[tuple[object, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for each in timings:
        size = tuple(each[name] for name in ("d_inner", "height", "width", "d_state"))
        modes[each["mode"]][size][str(each["implementation"])] = float(str(each["seconds"]))
    for mode, sizes in modes.items():
        names = [name for name in next(iter(sizes.values())) if name != "native"]
        title = str(mode).replace("+", " and ")
        yield f"**{title}**: milliseconds of ours, and how many times as long others take\n"
        yield "| channels | image | states | ours | " + " | ".join(names) + " |"
        yield "| ---: | ---: | ---: | ---: |" + " ---: |" * len(names)
        for (channels, height, width, states), seconds in sizes.items():
            ours = seconds["native"]
            others = [f"{seconds[name] / ours:.1f} x" if name in seconds else "" for name in names]
            head = [f"{channels}", f"{height} x {width}", f"{states}", f"{1000 * ours:.1f} ms"]
            yield "| " + " | ".join(head + others) + " |"
        yield ""


def network_table(text: str) -> Iterator[str]:
    """Yield the table of whole networks that ``benchmarks/network.py`` prints."""
    lines = text.strip().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("network "))
    yield f"{lines[start - 1]}\n"
    yield "| " + " | ".join(re.split(r" {2,}|(?<=s) (?=images)", lines[start].strip())) + " |"
    columns = 0
    for line in lines[start + 1 :]:
        cells = re.split(r" {2,}", line.strip())
        if not columns:
            columns = len(cells)
            yield "| --- | --- |" + " ---: |" * (columns - 2)
        yield "| " + " | ".join(cells) + " |"
    yield ""


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir() and path.name != "rehearsal"):
        lines.append(f"## {folder.name.replace('_', ' ')}\n")
        for name, title in NETWORKS.items():
            if (folder / name).is_file():
                lines += [f"### {title}\n", *network_table((folder / name).read_text())]
        if (folder / "ss2d.json").is_file():
            timings = json.loads((folder / "ss2d.json").read_text())["timings"]
            lines += ["### The four-direction scan\n", *scan_tables(timings)]
        if (folder / "backbones.md").is_file():
            lines += ["### Backbones at equal wall time\n", (folder / "backbones.md").read_text()]
        for name, title in OTHERS.items():
            if (folder / name).is_file():
                lines += [f"### {title}\n", "```text", (folder / name).read_text().strip(), "```\n"]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
