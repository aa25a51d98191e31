"""Memory as bars, and over time as a small picture, in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.text import Text

from gpudoctor.allocator.explanation import Timeline

EIGHTHS = " ▏▎▍▌▋▊▉█"
RISING = " ▁▂▃▄▅▆▇█"
HEIGHT = 6


class Ink(msgspec.Struct, frozen=True):
    allocated: str
    free: str  # reserved, and not allocated
    mixed: str  # of a block map: both in one column
    pending: str  # freed, and another stream may still use it
    mark: str


UNICODE = Ink("█", "░", "▓", "▒", "▲")
ASCII = Ink("#", ".", "+", "~", "^")


def ink(ascii_only: bool) -> Ink:
    return ASCII if ascii_only else UNICODE


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """A bar of at most `width` columns; what is there at all is never nothing."""
    share = min(1.0, max(0.0, share))
    if ascii_only:
        return "#" * (max(1, round(share * width)) if share else 0)
    eighths = max(1, round(share * width * 8)) if share else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


class Column(msgspec.Struct, frozen=True):
    """The most that was allocated and reserved in one slice of the record."""

    allocated: int
    reserved: int


def columns(timeline: Timeline, count: int, events: int) -> list[Column]:
    """The record in equal slices; a slice without a point goes on where the one before ended."""
    most_allocated, most_reserved = [-1] * count, [-1] * count
    after: list[tuple[int, int] | None] = [None] * count
    for place, allocated, reserved in zip(timeline.places, timeline.allocated, timeline.reserved, strict=True):
        which = min(count - 1, place * count // max(1, events))
        most_allocated[which] = max(most_allocated[which], allocated)
        most_reserved[which] = max(most_reserved[which], reserved)
        after[which] = (allocated, reserved)
    made = []
    allocated, reserved = (timeline.allocated[0], timeline.reserved[0]) if timeline.places else (0, 0)
    for which in range(count):
        last = after[which]
        made.append(Column(max(allocated, most_allocated[which]), max(reserved, most_reserved[which])))
        if last is not None:
            allocated, reserved = last
    return made


def area(slices: Sequence[Column], top: int, *, ascii_only: bool = False, height: int = HEIGHT) -> Iterator[Text]:
    """Rows from the top down: allocated filled, what is reserved beyond it shaded."""
    drawn = ink(ascii_only)
    steps = 1 if ascii_only else 8
    for row in reversed(range(height)):
        line = Text()
        for each in slices:
            allocated = round(each.allocated / top * height * steps) - row * steps
            reserved = round(each.reserved / top * height * steps) - row * steps
            if allocated >= steps:
                line.append(drawn.allocated, "allocated")
            elif allocated > 0 and not ascii_only:
                line.append(RISING[allocated], "allocated")
            elif reserved * 2 >= steps or (row == 0 and reserved > 0):
                line.append(drawn.free, "free")
            else:
                line.append(" ")
        yield line


def marks(places: Sequence[int], count: int, events: int, *, ascii_only: bool = False) -> str:
    """A line with a mark under each of the places."""
    line = [" "] * count
    for place in places:
        line[min(count - 1, place * count // max(1, events))] = ink(ascii_only).mark
    return "".join(line)
