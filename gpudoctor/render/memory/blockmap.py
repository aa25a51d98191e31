"""Segments as strips of their blocks, in address order, as wide as they are large."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from gpudoctor.allocator.snapshot import Segment
from gpudoctor.render.memory.bars import Ink, ink

LEAST = 4  # columns


def strip(segment: Segment, width: int, *, ascii_only: bool = False) -> Text:
    """`width` columns for the whole segment; a column shows what most of it is, or that it is both."""
    drawn = ink(ascii_only)
    live, pending = [0.0] * width, [0.0] * width
    for block in segment.blocks:
        if block.state != "free":
            share = pending if block.state == "pending_free" else live
            _spread(share, (block.address - segment.address) * width, block.size * width, segment.size)
    line = Text()
    for allocated, waiting in zip(live, pending, strict=True):
        line.append(*_cell(allocated, waiting, drawn))
    return line


def _spread(share: list[float], start: int, length: int, whole: int) -> None:
    """Add to each column the part of it that lies between `start` and `start + length`, in `whole`s."""
    first, last = start // whole, min(len(share) - 1, (start + length - 1) // whole)
    for column in range(first, last + 1):
        inside = min(start + length, (column + 1) * whole) - max(start, column * whole)
        share[column] += inside / whole


def _cell(live: float, pending: float, drawn: Ink) -> tuple[str, str]:
    if pending > live:
        return drawn.pending, "pending"
    if live + pending > 0.995:
        return drawn.allocated, "allocated"
    return (drawn.mixed, "allocated") if live + pending > 0 else (drawn.free, "free")


def widths(segments: Sequence[Segment], most: int) -> list[int]:
    """In proportion, the largest as wide as there is room."""
    largest = max((segment.size for segment in segments), default=1)
    return [max(LEAST, segment.size * most // largest) for segment in segments]
