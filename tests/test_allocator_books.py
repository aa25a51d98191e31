"""The allocator's books after any program: blocks, free lists and counters agree at every step."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.engine import DEFAULT_POOL, Allocator, Block, OutOfMemory
from gpudoctor.allocator.settings import MIB, UNLIMITED, parse_settings

EXPANDABLE = "expandable_segments:True"
GRAPH = (1, 0)  # a private pool
KIB = 1024

CONFIGURATIONS = (
    "",
    EXPANDABLE,
    EXPANDABLE + ",large_segment_size_mb:64,roundup_power2_divisions:4",
    "max_split_size_mb:20",
    "max_split_size_mb:64,max_non_split_rounding_mb:100",
    "max_split_size_mb:64,garbage_collection_threshold:0.6",
    "garbage_collection_threshold:0.3",
    EXPANDABLE + ",max_split_size_mb:32,garbage_collection_threshold:0.5",
)
SIZES = [0, 200, 3 * KIB, 700 * KIB, MIB, 1300 * KIB, 5 * MIB, 11 * MIB, 27 * MIB, 63 * MIB, 64 * MIB, 90 * MIB]
Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.sampled_from(SIZES), st.integers(0, 2)),
        st.tuples(st.just("capture"), st.sampled_from(SIZES), st.integers(0, 1)),
        st.tuples(st.sampled_from(["free", "let go", "finish"]), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("empty cache"), st.just(0), st.just(0)),
    ),
    max_size=100,
)


class _Run:
    def __init__(self, settings: str, *, limited: bool) -> None:
        room = 420 * MIB
        self.allocator = Allocator(
            parse_settings(settings),
            AddressSpace(),
            capacity=UNLIMITED if limited else room,
            limit=room if limited else None,
        )
        self.room = room
        self.live: list[Block] = []
        self.waiting: list[Block] = []
        self.places: list[int] = []

    def take(self, step: Step) -> None:
        what, amount, stream = step
        allocator = self.allocator
        if what in ("allocate", "capture"):
            try:
                block = allocator.allocate(amount, stream, GRAPH if what == "capture" else DEFAULT_POOL)
            except OutOfMemory:
                self.places.append(-1)
                return
            assert block.size >= amount
            self.live.append(block)
            self.places.append(block.address)
        elif what == "empty cache":
            allocator.empty_cache()
        elif what == "finish" and self.waiting:
            allocator.complete_free(self.waiting.pop(amount % len(self.waiting)))
        elif what == "free" and self.live:
            allocator.free(self.live.pop(amount % len(self.live)))
        elif what == "let go" and self.live:
            self.waiting.append(self.live.pop(amount % len(self.live)))
            allocator.request_free(self.waiting[-1])
        self.waiting = [block for block in self.waiting if block in allocator.pending]

    def let_all_go(self) -> None:
        for block in self.live:
            self.allocator.free(block)
        self.allocator.freeable.add(GRAPH)
        self.live = []
        self.allocator.empty_cache()


def _chains(run: _Run) -> list[list[Block]]:
    """All blocks, by the segment that they are in."""
    free, unmapped = _listed(run.allocator)
    chains: dict[int, list[Block]] = {}
    for block in [*run.live, *run.allocator.pending, *free, *unmapped]:
        first: Block = block
        while first.previous is not None:
            first = first.previous
        if id(first) not in chains:
            chain = chains[id(first)] = [first]
            while (after := chain[-1].next) is not None:
                chain.append(after)
    return list(chains.values())


def _listed(allocator: Allocator) -> tuple[list[Block], list[Block]]:
    pools = [pool for both in allocator.pools.values() for pool in both]
    return (
        [block for pool in pools for listed in pool.free.values() for _, _, block in listed],
        [block for pool in pools for listed in pool.unmapped.values() for _, block in listed],
    )


def _hold_together(run: _Run) -> None:
    allocator = run.allocator
    free, unmapped = _listed(allocator)
    chains = _chains(run)
    blocks = [block for chain in chains for block in chain]
    for chain in chains:
        for low, high in pairwise(chain):
            assert low.address + low.size == high.address
            assert high.previous is low
            assert (low.pool, low.stream, low.expandable) == (high.pool, high.stream, high.expandable)
            assert low.allocated or high.allocated or low.mapped != high.mapped  # else they were merged
    spans = sorted((chain[0].address, chain[-1].address + chain[-1].size) for chain in chains)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert set(free) == {block for block in blocks if block.mapped and not block.allocated}
    assert set(unmapped) == {block for block in blocks if not block.mapped}
    assert len(free) + len(unmapped) == len(set(free)) + len(set(unmapped))
    for both in allocator.pools.values():
        for pool in both:
            for stream, listed in pool.free.items():
                assert listed == sorted(listed, key=lambda each: each[:2])
                assert all(
                    (size, address) == (block.size, block.address) and block.pool is pool and block.stream == stream
                    for size, address, block in listed
                )
            assert all(listed == sorted(listed, key=lambda each: each[0]) for listed in pool.unmapped.values())
    _counts_hold(run, chains)


def _counts_hold(run: _Run, chains: list[list[Block]]) -> None:
    allocator = run.allocator
    mapped = [block for chain in chains for block in chain if block.mapped]
    assert allocator.reserved == sum(block.size for block in mapped) == sum(allocator.made)
    assert allocator.allocated == sum(block.size for block in run.live)
    assert allocator.segments == sum(not chain[0].expandable for chain in chains)
    assert allocator.device_allocs == sum(size > 0 for size in allocator.made)
    assert allocator.device_frees == sum(size < 0 for size in allocator.made)
    passed = allocator.settings.large_segment_size if allocator.expandable and allocator.limit is not None else 0
    assert allocator.reserved <= allocator.reserved_peak <= run.room + passed
    assert allocator.allocated <= allocator.allocated_peak <= allocator.reserved_peak
    assert allocator.segments <= allocator.segments_peak


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("settings", CONFIGURATIONS)
@given(steps=STEPS)
@hypothesis_settings(max_examples=40, deadline=None)
def test_its_books_hold_after_every_step(settings: str, limited: bool, steps: list[Step]) -> None:
    run = _Run(settings, limited=limited)
    for step in steps:
        run.take(step)
        _hold_together(run)
    run.let_all_go()
    _hold_together(run)
    assert (run.allocator.reserved, run.allocator.allocated, run.allocator.segments) == (0, 0, 0)


@pytest.mark.parametrize("settings", CONFIGURATIONS)
@given(steps=STEPS)
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_same_requests_give_the_same_run(settings: str, steps: list[Step]) -> None:
    first, second = _Run(settings, limited=True), _Run(settings, limited=True)
    for run in (first, second):
        for step in steps:
            run.take(step)
    assert first.places == second.places
    assert first.allocator.made == second.allocator.made
