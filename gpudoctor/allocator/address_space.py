"""Where cudaMalloc puts a new segment.

Addresses decide one thing: which of several free blocks of equal size is taken first, the lower one.
Learnt from the addresses in traces of an H200 (driver 580, torch 2.11): the driver reserves address
ranges in whole 32 MiB, each aligned to 32 MiB, from the top of the process's space downwards, and puts a
segment at the start of a range. What is left behind it serves later segments: of all holes in ranges
that are reserved, the lowest one that is large enough. A range without a segment goes back to the kernel.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Protocol

MIB = 1 << 20
TOP = 1 << 47
ALIGNMENT = 32 * MIB
PAGE = 4096

CONTEXT_HOLES = (2, 14)  # MiB that CUDA's context left free in ranges of its own, in a fresh process
OTHER_HOLES = ((), (30,), (254,), (1022,))  # what libraries and earlier work may leave instead

Range = tuple[int, int]  # address, end


class Space(Protocol):
    def take(self, size: int) -> int: ...

    def give(self, address: int, size: int) -> None: ...


class AddressSpace:
    """As the driver: reserved ranges, and holes in them."""

    def __init__(self, holes_mib: tuple[int, ...] = CONTEXT_HOLES) -> None:
        self._kernel = Gaps()
        self._ranges: list[Range] = []
        self._holes: list[Range] = []
        for mib in holes_mib:
            length = -(-(mib + 2) * MIB // ALIGNMENT) * ALIGNMENT
            start = self._kernel.highest(length, ALIGNMENT)
            insort(self._ranges, (start, start + length))
            insort(self._holes, (start + length - mib * MIB, start + length))

    def take(self, size: int) -> int:
        for place, (start, end) in enumerate(self._holes):
            if end - start >= size:
                if end - start == size:
                    del self._holes[place]
                else:
                    self._holes[place] = (start + size, end)
                return start
        length = -(-size // ALIGNMENT) * ALIGNMENT
        start = self._kernel.highest(length, ALIGNMENT)
        insort(self._ranges, (start, start + length))
        if length > size:
            insort(self._holes, (start + size, start + length))
        return start

    def give(self, address: int, size: int) -> None:
        first, last = self._ranges[bisect_right(self._ranges, (address, TOP + 1)) - 1]
        start, end = _joined(self._holes, address, address + size, first, last)
        if (start, end) == (first, last):
            self._ranges.remove((first, last))
            self._kernel.give(first, last)
        else:
            insort(self._holes, (start, end))


def _joined(holes: list[Range], start: int, end: int, first: int, last: int) -> Range:
    """The hole with its neighbours inside of [first, last), which are taken out of the list."""
    place = bisect_left(holes, (start, end))
    if place < len(holes) and holes[place][0] == end < last:
        end = holes.pop(place)[1]
    if place and holes[place - 1][1] == start > first:
        start = holes.pop(place - 1)[0]
    return start, end


class Gaps:
    """The kernel's view: free ranges between mappings, the highest that fits is taken at its top."""

    def __init__(self) -> None:
        self._gaps: list[Range] = []
        self._frontier = TOP

    def highest(self, length: int, alignment: int) -> int:
        wanted = length + alignment - PAGE  # the driver asks for more and gives back what it does not need
        for place in range(len(self._gaps) - 1, -1, -1):
            start, end = self._gaps[place]
            if end - start >= wanted:
                del self._gaps[place]
                at = -(-(end - wanted) // alignment) * alignment
                if start < at:
                    insort(self._gaps, (start, at))
                if at + length < end:
                    insort(self._gaps, (at + length, end))
                return at
        self._frontier -= length
        return self._frontier

    def give(self, start: int, end: int) -> None:
        start, end = _joined(self._gaps, start, end, 0, TOP + 1)
        if start == self._frontier:
            self._frontier = end
        else:
            insort(self._gaps, (start, end))


class RecordedSpace:
    """The addresses that a trace holds, as long as a replay asks for the same sizes in the same order."""

    def __init__(self, recorded: list[tuple[int, int]]) -> None:
        self._recorded = recorded  # address, size
        self._next = 0
        self._live: list[Range] = []
        self._beyond = TOP  # where no process has addresses

    def take(self, size: int) -> int:
        at = self._beyond
        if self._next < len(self._recorded):
            address, recorded_size = self._recorded[self._next]
            if recorded_size == size and self._is_free(address, address + size):
                self._next += 1
                at = address
            else:
                self._next = len(self._recorded)
        if at == self._beyond:
            self._beyond += size
        insort(self._live, (at, at + size))
        return at

    def give(self, address: int, size: int) -> None:
        self._live.remove((address, address + size))

    def _is_free(self, start: int, end: int) -> bool:
        place = bisect_left(self._live, (end,))
        return not place or self._live[place - 1][1] <= start
