"""What a program asked of the allocator, out of a trace: which settings answered it does not matter any more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from gpudoctor.allocator.releases import SHRINKS, Releases
from gpudoctor.allocator.settings import Settings
from gpudoctor.allocator.snapshot import DEFAULT_POOL, Action, Device, PoolId, Stack

# kinds of requests
ALLOCATE, FREE, LET_GO, FREED, EMPTY_CACHE, FAILED, RETIRED = range(7)
# LET_GO: freed by the program while another stream may still use it; FREED: that stream is done with it.
# FAILED: an allocation that the recorded program did not get; it is asked for, and given back at once.
# RETIRED: nobody uses the private pool any more, so what it caches can be released.

DEFAULT = Settings()

Request = tuple[int, int, int, int, PoolId]  # kind, number of the block, bytes, stream, pool


class Requests(msgspec.Struct):
    stream: list[Request]
    blocks: int  # numbers below this are in use
    present_at_start: int  # bytes of blocks that were there before the first event
    recorded_segments: list[int]  # bytes of each segment or mapping as it was made; negative: given back
    recorded_peak: int  # bytes reserved
    room: tuple[int, int] | None  # the least and the most that could be reserved, as refusals tell; None: none was seen
    peaks: tuple[int, int]  # bytes requested and alive at most; requests alive then
    deferred_frees: int
    failures: int

    @property
    def allocations(self) -> int:
        return sum(request[0] in (ALLOCATE, FAILED) for request in self.stream)


class _PrivatePools:
    """Which private pool an address belongs to: older torch records no pool with an event.

    Of the segments that are there at the end, each since its last segment_alloc or its first segment_map.
    """

    def __init__(self, device: Device) -> None:
        held = sorted((s.address, s.address + s.size, s.pool) for s in device.segments if s.pool != DEFAULT_POOL)
        self._starts = [start for start, _, _ in held]
        self._held = held
        self._since = [0] * len(held)
        trace = device.trace
        for place in trace.places(Action.SEGMENT_ALLOC):
            which = self._at(trace.addresses[place])
            if which >= 0:
                self._since[which] = place
        for place in trace.places(Action.SEGMENT_MAP):
            which = self._at(trace.addresses[place])
            if which >= 0 and not self._since[which]:
                self._since[which] = place

    def _at(self, address: int) -> int:
        which = bisect_right(self._starts, address) - 1
        return which if which >= 0 and address < self._held[which][1] else -1

    def pool_of(self, address: int, place: int) -> PoolId:
        which = self._at(address) if self._starts else -1
        return self._held[which][2] if which >= 0 and place >= self._since[which] else DEFAULT_POOL


class _RecordedPools:
    """The same out of events that tell it, as they do since torch 2.12."""

    def __init__(self, device: Device, pools: list[PoolId]) -> None:
        self._trace = device.trace
        self._pools = pools
        self._last: dict[PoolId, int] = {}  # private pools, and when they last served something
        for place in device.trace.places(Action.ALLOC):
            self._last[self.pool_of(0, place)] = place
        self._last.pop(DEFAULT_POOL, None)

    def pool_of(self, address: int, place: int) -> PoolId:
        assert self._trace.pools is not None
        return self._pools[self._trace.pools[place]]

    def retired(self, place: int) -> PoolId | None:
        """Segments of a private pool are given back when its graphs are gone; told once of each."""
        pool = self.pool_of(0, place)
        if self._last.get(pool, place) < place:
            del self._last[pool]
            return pool
        return None


def requests_of(
    device: Device, pools: list[PoolId], settings: Settings = DEFAULT, stacks: Sequence[Stack] = ()
) -> Requests:
    """Rebuild them. Blocks that were there before the first event are asked for first, the largest first.

    `settings`, `stacks`: of the snapshot; they help to tell an emptied cache from a full device.
    """
    stream, numbers, present = _present_at_start(device, pools)
    trace = device.trace
    recorded = _RecordedPools(device, pools) if trace.pools is not None else None
    private = recorded or _PrivatePools(device)
    releases = Releases(device, settings, stacks, private.pool_of)
    seen: set[PoolId] = {DEFAULT_POOL}
    let_go: set[int] = set()
    count = len(numbers)
    actions, addresses, sizes, streams = trace.actions, trace.addresses, trace.sizes, trace.streams
    for place, action in enumerate(actions):
        if action == Action.ALLOC:
            address = addresses[place]
            pool = private.pool_of(address, place)
            # torch.cuda.graph empties the cache before it captures, `__enter__` in
            # https://github.com/pytorch/pytorch/blob/main/torch/cuda/graphs.py
            if pool not in seen:
                seen.add(pool)
                stream.append((EMPTY_CACHE, 0, 0, 0, DEFAULT_POOL))
            numbers[address] = count
            stream.append((ALLOCATE, count, sizes[place], streams[place], pool))
            count += 1
        elif action == Action.FREE_COMPLETED:
            number = numbers.pop(addresses[place], None)
            if number is None:
                continue
            if stream[-1][:2] == (LET_GO, number):
                stream[-1] = (FREE, number, 0, 0, DEFAULT_POOL)
            else:  # one that was let go before the first event is simply free now
                stream.append((FREED if number in let_go else FREE, number, 0, 0, DEFAULT_POOL))
        elif action == Action.FREE_REQUESTED:
            number = numbers.get(addresses[place])
            if number is not None and number not in let_go:
                let_go.add(number)
                stream.append((LET_GO, number, 0, 0, DEFAULT_POOL))
        elif action == Action.OOM:
            pool = recorded.pool_of(0, place) if recorded else DEFAULT_POOL
            stream.append((FAILED, count, sizes[place], streams[place], pool))
            count += 1
        elif action in SHRINKS:
            retired = recorded.retired(place) if recorded else None
            if retired is not None:
                stream.append((RETIRED, 0, 0, 0, retired))
            if releases.flushed(place):
                stream.append((EMPTY_CACHE, 0, 0, 0, DEFAULT_POOL))
    return Requests(
        stream=stream,
        blocks=count,
        present_at_start=present,
        recorded_segments=releases.segments,
        recorded_peak=releases.peak,
        room=releases.room,
        peaks=alive_at_most(stream),
        deferred_frees=sum(request[0] == FREED for request in stream),
        failures=sum(request[0] == FAILED for request in stream),
    )


def _present_at_start(device: Device, pools: list[PoolId]) -> tuple[list[Request], dict[int, int], int]:
    """Blocks that are freed without ever having been allocated, and those of the end that no event made."""
    trace = device.trace
    made: set[int] = set()
    old: dict[int, tuple[int, int, PoolId]] = {}
    for place, action in enumerate(trace.actions):
        address = trace.addresses[place]
        if action == Action.ALLOC:
            made.add(address)
        elif action in (Action.FREE_REQUESTED, Action.FREE_COMPLETED) and address not in made:
            pool = pools[trace.pools[place]] if trace.pools is not None else DEFAULT_POOL
            old.setdefault(address, (trace.sizes[place], trace.streams[place], pool))
    for segment in device.segments:
        for block in segment.blocks:
            if block.state != "free" and block.address not in made and block.address not in old:
                old[block.address] = (block.requested or block.size, segment.stream, segment.pool)
    order = sorted(old.items(), key=lambda item: (-item[1][0], item[0]))
    stream: list[Request] = [(ALLOCATE, number, size, of, pool) for number, (_, (size, of, pool)) in enumerate(order)]
    return stream, {address: number for number, (address, _) in enumerate(order)}, sum(r[2] for r in stream)


def alive_at_most(stream: Iterable[Request], left_out: Iterable[int] = ()) -> tuple[int, int]:
    """Bytes, and blocks then. `left_out`: numbers of blocks that were not got."""
    missing = set(left_out)
    alive: dict[int, int] = {}
    held = most = count = 0
    for kind, number, size, _, _ in stream:
        if kind == ALLOCATE and number not in missing:
            alive[number] = size
            held += size
            if held > most:
                most, count = held, len(alive)
        elif kind in (FREE, LET_GO):
            held -= alive.pop(number, 0)
    return most, count


def with_frees_at(stream: list[Request], factor: float) -> list[Request]:
    """The same requests with other streams done sooner (below 1) or later: a run's timing is never the same twice."""
    let_go: dict[int, int] = {}
    placed: list[tuple[float, int, Request]] = []
    for place, request in enumerate(stream):
        at: float = place
        if request[0] == LET_GO:
            let_go[request[1]] = place
        elif request[0] == FREED:
            start = let_go[request[1]]
            at = start + max(0.5, (place - start) * factor)
        placed.append((at, place, request))
    placed.sort(key=lambda each: each[:2])
    return [request for _, _, request in placed]
