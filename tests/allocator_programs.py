"""Programs that run on the engine, and leave the snapshot that PyTorch would write of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import pairwise
from typing import Any

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.engine import EXPANDABLE_RESERVE, Allocator, Block, OutOfMemory, Pool, round_size
from gpudoctor.allocator.settings import SMALL_SEGMENT, UNLIMITED, parse_settings
from gpudoctor.allocator.snapshot import (
    DEFAULT_POOL,
    NO_STACK,
    Action,
    Device,
    Frame,
    Segment,
    Snapshot,
    SnapshotBlock,
    Trace,
)

MIB = 1 << 20
GIB = 1 << 30


class _Traced(Allocator):
    """Says what it takes from the device and gives back."""

    def __init__(self, trace: Trace, text: str, capacity: int, limit: int | None) -> None:
        super().__init__(parse_settings(text), AddressSpace(), capacity=capacity, limit=limit)
        self.trace = trace
        self.stack = NO_STACK

    def event(self, action: Action, address: int, size: int, stream: int, stack: int = NO_STACK) -> None:
        self.trace.actions.append(action)
        self.trace.addresses.append(address)
        self.trace.sizes.append(size)
        self.trace.streams.append(stream)
        self.trace.times_us.append(len(self.trace) * 3)
        self.trace.stacks.append(stack)

    def _new_memory(self, pool: Pool, size: int, segment: int, stream: int) -> Block | None:
        block = super()._new_memory(pool, size, segment, stream)
        if block is not None and not block.expandable:
            self.event(Action.SEGMENT_ALLOC, block.address, segment, stream, self.stack)
        return block

    def _map(self, block: Block, size: int) -> Block | None:
        start, before = block.address, self.reserved
        mapped = super()._map(block, size)
        if mapped is not None:
            self.event(Action.SEGMENT_MAP, start, self.reserved - before, block.stream, self.stack)
        return mapped

    def _unmap(self, block: Block) -> None:
        page = SMALL_SEGMENT if block.pool.is_small else self.settings.large_segment_size
        base = block.address // EXPANDABLE_RESERVE * EXPANDABLE_RESERVE
        start, before = base + -(-(block.address - base) // page) * page, self.reserved
        super()._unmap(block)
        if self.reserved < before:
            self.event(Action.SEGMENT_UNMAP, start, before - self.reserved, block.stream)

    def _release_block(self, block: Block) -> None:
        self.event(Action.SEGMENT_FREE, block.address, block.size, block.stream)
        super()._release_block(block)

    def complete_free(self, block: Block) -> None:
        if block in self.pending:
            self.event(Action.FREE_COMPLETED, block.address, 0, block.stream)
        super().complete_free(block)


class Program:
    def __init__(
        self, settings: str = "", *, capacity: int = UNLIMITED, limit: int | None = None, elsewhere: int = 0
    ) -> None:
        """`elsewhere`: bytes that the device has free beside the limit."""
        self.settings_text = settings
        self.trace = Trace()
        self._elsewhere = elsewhere
        self._allocator = _Traced(self.trace, settings, capacity, limit)
        self._held: dict[Block, tuple[int, int, Hashable]] = {}
        self._stacks: list[tuple[Frame, ...]] = []

    def stack(self, *frames: tuple[str, str, int]) -> int:
        made = tuple(Frame(*frame) for frame in frames)
        if made not in self._stacks:
            self._stacks.append(made)
        return self._stacks.index(made)

    def allocate(
        self, size: int, *, stack: int = NO_STACK, stream: int = 0, pool: tuple[int, int] = DEFAULT_POOL
    ) -> Block | None:
        """None where it does not fit."""
        self._allocator.stack = stack
        try:
            block = self._allocator.allocate(size, stream, pool)
        except OutOfMemory:
            free = self._elsewhere + min(self._allocator.capacity, UNLIMITED) - self._allocator.reserved
            rounded = round_size(size, self._allocator.settings.roundup_divisions)
            free = self._elsewhere if self._allocator.limit is not None else free
            self._allocator.event(Action.OOM, free, rounded, stream, stack)
            return None
        self._held[block] = size, stack, pool
        self._allocator.event(Action.ALLOC, block.address, size, stream, stack)
        return block

    def free(self, block: Block) -> None:
        size, stack, _ = self._held.pop(block)
        self._allocator.event(Action.FREE_REQUESTED, block.address, size, block.stream, stack)
        self._allocator.event(Action.FREE_COMPLETED, block.address, size, block.stream, stack)
        self._allocator.free(block)

    def let_go(self, block: Block) -> None:
        """Another stream may still use it."""
        size, stack, _ = self._held[block]
        self._allocator.event(Action.FREE_REQUESTED, block.address, size, block.stream, stack)
        self._allocator.request_free(block)

    def finish(self, block: Block) -> None:
        self._allocator.complete_free(block)

    def empty_cache(self) -> None:
        self._allocator.empty_cache()

    def shrink(self, capacity: int) -> None:
        """Somebody else takes memory of the device."""
        self._allocator.capacity = capacity

    def segments(self) -> tuple[Segment, ...]:
        """As the allocator has them now."""
        return tuple(self._segment(chain) for chain in self._chains())

    def snapshot(self, *, ring: int | None = None) -> Snapshot:
        """`ring`: as many of the last events as the record has room for."""
        trace = self.trace
        if ring is not None:
            first = max(0, len(trace) - ring)
            columns: Any = [column[first:] for column in _columns(trace)]
            trace = Trace(*columns)
        device = Device(0, self.segments(), trace)
        settings = parse_settings(self.settings_text)
        return Snapshot((device,), 1, self._stacks, [], settings, self.settings_text, "2.11")

    def _chains(self) -> list[list[Block]]:
        """Blocks of each segment; of an expandable one, of each mapped range."""
        allocator = self._allocator
        self._held = {b: held for b, held in self._held.items() if b.allocated}
        free = [
            block
            for pools in allocator.pools.values()
            for pool in pools
            for blocks in pool.free.values()
            for _, _, block in blocks
        ]
        blocks = sorted({*self._held, *allocator.pending, *free}, key=lambda block: block.address)
        chains = [blocks[:1]] if blocks else []
        for before, block in pairwise(blocks):
            if before.next is block:
                chains[-1].append(block)
            else:
                chains.append([block])
        return chains

    def _segment(self, chain: list[Block]) -> Segment:
        first = chain[0]
        names = {pool: name for name, pools in self._allocator.pools.items() for pool in pools}
        blocks = []
        for block in chain:
            size, stack, _ = self._held.get(block, (0, NO_STACK, DEFAULT_POOL))
            pending = block in self._allocator.pending
            state = "pending_free" if pending else "allocated" if block in self._held else "free"
            blocks.append(SnapshotBlock(block.address, block.size, size, state, stack))
        total = sum(block.size for block in chain)
        pool = names[first.pool]
        assert isinstance(pool, tuple)
        return Segment(first.address, total, first.stream, first.pool.is_small, first.expandable, pool, tuple(blocks))


def _columns(trace: Trace):
    return trace.actions, trace.addresses, trace.sizes, trace.streams, trace.times_us, trace.stacks


def stepwise(program: Program, steps: list[tuple[str, int, int]]) -> Iterator[None]:
    """Take steps (what, how much or which, stream), and stop after each."""
    live, waiting = [], []
    for what, amount, stream in steps:
        if what == "allocate":
            block = program.allocate(amount, stream=stream)
            if block is not None:
                live.append(block)
        elif what == "empty_cache":
            program.empty_cache()
            waiting.clear()
        elif what == "finish" and waiting:
            program.finish(waiting.pop(amount % len(waiting)))
        elif what == "free" and live:
            program.free(live.pop(amount % len(live)))
        elif what == "let_go" and live:
            waiting.append(live.pop(amount % len(live)))
            program.let_go(waiting[-1])
        yield
