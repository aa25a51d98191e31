"""Segments that cannot be given back although part of them is free, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec

from gpudoctor.allocator.explanation import Moment
from gpudoctor.allocator.snapshot import DEFAULT_POOL, Segment
from gpudoctor.render.memory.words import size
from gpudoctor.render.story import counted


class Worn(msgspec.Struct, frozen=True):
    """A segment that cannot be given back, and what of it lies idle."""

    index: int  # of the moment's segments
    segment: Segment
    free: int
    holes: int
    largest: int


def worn(moment: Moment) -> list[Worn]:
    """Segments with both live blocks and free ones; those with most free memory first."""
    made = []
    for index, segment in enumerate(moment.segments):
        holes = [block.size for block in segment.blocks if block.state == "free"]
        if holes and len(holes) < len(segment.blocks):
            made.append(Worn(index, segment, sum(holes), len(holes), max(holes)))
    return sorted(made, key=lambda each: (-each.free, each.segment.address))


def idle(moment: Moment) -> int:
    """Bytes of segments in which nothing lives: they can be given back."""
    return sum(s.size for s in moment.segments if all(block.state == "free" for block in s.blocks))


def kind(segment: Segment) -> str:
    """What sets a segment apart from a large one of the default stream and pool."""
    words = ["expandable"] * segment.is_expandable + ["small"] * segment.is_small
    words += [f"stream {segment.stream:#x}"] * bool(segment.stream)
    words += [f"pool {segment.pool[0]},{segment.pool[1]}"] * (segment.pool != DEFAULT_POOL)
    return ", ".join(words)


def about(each: Worn) -> str:
    """`211 MiB free in 3, largest 120 MiB`"""
    inside = f" in {each.holes}, largest {size(each.largest)}" if each.holes > 1 else ""
    return f"{size(each.free)} free{inside}"


def holes_words(sizes: Sequence[int], shown: int) -> str:
    """`512 MiB, 3 x 96 MiB, 20 MiB`: the largest first, equal ones together."""
    groups = [(words, sum(1 for _ in same)) for words, same in groupby(map(size, sizes))]
    words = [f"{times} x {each}" if times > 1 else each for each, times in groups[:shown]]
    rest = sum(times for _, times in groups[shown:])
    return ", ".join(words) + (f", and {counted(rest, 'smaller one')}" if rest else "")
