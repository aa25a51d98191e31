"""One pass over a trace: what was held at each time, where its peak is, and which stacks only ever grow."""

from __future__ import annotations

from array import array
from itertools import pairwise

import msgspec

from gpudoctor.allocator.explanation import Growth, Timeline
from gpudoctor.allocator.snapshot import Action, Trace
from gpudoctor.allocator.state import Held, History

POINTS = 2000
PARTS = 10  # of the record, for growth
GROWING_PARTS = PARTS - 2  # of PARTS - 1 steps from one part to the next
GROWING_SHARE = 0.02  # of the live bytes at the end
LONGEST_STEP = 0.6  # of the whole growth: more in one step is a start, not a leak
RECYCLING = 0.5  # of all allocations are freed again: else nothing grows in particular, a program is starting


class Course(msgspec.Struct, frozen=True):
    timeline: Timeline
    peak_place: int  # the state before this event is the one with the most allocated
    allocated_peak: int
    growing: tuple[Growth, ...]


def course_of(history: History) -> Course:
    trace = history.trace
    walk = _Walk(history)
    walk.run()
    return Course(_timeline(walk, trace), walk.peak_place, walk.allocated_peak, tuple(_growing(walk)))


class _Walk:
    def __init__(self, history: History) -> None:
        self.history = history
        self.kept: list[tuple[int, int, int, int]] = []  # place, requested, allocated, reserved
        self.peak_place = 0
        self.allocated_peak = 0
        self.allocations = self.frees = 0
        self.live: dict[int, int] = {}  # stack: requested bytes
        self.floors: list[dict[int, int]] = []  # the least of each stack, in each part

    def run(self) -> None:
        history = self.history
        trace = history.trace
        count = len(trace)
        requested, allocated, reserved = self._at_start()
        self.allocated_peak = allocated
        sizes: dict[int, tuple[int, int, int]] = {
            held.address: (held.size, held.requested, held.stack) for held in history.present if not held.pending
        }
        live, low = self.live, dict(self.live)
        bucket = max(1, count // (POINTS // 4))
        points = _Points(self.kept)
        next_part = parts = 0
        for place in range(count):
            action = trace.actions[place]
            if place == next_part:
                if parts:
                    self.floors.append(low)
                    low = dict(live)
                parts += 1
                next_part = -(-count * parts // PARTS) if parts < PARTS else -1
            if action == Action.ALLOC:
                size, wanted, stack = history.size_at(place), trace.sizes[place], trace.stacks[place]
                sizes[trace.addresses[place]] = size, wanted, stack
                requested += wanted
                allocated += size
                live[stack] = live.get(stack, 0) + wanted
                self.allocations += 1
                if allocated > self.allocated_peak:
                    self.allocated_peak, self.peak_place = allocated, place + 1
            elif action == Action.FREE_REQUESTED or action == Action.FREE_COMPLETED:
                gone = sizes.pop(trace.addresses[place], None)
                if gone is not None:
                    size, wanted, stack = gone
                    requested -= wanted
                    allocated -= size
                    left = live[stack] = live[stack] - wanted
                    if left < low.get(stack, 0):
                        low[stack] = left
                    self.frees += 1
            elif action == Action.SEGMENT_ALLOC or action == Action.SEGMENT_MAP:
                reserved += trace.sizes[place]
            elif action == Action.SEGMENT_FREE or action == Action.SEGMENT_UNMAP:
                reserved -= trace.sizes[place]
            points.see(place + 1, requested, allocated, reserved, action == Action.OOM)
            if (place + 1) % bucket == 0:
                points.close()
        points.close()
        self.floors.append(low)

    def _at_start(self) -> tuple[int, int, int]:
        history = self.history
        held = [each for each in history.present if not each.pending]
        for each in held:
            self.live[each.stack] = self.live.get(each.stack, 0) + each.requested
        requested, allocated = sum(each.requested for each in held), sum(each.size for each in held)
        reserved = sum(each.end - each.address for each in history.layout(0).ranges)
        self.kept.append((0, requested, allocated, reserved))
        return requested, allocated, reserved


class _Points:
    """Of each bucket of events: its failures, its highest and lowest allocated, its highest reserved, its last."""

    def __init__(self, kept: list[tuple[int, int, int, int]]) -> None:
        self._kept = kept
        self._failed: list[tuple[int, int, int, int]] = []
        self._last: tuple[int, int, int, int] | None = None
        self._high = self._low = self._reserved = (0, 0, 0, 0)

    def see(self, place: int, requested: int, allocated: int, reserved: int, failed: bool) -> None:
        if self._last is None:
            now = place, requested, allocated, reserved
            self._high = self._low = self._reserved = self._last = now
        else:
            now = self._last = place, requested, allocated, reserved
            if allocated > self._high[2]:
                self._high = now
            elif allocated < self._low[2]:
                self._low = now
            if reserved > self._reserved[3]:
                self._reserved = now
        if failed:
            self._failed.append(now)

    def close(self) -> None:
        if self._last is not None:
            self._kept += sorted({*self._failed, self._high, self._low, self._reserved, self._last})
        self._failed, self._last = [], None


def _timeline(walk: _Walk, trace: Trace) -> Timeline:
    last = max(0, len(trace) - 1)
    times = trace.times_us if len(trace) and trace.times_us[last] else array("q", range(len(trace)))
    first = times[0] if len(trace) else 0
    return Timeline(
        places=tuple(point[0] for point in walk.kept),
        times_us=tuple(times[min(point[0], last)] - first if len(trace) else 0 for point in walk.kept),
        requested=tuple(point[1] for point in walk.kept),
        allocated=tuple(point[2] for point in walk.kept),
        reserved=tuple(point[3] for point in walk.kept),
    )


def _growing(walk: _Walk) -> list[Growth]:
    """Stacks whose least live bytes rise from part to part, in a program that otherwise frees what it takes.

    The least of each part: what a step of training takes and gives back does not count.
    """
    floors = walk.floors
    if len(floors) < PARTS or walk.frees < RECYCLING * walk.allocations:
        return []
    total = sum(floors[-1].values())
    found = []
    for stack, last in floors[-1].items():
        course = [floor.get(stack, 0) for floor in floors]
        rises = [after - before for before, after in pairwise(course)]
        steps = sum(rise > 0 for rise in rises)
        grown = last - course[0]
        if steps < GROWING_PARTS or grown < GROWING_SHARE * total or max(rises) > LONGEST_STEP * grown:
            continue
        found.append(Growth(stack, course[0], last, steps, 0))
    return sorted(found, key=lambda growth: growth.first - growth.last)


def with_blocks(growing: tuple[Growth, ...], held: list[Held]) -> tuple[Growth, ...]:
    """How many blocks each of them holds."""
    return tuple(
        msgspec.structs.replace(growth, blocks=sum(block.stack == growth.stack for block in held)) for growth in growing
    )
