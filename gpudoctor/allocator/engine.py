"""The rules of PyTorch's CUDA caching allocator, for one device, without a device.

c10/cuda/CUDACachingAllocator.cpp, class DeviceCachingAllocator: malloc, get_free_block, should_split,
alloc_block, garbage_collect_cached_blocks, release_available_cached_blocks, release_cached_blocks,
try_allocate_expandable_block, map_block, unmap_block, try_merge_blocks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable

from gpudoctor.allocator.address_space import Space
from gpudoctor.allocator.settings import MIB, SMALL_SEGMENT, UNLIMITED, Settings

SMALLEST = 512
SMALL = MIB  # the most that the small pool serves
WHOLE_SEGMENT = 10 * MIB  # from here on a request gets a segment of its own size
ROUND = 2 * MIB
EXPANDABLE_RESERVE = 1 << 42  # more than any GPU has: a reservation is never what runs out
EXPANDABLE_BASE = 1 << 50

DEFAULT_POOL: Hashable = (0, 0)


class Block:
    __slots__ = ("address", "allocated", "base", "expandable", "mapped", "next", "pool", "previous", "size", "stream")

    def __init__(self, pool: Pool, stream: int, address: int, size: int, expandable: bool) -> None:
        self.pool = pool
        self.stream = stream
        self.address = address
        self.size = size
        self.expandable = expandable
        self.mapped = True
        self.allocated = False  # or freed, and another stream may still use it
        self.base = 0  # the pool's search counter when it was last inserted
        self.previous: Block | None = None
        self.next: Block | None = None


Free = list[tuple[int, int, Block]]  # size, address, block; sorted


class Pool:
    """Blocks never move between pools, nor between streams of one."""

    __slots__ = ("free", "is_default", "is_small", "searches", "unmapped")

    def __init__(self, *, is_small: bool, is_default: bool) -> None:
        self.is_small = is_small
        self.is_default = is_default
        self.free: dict[int, Free] = {}
        self.unmapped: dict[int, list[tuple[int, Block]]] = {}
        self.searches = 0

    def insert(self, block: Block) -> None:
        block.base = self.searches
        free = self.free.get(block.stream)
        if free is None:
            free = self.free[block.stream] = []
        insort(free, (block.size, block.address, block))

    def remove(self, block: Block) -> None:
        free = self.free[block.stream]
        del free[bisect_left(free, (block.size, block.address))]


class OutOfMemory(Exception):
    """The request does not fit, after all that the allocator does about it."""


class Allocator:
    """`allocate` and `free`; what it cost is in the counters."""

    def __init__(self, settings: Settings, space: Space, *, capacity: int, limit: int | None) -> None:
        """`capacity`: bytes that the device has for this process; `limit`: what a memory fraction allows."""
        self.settings = settings
        self.space = space
        self.capacity = capacity
        self.limit = limit
        self.expandable = settings.expandable_segments
        self.max_split = max(settings.max_split_size, settings.large_segment_size)  # PyTorch refuses less
        self.collects = limit is not None and settings.garbage_collection_threshold > 0
        self.pools: dict[Hashable, tuple[Pool, Pool]] = {}  # small, large
        self.freeable: set[Hashable] = set()  # private pools that nobody uses any more
        self.pending: dict[Block, None] = {}  # freed, and another stream may still use it
        self.reserved = self.allocated = 0
        self.reserved_peak = self.allocated_peak = 0
        self.segments = self.segments_peak = 0
        self.device_allocs = self.device_frees = self.retries = 0
        self.made: list[int] = []  # bytes of each segment or mapping; negative: given back
        self.tied = False  # an address decided between two free blocks
        self._expandable_top = EXPANDABLE_BASE
        self._rounded: dict[int, int] = {}

    # what a program asks for

    def allocate(self, requested: int, stream: int, pool_id: Hashable = DEFAULT_POOL) -> Block:
        """Raises OutOfMemory."""
        size = self._rounded.get(requested)
        if size is None:
            size = self._rounded[requested] = round_size(requested, self.settings.roundup_divisions)
        pools = self.pools.get(pool_id)
        if pools is None:
            pools = self._pools_of(pool_id)
        pool = pools[0] if size <= SMALL else pools[1]
        block = self._find(pool, size, stream)
        if block is None:
            block = self._obtain(pool, size, stream)
        left = block.size - size
        if left >= SMALLEST if pool.is_small or self.expandable else left > SMALL and size < self.max_split:
            block = self._split(block, size)
        block.allocated = True
        self.allocated += block.size
        if self.allocated > self.allocated_peak:
            self.allocated_peak = self.allocated
        return block

    def request_free(self, block: Block) -> None:
        """The program lets go of it; it can be used again once `complete_free` says so."""
        self.allocated -= block.size
        self.pending[block] = None

    def complete_free(self, block: Block) -> None:
        if block in self.pending:
            del self.pending[block]
            self._release_to_pool(block)

    def free(self, block: Block) -> None:
        self.allocated -= block.size
        self._release_to_pool(block)

    def empty_cache(self) -> None:
        self._synchronize()
        self._release_cached()

    # searching

    def _find(self, pool: Pool, size: int, stream: int) -> Block | None:
        if self.collects:
            pool.searches += 1
        free = pool.free.get(stream)
        if not free:
            return None
        place = bisect_left(free, (size,))
        if place == len(free):
            return None
        found, _, block = free[place]
        if block.expandable:
            if self.expandable:
                place = self._most_fitting(free, place)
            else:
                while place < len(free) and free[place][2].expandable:
                    place += 1
                if place == len(free):
                    return None
            found, _, block = free[place]
        elif not self.tied and place + 1 < len(free) and free[place + 1][0] == found:
            self.tied = _segment_of(block) is not _segment_of(free[place + 1][2])
        if size < self.max_split:
            if found >= self.max_split:
                return None
        elif found >= size + self.settings.max_non_split_rounding:
            return None
        del free[place]
        return block

    @staticmethod
    def _most_fitting(free: Free, place: int) -> int:
        """An expandable block counts as large as it can grow."""

        def potential(block: Block) -> int:
            after = block.next
            return block.size + (after.size if after is not None and not after.mapped else 0)

        while place + 1 < len(free):
            here, there = free[place][2], free[place + 1][2]
            if not here.expandable or potential(there) >= potential(here):
                break
            place += 1
        return place

    def _split(self, rest: Block, size: int) -> Block:
        block = Block(rest.pool, rest.stream, rest.address, size, rest.expandable)
        before = rest.previous
        block.previous, block.next = before, rest
        if before is not None:
            before.next = block
        rest.previous = block
        rest.address += size
        rest.size -= size
        rest.pool.insert(rest)
        return block

    # new memory, and the ladder that is climbed where there is none

    def _obtain(self, pool: Pool, size: int, stream: int) -> Block:
        segment = segment_size(size, self.settings.large_segment_size)
        if self.collects:
            self._collect_garbage()
        block = self._new_memory(pool, size, segment, stream)
        if block is None and self._release_available(pool, size, stream):
            block = self._new_memory(pool, size, segment, stream)
        if block is None and pool.is_default:  # not into a private pool: a graph may be being captured
            self._synchronize()
            self._release_cached()
            self.retries += 1
            block = self._new_memory(pool, size, segment, stream)
        if block is None:
            raise OutOfMemory
        return block

    def _new_memory(self, pool: Pool, size: int, segment: int, stream: int) -> Block | None:
        if self.limit is not None and self.reserved + segment > self.limit:
            return None
        if self.expandable:
            return self._grow(pool, size, stream)
        if self.reserved + segment > self.capacity:
            return None
        self._reserve(segment)
        self.segments += 1
        self.segments_peak = max(self.segments_peak, self.segments)
        return Block(pool, stream, self.space.take(segment), segment, expandable=False)

    def _reserve(self, size: int) -> None:
        self.reserved += size
        self.made.append(size)
        self.device_allocs += 1
        if self.reserved > self.reserved_peak:
            self.reserved_peak = self.reserved

    # expandable segments

    def _grow(self, pool: Pool, size: int, stream: int) -> Block | None:
        if size > EXPANDABLE_RESERVE - self._page(pool):
            return None
        block = self._growing_place(pool, size, stream)
        if not block.mapped:
            mapped = self._map(block, min(block.size, size))
            if mapped is None:
                return None
            block = mapped
        while block.size < size:
            after = block.next
            assert after is not None
            mapped = self._map(after, min(size - block.size, after.size))
            if mapped is None:
                return None
            block = mapped
        pool.remove(block)
        return block

    def _growing_place(self, pool: Pool, size: int, stream: int) -> Block:
        unmapped = pool.unmapped.setdefault(stream, [])
        for _, block in unmapped:
            before = block.previous
            start = before if before is not None and not before.allocated else block
            room, here = 0, start
            while room < size and here is not None and not here.allocated:
                room += here.size
                here = here.next  # type: ignore[assignment]
            if room >= size:
                return start
        whole = EXPANDABLE_RESERVE // self._page(pool) * self._page(pool)
        block = Block(pool, stream, self._expandable_top, whole, expandable=True)
        self._expandable_top += EXPANDABLE_RESERVE
        block.mapped = False
        insort(unmapped, (block.address, block))
        return block

    def _page(self, pool: Pool) -> int:
        return SMALL_SEGMENT if pool.is_small else self.settings.large_segment_size

    def _map(self, block: Block, size: int) -> Block | None:
        pool = block.pool
        page = self._page(pool)
        size = -(-size // page) * page
        if self.reserved + size > self.capacity:
            return None
        _forget_unmapped(block)
        block.mapped = True
        if size < block.size:
            rest = Block(pool, block.stream, block.address + size, block.size - size, expandable=True)
            rest.mapped = False
            rest.previous, rest.next = block, block.next
            if rest.next is not None:
                rest.next.previous = rest
            block.next = rest
            block.size = size
            insort(pool.unmapped[block.stream], (rest.address, rest))
        self._reserve(size)
        _merge(block, block.previous)
        _merge(block, block.next)
        pool.insert(block)
        return block

    def _unmap(self, block: Block) -> None:
        """Give back the pages that lie whole inside of a free block."""
        pool = block.pool
        page = self._page(pool)
        base = block.address // EXPANDABLE_RESERVE * EXPANDABLE_RESERVE
        begin = base + -(-(block.address - base) // page) * page
        end = base + (block.address + block.size - base) // page * page
        if begin >= end:
            return
        pool.remove(block)
        if begin > block.address:
            before = Block(pool, block.stream, block.address, begin - block.address, expandable=True)
            before.previous, before.next = block.previous, block
            if before.previous is not None:
                before.previous.next = before
            block.previous = before
            pool.insert(before)
        after_size = block.address + block.size - end
        if after_size:
            after = Block(pool, block.stream, end, after_size, expandable=True)
            after.previous, after.next = block, block.next
            if after.next is not None:
                after.next.previous = after
            block.next = after
            pool.insert(after)
        block.address, block.size, block.mapped = begin, end - begin, False
        self.reserved -= block.size
        self.made.append(-block.size)
        self.device_frees += 1
        _merge(block, block.previous)
        _merge(block, block.next)
        insort(pool.unmapped[block.stream], (block.address, block))

    # giving memory back

    def _release_to_pool(self, block: Block) -> None:
        block.allocated = False
        _merge(block, block.previous)
        _merge(block, block.next)
        block.pool.insert(block)

    def _synchronize(self) -> None:
        for block in list(self.pending):
            self.complete_free(block)

    def _release_block(self, block: Block) -> None:
        """A whole segment that one free block spans."""
        block.pool.remove(block)
        self.space.give(block.address, block.size)
        self.reserved -= block.size
        self.made.append(-block.size)
        self.segments -= 1
        self.device_frees += 1

    def _release_available(self, pool: Pool, size: int, stream: int) -> bool:
        """Only with max_split_size: free oversize blocks, the smallest that is enough, or several largest."""
        if self.max_split >= UNLIMITED:
            return False
        free = pool.free.get(stream, [])
        key = max(size, self.max_split)
        place = bisect_left(free, (key,))
        if place < len(free) and not free[place][2].expandable:
            self._release_block(free[place][2])
            return True
        released = 0
        for found, _, block in reversed(free[:place]):
            if released >= key or found < self.max_split:
                break
            if not block.expandable:
                self._release_block(block)
                released += found
        return released >= key

    def _release_cached(self) -> None:
        small, large = self._pools_of(DEFAULT_POOL)
        for pool in (
            large,
            small,
            *(pool for each in self.pools if each in self.freeable for pool in self.pools[each]),
        ):
            self._release_pool(pool)

    def _release_pool(self, pool: Pool) -> None:
        blocks = [block for stream in sorted(pool.free) for _, _, block in pool.free[stream]]
        for block in blocks:
            if not block.expandable and block.previous is None and block.next is None:
                self._release_block(block)
        for block in blocks:
            if block.expandable:
                self._unmap(block)

    def _collect_garbage(self) -> None:
        """Free the whole cached segments that were not used for the longest, down to the threshold."""
        assert self.limit is not None
        threshold = int(self.settings.garbage_collection_threshold * self.limit)
        if self.reserved <= threshold:
            return
        pool = self._pools_of(DEFAULT_POOL)[1]
        to_free = self.reserved - threshold
        freed = 0
        while freed < to_free:
            whole = [
                block
                for free in pool.free.values()
                for _, _, block in free
                if block.previous is None and block.next is None
            ]
            if not whole:
                return
            mean = sum(pool.searches - block.base for block in whole) / len(whole)
            old = [block for block in whole if not block.expandable and pool.searches - block.base >= mean]
            if not old:
                return
            for block in old:
                self._release_block(block)
                freed += block.size

    def _pools_of(self, pool_id: Hashable) -> tuple[Pool, Pool]:
        held = self.pools.get(pool_id)
        if held is None:
            default = pool_id == DEFAULT_POOL
            held = self.pools[pool_id] = (
                Pool(is_small=True, is_default=default),
                Pool(is_small=False, is_default=default),
            )
        return held


def _merge(block: Block, other: Block | None) -> None:
    """Take a free neighbour in."""
    if other is None or other.allocated or other.mapped is not block.mapped:
        return
    if other.mapped:
        other.pool.remove(other)
    else:
        _forget_unmapped(other)
    if other is block.previous:
        block.address = other.address
        block.previous = other.previous
        if block.previous is not None:
            block.previous.next = block
    else:
        block.next = other.next
        if block.next is not None:
            block.next.previous = block
    block.size += other.size


def _forget_unmapped(block: Block) -> None:
    unmapped = block.pool.unmapped[block.stream]
    del unmapped[bisect_left(unmapped, (block.address,))]


def _segment_of(block: Block) -> Block:
    while block.previous is not None:
        block = block.previous
    return block


def round_size(size: int, divisions: tuple[int, ...]) -> int:
    """Bytes as the allocator rounds them: to 512, or to divisions between powers of two."""
    if size < SMALLEST:
        return SMALLEST
    power = size.bit_length() - 1
    division = divisions[min(max(power - 20, 0), len(divisions) - 1)]
    if division > 1 and size > SMALLEST * division:
        floor = 1 << power
        if size == floor:
            return size
        step = floor >> (division.bit_length() - 1)
        return -(-size // step) * step if step else floor << 1
    return -(-size // SMALLEST) * SMALLEST


def segment_size(size: int, large: int) -> int:
    """What a new segment for a rounded size takes from the device."""
    if size <= SMALL:
        return SMALL_SEGMENT
    if size < WHOLE_SEGMENT:
        return large
    return -(-size // ROUND) * ROUND
