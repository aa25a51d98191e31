"""Who holds memory at one moment, and which live blocks keep free memory from being used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from gpudoctor.allocator.engine import SMALL
from gpudoctor.allocator.explanation import Holder, Hole, Pin, Pool
from gpudoctor.allocator.frames import UNKNOWN, category, own_frame, package, short
from gpudoctor.allocator.settings import LARGE_SEGMENT, SMALL_SEGMENT
from gpudoctor.allocator.snapshot import DEFAULT_POOL, NO_STACK, Segment, SnapshotBlock, Stack
from gpudoctor.allocator.state import Held


def holes(segments: Sequence[Segment]) -> tuple[Hole, ...]:
    found = [
        Hole(block.address, block.size, number, segment.is_expandable)
        for number, segment in enumerate(segments)
        for block in segment.blocks
        if block.state == "free"
    ]
    return tuple(sorted(found, key=lambda hole: (-hole.size, hole.address)))


def pools(segments: Sequence[Segment]) -> tuple[Pool, ...]:
    """The private ones: of CUDA graphs and of torch.cuda.MemPool."""
    private = sorted((s for s in segments if s.pool != DEFAULT_POOL), key=lambda segment: segment.pool)
    found = []
    for pool, members in groupby(private, key=lambda segment: segment.pool):
        own = list(members)
        found.append(Pool(pool, sum(s.size for s in own), sum(s.allocated for s in own), len(own)))
    return tuple(sorted(found, key=lambda pool: -pool.reserved))


class Program:
    """The stacks of a snapshot, each looked at once."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self._stacks = stacks
        self._frames: dict[int, str] = {}
        self._categories: dict[int, str] = {}

    @property
    def has_stacks(self) -> bool:
        return any(self._stacks)

    def packages(self) -> tuple[str, ...]:
        names = {package(frame.filename) for stack in self._stacks for frame in stack}
        return tuple(sorted(names - {"", "torch"}))

    def frame(self, stack: int) -> str:
        if stack not in self._frames:
            own = own_frame(self._stacks[stack]) if stack != NO_STACK else None
            self._frames[stack] = UNKNOWN if own is None else short(own)
        return self._frames[stack]

    def category(self, stack: int) -> str:
        if stack not in self._categories:
            self._categories[stack] = UNKNOWN if stack == NO_STACK else category(self._stacks[stack])
        return self._categories[stack]


def holders(held: Iterable[Held], name: Callable[[int], str]) -> tuple[Holder, ...]:
    sizes: dict[str, list[int]] = {}
    for block in held:
        sizes.setdefault(name(block.stack), []).append(block.size)
    total = sum(sum(each) for each in sizes.values())
    found = [Holder(who, sum(each), len(each), sum(each) / total) for who, each in sizes.items()]
    return tuple(sorted(found, key=lambda holder: -holder.size))


def pins(segments: Sequence[Segment], held: Sequence[Held], place: int) -> tuple[Pin, ...]:
    """For each stack, the free bytes of segments that its oldest block keeps; without stacks, for each block.

    The oldest block of a segment answers for it: younger ones come and go. Of an expandable segment, whole free
    pages can be given back; for what is left of a hole the older of the blocks beside it answers.
    """
    by_address = {block.address: block for block in held}
    found: dict[tuple[int, int], list[tuple[int, Held]]] = {}
    for segment in segments:
        live = [by_address[block.address] for block in segment.blocks if block.address in by_address]
        if segment.pool != DEFAULT_POOL or not live:
            continue
        for kept, block in _of_pages(segment, by_address) if segment.is_expandable else [_of_whole(segment, live)]:
            if kept:
                key = (block.stack, 0 if block.stack != NO_STACK else block.address)
                found.setdefault(key, []).append((kept, block))
    made = []
    for (stack, _), each in found.items():
        worst = max(each, key=lambda kept: kept[0])[1]
        unusable = sum(kept for kept, _ in each)
        made.append(Pin(stack, worst.size, unusable, place - worst.place, len(each), worst.address))
    return tuple(sorted(made, key=lambda pin: (-pin.unusable, pin.address)))


def _of_whole(segment: Segment, live: Sequence[Held]) -> tuple[int, Held]:
    return sum(block.size for block in segment.blocks if block.state == "free"), min(live, key=lambda held: held.place)


def _of_pages(segment: Segment, held: dict[int, Held]) -> Iterable[tuple[int, Held]]:
    page = SMALL_SEGMENT if segment.is_small else LARGE_SEGMENT
    blocks = segment.blocks
    for number, block in enumerate(blocks):
        if block.state != "free":
            continue
        beside = [held[b.address] for b in (*blocks[max(0, number - 1) : number], *blocks[number + 1 : number + 2])]
        if beside:
            yield block.size - _whole_pages(segment, block, page), min(beside, key=lambda each: each.place)


def _whole_pages(segment: Segment, block: SnapshotBlock, page: int) -> int:
    """Pages are counted from the segment's start, which lies on one."""
    start = -(-(block.address - segment.address) // page) * page
    end = (block.address + block.size - segment.address) // page * page
    return max(0, end - start)


def usable_hole(segments: Sequence[Segment], size: int) -> int:
    """The largest free block of the pool that a request of this size is served from."""
    small = size <= SMALL
    free = [
        block.size
        for segment in segments
        if segment.is_small is small and segment.pool == DEFAULT_POOL
        for block in segment.blocks
        if block.state == "free"
    ]
    return max(free, default=0)
