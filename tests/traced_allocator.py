"""Snapshots of a made program: the engine serves its requests, and every event is noted as torch notes it."""

from __future__ import annotations

from random import Random
from typing import Any

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.engine import DEFAULT_POOL, EXPANDABLE_RESERVE, Allocator, Block, OutOfMemory
from gpudoctor.allocator.settings import MIB, UNLIMITED, parse_settings
from gpudoctor.allocator.snapshot import (
    Action,
    Device,
    Frame,
    PoolId,
    Segment,
    Snapshot,
    SnapshotBlock,
    Stack,
    State,
    Trace,
)

STACKS: list[Stack] = [
    (Frame("forward", "/site-packages/torch/nn/modules/linear.py", 125), Frame("forward", "/home/u/train.py", 88)),
    (Frame("keep_loss", "/home/u/train.py", 131), Frame("<module>", "/home/u/train.py", 300)),
    (Frame("step", "/site-packages/torch/optim/adamw.py", 40), Frame("train", "/home/u/train.py", 210)),
    (Frame("kv_cache", "/home/u/serve.py", 17),),
]


class TracedAllocator(Allocator):
    def __init__(self, settings: str = "", *, limit: int | None = None, has_times: bool = True) -> None:
        parsed = parse_settings(settings)
        super().__init__(parsed, AddressSpace(), capacity=UNLIMITED, limit=limit)
        self.text = settings
        self.trace = Trace()
        self.stacks: dict[Block, tuple[int, int]] = {}  # requested bytes, stack
        self._has_times = has_times

    def event(self, action: Action, address: int, size: int, stream: int, stack: int = -1) -> None:
        trace = self.trace
        trace.actions.append(action)
        trace.addresses.append(address)
        trace.sizes.append(size)
        trace.streams.append(stream)
        trace.times_us.append(1_700_000_000_000_000 + 130 * len(trace) if self._has_times else 0)
        trace.stacks.append(stack)

    def ask(self, size: int, *, stack: int = -1, stream: int = 0, pool: PoolId = DEFAULT_POOL) -> Block | None:  # type: ignore[assignment]
        try:
            block = self.allocate(size, stream, pool)
        except OutOfMemory:
            self.event(Action.OOM, 77 * MIB + 5, size, stream, stack)
            return None
        self.stacks[block] = size, stack
        self.event(Action.ALLOC, block.address, size, stream, stack)
        return block

    def let_go(self, block: Block) -> None:
        size, stack = self.stacks[block]
        self.event(Action.FREE_REQUESTED, block.address, size, block.stream, stack)
        self.request_free(block)

    def complete_free(self, block: Block) -> None:
        if block in self.pending:
            size, stack = self.stacks.pop(block)
            self.event(Action.FREE_COMPLETED, block.address, size, block.stream, stack)
        super().complete_free(block)

    def give(self, block: Block) -> None:
        self.let_go(block)
        self.complete_free(block)

    # what the engine does with the device

    def _synchronize(self) -> None:
        for block in list(self.pending):
            self.complete_free(block)

    def _new_memory(self, pool: Any, size: int, segment: int, stream: int) -> Block | None:
        block = super()._new_memory(pool, size, segment, stream)
        if block is not None and not block.expandable:
            self.event(Action.SEGMENT_ALLOC, block.address, block.size, stream)
        return block

    def _release_block(self, block: Block) -> None:
        self.event(Action.SEGMENT_FREE, block.address, block.size, block.stream)
        super()._release_block(block)

    def _map(self, block: Block, size: int) -> Block | None:
        address, before = block.address, self.reserved
        made = super()._map(block, size)
        if made is not None:
            self.event(Action.SEGMENT_MAP, address, self.reserved - before, block.stream)
        return made

    def _unmap(self, block: Block) -> None:
        before, base = self.reserved, block.address // EXPANDABLE_RESERVE * EXPANDABLE_RESERVE
        page = 2 * MIB if block.pool.is_small else self.settings.large_segment_size
        start = base + -(-(block.address - base) // page) * page
        super()._unmap(block)
        if self.reserved < before:
            self.event(Action.SEGMENT_UNMAP, start, before - self.reserved, block.stream)

    # the file

    def snapshot(self) -> tuple[Snapshot, Device]:
        device = Device(0, tuple(self._segments()), self.trace)
        era = "2.10 or 2.11"
        return Snapshot((device,), 1, list(STACKS), [], self.settings, self.text, era), device

    def _segments(self) -> list[Segment]:
        """Walk from blocks that the program holds or held to all that lie beside them."""
        names: dict[int, PoolId] = {id(pool): key for key, both in self.pools.items() for pool in both}  # type: ignore[misc]
        found: dict[int, Segment] = {}
        pools = [pool for both in self.pools.values() for pool in both]
        free = [block for pool in pools for of_stream in pool.free.values() for _, _, block in of_stream]
        for block in [*self.stacks, *free]:
            first = block
            while first.previous is not None and first.previous.mapped:
                first = first.previous
            if first.address in found:
                continue
            blocks, here = [], first
            while here is not None and here.mapped:
                blocks.append(self._block(here))
                here = here.next  # type: ignore[assignment]
            size = sum(each.size for each in blocks)
            pool = names[id(first.pool)]
            found[first.address] = Segment(
                first.address, size, first.stream, first.pool.is_small, first.expandable, pool, tuple(blocks)
            )
        return [found[address] for address in sorted(found)]

    def _block(self, block: Block) -> SnapshotBlock:
        if block not in self.stacks:
            return SnapshotBlock(block.address, block.size, 0, "free", -1)
        requested, stack = self.stacks[block]
        state: State = "pending_free" if block in self.pending else "allocated"
        return SnapshotBlock(block.address, block.size, requested, state, stack)


def made_program(
    steps: int = 400, *, seed: int = 1, settings: str = "", limit: int | None = None, has_times: bool = True
) -> TracedAllocator:
    """Blocks of many sizes and ages on two streams, some freed late, a private pool, and a failure under a limit."""
    random, made = Random(seed), TracedAllocator(settings, limit=limit, has_times=has_times)
    live: list[Block] = []
    waiting: list[Block] = []
    for step in range(steps):
        size = random.choice([700, 300_000, 3 * MIB + 17, 12 * MIB + 4096, 40 * MIB, 90 * MIB + 1])
        pool = (1, 0) if step % 17 == 3 else DEFAULT_POOL
        block = made.ask(size, stack=step % 5 - 1, stream=0x5F if step % 11 == 0 else 0, pool=pool)  # type: ignore[arg-type]
        if block is None:
            for _ in range(min(8, len(live))):
                made.give(live.pop(random.randrange(len(live))))
            continue
        live.append(block)
        if len(live) > 30 or random.random() < 0.3:
            gone = live.pop(random.randrange(len(live)))
            if random.random() < 0.3:
                made.let_go(gone)
                waiting.append(gone)
            else:
                made.give(gone)
        if waiting and random.random() < 0.4:
            made.complete_free(waiting.pop(0))
        if step == steps // 2:
            made.empty_cache()
    return made
