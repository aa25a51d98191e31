"""The allocator's state before any event of a trace, with its real addresses.

The file holds the state at the end. Segments are found by undoing their events from there, so that a trace whose
beginning was overwritten serves too. Blocks lie where their events say; only their size is not recorded: an
allocation's event has the bytes that were asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpudoctor.allocator.engine import SMALL, round_size
from gpudoctor.allocator.settings import LARGE_SEGMENT, SMALL_SEGMENT, Settings
from gpudoctor.allocator.snapshot import (
    DEFAULT_POOL,
    NO_STACK,
    Action,
    Device,
    PoolId,
    Segment,
    SnapshotBlock,
    State,
    Trace,
)

_SEGMENT_EVENTS = frozenset((Action.SEGMENT_ALLOC, Action.SEGMENT_FREE, Action.SEGMENT_MAP, Action.SEGMENT_UNMAP))
_GROW = (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP)
_OF_EXPANDABLE = (Action.SEGMENT_MAP, Action.SEGMENT_UNMAP)


class Range(NamedTuple):
    """A segment without its blocks; of an expandable one, a contiguous mapped range."""

    address: int
    end: int
    stream: int
    is_small: bool
    is_expandable: bool
    pool: PoolId
    stack: int = NO_STACK


class Held(NamedTuple):
    """A block that is not free."""

    address: int
    size: int
    requested: int
    stack: int
    place: int  # of its allocation; -1: before the first event
    pending: bool  # the program let go of it, and another stream may still use it


class Layout:
    """Segments in the order of their addresses."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self.ranges = sorted(ranges)

    def at(self, address: int) -> Range | None:
        which = bisect_right(self.ranges, (address, 1 << 64)) - 1
        return self.ranges[which] if which >= 0 and address < self.ranges[which].end else None

    def add(self, new: Range) -> None:
        if new.is_expandable:
            for place in (bisect_left(self.ranges, new), bisect_left(self.ranges, new) - 1):
                if 0 <= place < len(self.ranges) and _touch(self.ranges[place], new):
                    old = self.ranges.pop(place)
                    new = old._replace(address=min(old.address, new.address), end=max(old.end, new.end))
        insort(self.ranges, new)

    def remove(self, start: int, end: int) -> Range | None:
        """What is left of a mapped range on both sides stays."""
        old = self.at(start)
        if old is None:
            return None
        self.ranges.remove(old)
        if old.is_expandable and old.address < start:
            insort(self.ranges, old._replace(end=start))
        if old.is_expandable and end < old.end:
            insort(self.ranges, old._replace(address=end))
        return old._replace(address=start, end=end)


def _touch(one: Range, other: Range) -> bool:
    if not one.is_expandable or (one.stream, one.is_small, one.pool) != (other.stream, other.is_small, other.pool):
        return False
    return one.end == other.address or other.end == one.address


class History:
    """What one device's allocator held, before each event of its trace."""

    def __init__(self, device: Device, settings: Settings, pools: list[PoolId]) -> None:
        self.device = device
        self.trace = device.trace
        self._divisions = settings.roundup_divisions
        self._splits_all = settings.expandable_segments
        self._max_split = settings.max_split_size
        self._changes = [p for p, action in enumerate(self.trace.actions) if action in _SEGMENT_EVENTS]
        self._ranges: dict[int, Range] = {}  # what each of these events made or gave back
        self._first = self._undone(pools)
        self._rounded: dict[int, int] = {}
        self.present = tuple(self._present_at_start())
        self._unsplit: dict[int, int] = {}  # place of an allocation that got more than it asked for: its bytes
        if not self._splits_all:
            self._unsplit.update(self._found_unsplit())
        self._unsplit.update(self._seen_unsplit())

    # segments

    def layout(self, place: int) -> Layout:
        """Segments before the event at `place`."""
        layout = Layout(self._first)
        for change in self._changes:
            if change >= place:
                break
            self._apply(layout, change)
        return layout

    def changes(self) -> Iterator[tuple[int, Range]]:
        """Where segments were made or given back, and what."""
        return ((change, self._ranges[change]) for change in self._changes)

    def _apply(self, layout: Layout, change: int) -> None:
        made = self._ranges[change]
        if self.trace.actions[change] in _GROW:
            layout.add(made)
        else:
            layout.remove(made.address, made.end)

    def _undone(self, pools: list[PoolId]) -> tuple[Range, ...]:
        """The segments before the first event; on the way, what each event made or gave back."""
        trace = self.trace
        layout = Layout(
            Range(s.address, s.address + s.size, s.stream, s.is_small, s.is_expandable, s.pool, s.stack)
            for s in self.device.segments
        )
        for change in reversed(self._changes):
            start, end = trace.addresses[change], trace.addresses[change] + trace.sizes[change]
            if trace.actions[change] in _GROW:
                self._ranges[change] = layout.remove(start, end) or _range_of(trace, change, pools)
            else:
                gone = _range_of(trace, change, pools)
                beside = layout.at(end) or layout.at(start - 1)
                if gone.is_expandable and beside is not None and beside.is_expandable and beside.stream == gone.stream:
                    gone = beside._replace(address=start, end=end)
                self._ranges[change] = gone
                layout.add(gone)
        return tuple(layout.ranges)

    # blocks

    def size_at(self, place: int) -> int:
        """Bytes of the block that the allocation at `place` got."""
        return self._unsplit.get(place) or self._round(self.trace.sizes[place])

    def held_at(self, places: Iterable[int]) -> Iterator[tuple[int, list[Held]]]:
        """For each place, in ascending order: the blocks that are not free before it."""
        trace = self.trace
        live: dict[int, int] = {held.address: -1 - number for number, held in enumerate(self.present)}
        pending: set[int] = {held.address for held in self.present if held.pending}
        done = 0
        for until in sorted(set(places)):
            for place in range(done, min(until, len(trace))):
                action = trace.actions[place]
                if action == Action.ALLOC:
                    live[trace.addresses[place]] = place
                elif action == Action.FREE_REQUESTED:
                    pending.add(trace.addresses[place])
                elif action == Action.FREE_COMPLETED:
                    live.pop(trace.addresses[place], None)
                    pending.discard(trace.addresses[place])
            done = max(done, until)
            yield until, [self._held(address, place, address in pending) for address, place in sorted(live.items())]

    def segments_at(self, places: Iterable[int]) -> Iterator[tuple[int, tuple[Segment, ...], list[Held]]]:
        for place, held in self.held_at(places):
            yield place, tuple(_filled(self.layout(place), held)), held

    def disagreements(self) -> int:
        """Blocks that the events leave elsewhere than the file's last state has them; 0 where both are whole."""
        _, segments, _ = next(self.segments_at([len(self.trace)]))
        return len(_blocks(segments) ^ _blocks(self.device.segments))

    def _held(self, address: int, place: int, pending: bool) -> Held:
        if place < 0:
            return self.present[-1 - place]._replace(pending=pending)
        return Held(address, self.size_at(place), self.trace.sizes[place], self.trace.stacks[place], place, pending)

    def _round(self, requested: int) -> int:
        size = self._rounded.get(requested)
        if size is None:
            size = self._rounded[requested] = round_size(requested, self._divisions)
        return size

    def _present_at_start(self) -> Iterator[Held]:
        """Blocks that are freed without having been allocated, and those of the end that no event made."""
        trace = self.trace
        made: set[int] = set()
        old: dict[int, Held] = {}
        for place, action in enumerate(trace.actions):
            if action == Action.ALLOC:
                made.add(trace.addresses[place])
            elif action in (Action.FREE_REQUESTED, Action.FREE_COMPLETED):
                address = trace.addresses[place]
                if address not in made and address not in old:
                    requested = trace.sizes[place]
                    size = self._round(requested)
                    waits = action == Action.FREE_COMPLETED
                    old[address] = Held(address, size, requested, trace.stacks[place], -1, waits)
        for segment in self.device.segments:
            for block in segment.blocks:
                if block.state != "free" and block.address not in made and block.address not in old:
                    requested = block.requested or block.size
                    waits = block.state == "pending_free"
                    old[block.address] = Held(block.address, block.size, requested, block.stack, -1, waits)
        layout = Layout(self._first)
        order = sorted(old)
        for address, after in zip(order, [*order[1:], 1 << 64], strict=False):
            yield self._with_slack(old[address], layout.at(address), after)

    def _with_slack(self, held: Held, segment: Range | None, after: int) -> Held:
        """No free block of a large pool is as small as this: what follows belongs to the block."""
        if self._splits_all or segment is None or segment.is_small:
            return held
        room = min(after, segment.end) - held.address
        return held._replace(size=room) if 0 < room - held.size <= SMALL else held

    def _found_unsplit(self) -> Iterator[tuple[int, int]]:
        """Large blocks whose rest was too small to be split off: a free block is taken from its start."""
        trace = self.trace
        actions, addresses, sizes = trace.actions, trace.addresses, trace.sizes
        layout = Layout(self._first)
        taken = [held.address for held in self.present if held.size > SMALL]
        large = set(taken)
        for place, action in enumerate(actions):
            if action == Action.ALLOC:
                size = self._round(sizes[place])
                if size <= SMALL:
                    continue
                address = addresses[place]
                after = bisect_left(taken, address)
                segment = layout.at(address)
                if segment is not None:
                    end = min(segment.end, taken[after]) if after < len(taken) else segment.end
                    left = end - address - size
                    if left > 0 and (left <= SMALL or size >= self._max_split):
                        yield place, size + left
                if address not in large:
                    large.add(address)
                    taken.insert(after, address)
            elif action == Action.FREE_COMPLETED:
                if addresses[place] in large:
                    large.discard(addresses[place])
                    del taken[bisect_left(taken, addresses[place])]
            elif action in _SEGMENT_EVENTS:
                self._apply(layout, place)

    def _seen_unsplit(self) -> Iterator[tuple[int, int]]:
        """The file tells the size of blocks that are there at the end, whatever rule made it."""
        last = {held.address: held for held in next(self.held_at([len(self.trace)]))[1]}
        for segment in self.device.segments:
            for block in segment.blocks:
                held = last.get(block.address)
                if block.state != "free" and held is not None and held.place >= 0 and held.size != block.size:
                    yield held.place, block.size


def _range_of(trace: Trace, place: int, pools: list[PoolId]) -> Range:
    """As far as the event itself tells."""
    size, action = trace.sizes[place], trace.actions[place]
    expandable = action in _OF_EXPANDABLE
    small = size % LARGE_SEGMENT != 0 if expandable else size == SMALL_SEGMENT
    pool = pools[trace.pools[place]] if trace.pools is not None else DEFAULT_POOL
    address = trace.addresses[place]
    return Range(address, address + size, trace.streams[place], small, expandable, pool, trace.stacks[place])


def _filled(layout: Layout, held: list[Held]) -> Iterator[Segment]:
    """Segments with their blocks; what no block holds is free."""
    number = 0
    for held_range in layout.ranges:
        blocks: list[SnapshotBlock] = []
        at = held_range.address
        while number < len(held) and held[number].address < at:
            number += 1
        while number < len(held) and held[number].address < held_range.end:
            block = held[number]
            if at < block.address:
                blocks.append(SnapshotBlock(at, block.address - at, 0, "free", NO_STACK))
            state: State = "pending_free" if block.pending else "allocated"
            blocks.append(SnapshotBlock(block.address, block.size, block.requested, state, block.stack))
            at = block.address + block.size
            number += 1
        if at < held_range.end:
            blocks.append(SnapshotBlock(at, held_range.end - at, 0, "free", NO_STACK))
        yield Segment(
            held_range.address,
            held_range.end - held_range.address,
            held_range.stream,
            held_range.is_small,
            held_range.is_expandable,
            held_range.pool,
            tuple(blocks),
            held_range.stack,
        )


def _blocks(segments: Iterable[Segment]) -> set[tuple[int, int, State]]:
    return {(block.address, block.size, block.state) for segment in segments for block in segment.blocks}
