"""Segments given back, in a trace: because memory ran short, or because the program emptied the cache.

It ran short only where what was reserved, with the segment that is made next, would have passed all that was ever
reserved; else there was room, and nothing but empty_cache gives segments back. Where both can be, the cache was
emptied if a stack says so (`emptyCache` of c10/cuda/CUDACachingAllocator.cpp keeps the caller's), if the next segment
is a private pool's (`malloc` gives nothing back during a capture), or if what was given back would have served the
next allocation (`malloc` searches before it gives anything back).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gpudoctor.allocator.engine import SMALL, round_size, segment_size
from gpudoctor.allocator.settings import SMALL_SEGMENT, Settings
from gpudoctor.allocator.snapshot import DEFAULT_POOL, Action, Device, PoolId, Stack

GROWS = (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP)
SHRINKS = (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP)
EMPTIES = "empty_cache"  # of torch/cuda/memory.py

PoolOf = Callable[[int, int], PoolId]  # of an address, at a place of the trace


class Releases:
    def __init__(self, device: Device, settings: Settings, stacks: Sequence[Stack], pool_of: PoolOf) -> None:
        self._trace = trace = device.trace
        self._settings = settings
        self._emptying = {place for place, stack in enumerate(stacks) if any(f.name == EMPTIES for f in stack)}
        self._pool_of = pool_of
        moves = {
            place: trace.sizes[place] if action in GROWS else -trace.sizes[place]
            for place, action in enumerate(trace.actions)
            if action in GROWS or action in SHRINKS
        }
        self.segments = list(moves.values())  # bytes made; negative: given back
        reserved = at_start = device.reserved - sum(self.segments)
        self.peak = max(at_start, 0)
        for size in self.segments:
            reserved += size
            self.peak = max(self.peak, reserved)
        self._refused: list[int] = []  # bytes that could not be reserved
        self._flushes = set(self._found(moves, at_start))

    @property
    def room(self) -> tuple[int, int] | None:
        return (self.peak, max(self.peak, min(self._refused) - 1)) if self._refused else None

    def flushed(self, place: int) -> bool:
        """Whether an empty_cache ended with this release."""
        return place in self._flushes

    def _found(self, moves: dict[int, int], reserved: int) -> Iterator[int]:
        actions = self._trace.actions
        first = before = 0  # of a burst of releases, and what was reserved then
        for place, action in enumerate(actions):
            if action in SHRINKS:
                if not place or actions[place - 1] not in SHRINKS:
                    first, before = place, reserved
                reserved += moves[place]
                follower = actions[place + 1] if place + 1 < len(actions) else Action.SNAPSHOT
                if follower in SHRINKS or follower == Action.OOM:
                    continue
                grows = moves[place + 1] if follower in GROWS else 0
                if grows and before + grows > self.peak and not self._was_emptied(first, place):
                    self._refused.append(before + grows)
                else:
                    yield place
            elif action in GROWS:
                reserved += moves[place]
            elif action == Action.OOM:  # it comes after all that could be given back was
                self._refused.append(reserved + self._least_more(self._trace.sizes[place]))

    def _least_more(self, size: int) -> int:
        page = self._settings.large_segment_size
        if self._settings.expandable_segments and size > SMALL:
            return -(-size // page) * page
        return segment_size(size, page)

    def _was_emptied(self, first: int, last: int) -> bool:
        trace = self._trace
        if trace.stacks and any(trace.stacks[place] in self._emptying for place in range(first, last + 1)):
            return True
        served = last + 1
        while served < len(trace) and trace.actions[served] in GROWS:
            served += 1
        if served == len(trace) or trace.actions[served] != Action.ALLOC:
            return False
        if self._pool_of(trace.addresses[served], served) != DEFAULT_POOL:
            return True
        return not self._waited(first) and any(self._would_serve(place, served) for place in range(first, last + 1))

    def _waited(self, first: int) -> bool:
        """What other streams were done with only now could not have served before."""
        trace = self._trace
        if not first or trace.actions[first - 1] != Action.FREE_COMPLETED:
            return False
        asked = first - 2
        return (
            asked < 0
            or trace.actions[asked] != Action.FREE_REQUESTED
            or trace.addresses[asked] != trace.addresses[first - 1]
        )

    def _would_serve(self, released: int, served: int) -> bool:
        trace, settings = self._trace, self._settings
        had, size = trace.sizes[released], round_size(trace.sizes[served], settings.roundup_divisions)
        if had < size or trace.streams[released] != trace.streams[served]:
            return False
        page = SMALL_SEGMENT if trace.actions[released] == Action.SEGMENT_FREE else settings.large_segment_size
        is_small = had == page if page == SMALL_SEGMENT else had % page != 0
        if is_small is not (size <= SMALL) or (
            trace.pools is not None and trace.pools[released] != trace.pools[served]
        ):
            return False
        if size < settings.max_split_size:
            return had < settings.max_split_size
        return had < size + settings.max_non_split_rounding
