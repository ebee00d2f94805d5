"""Small divisions of label maps into blocks, in place of ``division.blocks_of``."""

from __future__ import annotations

from swin_umamba.inference.blocks.division import Block

SIDE = 32


def rows(size: tuple[int, int, int], *_: object) -> list[Block]:
    """Return blocks of 32 rows of a picture."""
    return _blocks(size[1], size[2], size[2])


def squares(size: tuple[int, int, int], *_: object) -> list[Block]:
    """Return blocks of 32 x 32 pixels of a picture."""
    return _blocks(size[1], size[2], SIDE)


def _blocks(height: int, width: int, step: int) -> list[Block]:
    corners = [(y, x) for y in range(0, height, SIDE) for x in range(0, width, step)]
    return [
        Block(number, (0, 1), (y, min(y + SIDE, height)), (x, min(x + step, width)))
        for number, (y, x) in enumerate(corners)
    ]
