"""What a program asked for, out of the trace that it left."""

from __future__ import annotations

from array import array

import pytest
from allocator_programs import GIB, MIB, Program, stepwise
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.fidelity import fidelity
from gpudoctor.allocator.replay import replay, what_if
from gpudoctor.allocator.requests import (
    ALLOCATE,
    EMPTY_CACHE,
    FAILED,
    FREE,
    FREED,
    LET_GO,
    RETIRED,
    Requests,
    alive_at_most,
    requests_of,
    with_frees_at,
)
from gpudoctor.allocator.settings import Settings, parse_settings
from gpudoctor.allocator.snapshot import Action, Device, Frame, Segment, Snapshot, SnapshotBlock, Trace

EXPANDABLE = "expandable_segments:True"
GRAPH = (1, 0)


def asked(program: Program, *, ring: int | None = None) -> Requests:
    snapshot = program.snapshot(ring=ring)
    return requests_of(snapshot.devices[0], snapshot.pools, snapshot.settings, snapshot.stacks)


def kinds(requests: Requests) -> list[int]:
    return [request[0] for request in requests.stream]


def device_of(*events: tuple[Action, int, int], pools: list[int] | None = None) -> Device:
    """Events as action, address and size."""
    trace = Trace()
    for action, address, size in events:
        trace.actions.append(action)
        trace.addresses.append(address)
        trace.sizes.append(size)
        trace.streams.append(0)
    trace.pools = array("i", pools) if pools is not None else None
    return Device(0, (), trace)


def test_allocations_and_frees_with_the_bytes_that_were_requested() -> None:
    program = Program()
    first, second = program.allocate(3_000_001), program.allocate(700, stream=5)
    assert first is not None
    assert second is not None
    program.free(first)
    requests = asked(program)
    assert requests.stream == [
        (ALLOCATE, 0, 3_000_001, 0, (0, 0)),
        (ALLOCATE, 1, 700, 5, (0, 0)),
        (FREE, 0, 0, 0, (0, 0)),
    ]
    assert requests.peaks == (3_000_701, 2)
    assert requests.recorded_segments == [20 * MIB, 2 * MIB]
    assert requests.recorded_peak == 22 * MIB
    assert (requests.present_at_start, requests.room, requests.failures) == (0, None, 0)


def test_the_same_address_later_is_another_block() -> None:
    program = Program()
    for _ in range(2):
        block = program.allocate(5 * MIB)
        assert block is not None
        program.free(block)
    assert [request[:2] for request in asked(program).stream] == [(ALLOCATE, 0), (FREE, 0), (ALLOCATE, 1), (FREE, 1)]


def test_a_free_that_waits_for_another_stream_is_two_requests() -> None:
    program = Program()
    block = program.allocate(5 * MIB)
    assert block is not None
    program.let_go(block)
    program.allocate(5 * MIB)
    program.finish(block)
    requests = asked(program)
    assert kinds(requests) == [ALLOCATE, LET_GO, ALLOCATE, FREED]
    assert requests.deferred_frees == 1
    assert requests.peaks == (5 * MIB, 1)


@pytest.mark.parametrize("settings", ["", EXPANDABLE])
def test_the_cache_was_emptied_where_there_was_room(settings: str) -> None:
    program = Program(settings)
    held = program.allocate(200 * MIB)
    assert held is not None
    program.free(held)
    program.empty_cache()
    program.allocate(100 * MIB)
    requests = asked(program)
    assert kinds(requests) == [ALLOCATE, FREE, EMPTY_CACHE, ALLOCATE]
    assert requests.room is None


def test_several_segments_are_given_back_by_one_emptying() -> None:
    program = Program()
    blocks = [program.allocate(30 * MIB) for _ in range(3)]
    for block in blocks:
        assert block is not None
        program.free(block)
    program.empty_cache()
    assert kinds(asked(program)).count(EMPTY_CACHE) == 1


def test_segments_given_back_for_want_of_room_are_no_request_and_tell_the_room() -> None:
    program = Program(limit=100 * MIB)
    held = program.allocate(60 * MIB)
    assert held is not None
    program.free(held)
    program.allocate(80 * MIB)
    requests = asked(program)
    assert kinds(requests) == [ALLOCATE, FREE, ALLOCATE]
    assert requests.room == (80 * MIB, 140 * MIB - 1)


def test_what_would_have_served_the_next_request_was_not_given_back_for_it() -> None:
    program = Program()
    held = program.allocate(200 * MIB)
    assert held is not None
    program.free(held)
    program.empty_cache()
    program.allocate(200 * MIB, stream=1)  # of another stream: it could have been for want of room
    assert asked(program).room == (200 * MIB, 400 * MIB - 1)


def test_what_another_stream_was_done_with_only_then_could_not_have_served() -> None:
    program = Program(limit=100 * MIB)
    held = program.allocate(60 * MIB)
    assert held is not None
    program.let_go(held)
    program.allocate(300)
    program.allocate(50 * MIB)
    requests = asked(program)
    assert kinds(requests) == [ALLOCATE, LET_GO, ALLOCATE, FREED, ALLOCATE]
    assert requests.room == (62 * MIB, 112 * MIB - 1)


def test_oversize_blocks_serve_no_smaller_request_and_are_given_back_for_it() -> None:
    program = Program("max_split_size_mb:64", limit=100 * MIB)
    held = program.allocate(80 * MIB)
    assert held is not None
    program.free(held)
    program.allocate(30 * MIB)
    requests = asked(program)
    assert EMPTY_CACHE not in kinds(requests)
    assert requests.room == (80 * MIB, 110 * MIB - 1)


def test_nothing_is_given_back_for_a_private_pool() -> None:
    program = Program()
    held = program.allocate(30 * MIB)
    assert held is not None
    program.free(held)
    program.empty_cache()
    program.allocate(100 * MIB, pool=GRAPH)
    assert asked(program).room is None


def test_a_stack_says_who_emptied_the_cache() -> None:
    program = Program()
    held = program.allocate(60 * MIB)
    assert held is not None
    program.free(held)
    program.empty_cache()
    program.allocate(80 * MIB)
    assert asked(program).room == (80 * MIB, 140 * MIB - 1)  # without one it cannot be told
    snapshot = program.snapshot()
    (place,) = snapshot.devices[0].trace.places(Action.SEGMENT_FREE)
    stacks = [(Frame("empty_cache", "torch/cuda/memory.py", 219), Frame("main", "train.py", 3))]
    snapshot.devices[0].trace.stacks[place] = 0
    requests = requests_of(snapshot.devices[0], snapshot.pools, snapshot.settings, stacks)
    assert kinds(requests) == [ALLOCATE, FREE, EMPTY_CACHE, ALLOCATE]
    assert requests.room is None


def test_a_mapping_that_fails_may_have_wanted_whole_pages() -> None:
    program = Program(EXPANDABLE, capacity=100 * MIB)
    program.allocate(65 * MIB)
    assert program.allocate(42 * MIB) is None
    assert asked(program).room == (80 * MIB, 140 * MIB - 1)


def test_a_failure_tells_the_room_and_is_asked_for() -> None:
    program = Program(limit=100 * MIB)
    program.allocate(60 * MIB)
    assert program.allocate(50 * MIB) is None
    requests = asked(program)
    assert requests.stream[-1] == (FAILED, 1, 50 * MIB, 0, (0, 0))
    assert requests.room == (60 * MIB, 110 * MIB - 1)
    assert (requests.failures, requests.allocations) == (1, 2)
    assert requests.peaks == (60 * MIB, 1)


def test_of_several_failures_the_least_that_was_refused_tells() -> None:
    program = Program(limit=100 * MIB)
    program.allocate(60 * MIB)
    for size in (80 * MIB, 42 * MIB, 60 * MIB):
        assert program.allocate(size) is None
    assert asked(program).room == (60 * MIB, 102 * MIB - 1)


def test_blocks_older_than_the_record_are_asked_for_first_the_largest_first() -> None:
    program = Program()
    small, large, kept = program.allocate(3 * MIB), program.allocate(50 * MIB), program.allocate(7 * MIB)
    assert small is not None
    assert large is not None
    assert kept is not None
    before = len(program.trace)
    program.free(large)
    program.free(small)
    requests = asked(program, ring=len(program.trace) - before)
    assert [request[:3] for request in requests.stream] == [
        (ALLOCATE, 0, 50 * MIB),
        (ALLOCATE, 1, 7 * MIB),
        (ALLOCATE, 2, 3 * MIB),
        (FREE, 0, 0),
        (FREE, 2, 0),
    ]
    assert requests.present_at_start == 60 * MIB
    assert requests.recorded_peak == 70 * MIB


def test_a_block_that_was_let_go_before_the_record_is_simply_freed() -> None:
    program = Program()
    block = program.allocate(5 * MIB)
    assert block is not None
    program.let_go(block)
    program.finish(block)
    assert kinds(asked(program, ring=1)) == [ALLOCATE, FREE]


def test_a_capture_into_a_new_private_pool_empties_the_cache_first() -> None:
    """torch.cuda.graph.__enter__; which pool an address is in is told by the segments of the end."""
    program = Program()
    program.allocate(5 * MIB)
    program.allocate(5 * MIB, pool=GRAPH)
    program.allocate(6 * MIB, pool=GRAPH)
    requests = asked(program)
    assert kinds(requests) == [ALLOCATE, EMPTY_CACHE, ALLOCATE, ALLOCATE]
    assert [request[4] for request in requests.stream] == [(0, 0), (0, 0), GRAPH, GRAPH]


def test_an_address_belongs_to_a_private_pool_only_since_its_segment_was_made() -> None:
    program = Program()
    block = program.allocate(50 * MIB)
    assert block is not None
    program.free(block)
    program.empty_cache()
    again = program.allocate(50 * MIB, pool=GRAPH)
    assert again is not None
    assert again.address == block.address
    assert [request[4] for request in asked(program).stream if request[0] == ALLOCATE] == [(0, 0), GRAPH]


POOLS = [(0, 0), GRAPH]


def test_events_that_name_their_pool_are_believed() -> None:
    """pool_id of torch 2.12; the segments of the end need not know it any more."""
    events = [(Action.FREE_COMPLETED, 9, 300), (Action.ALLOC, 1, 400), (Action.OOM, 0, 500)]
    requests = requests_of(device_of(*events, pools=[1, 1, 1]), POOLS)
    asked_for = [request for request in requests.stream if request[0] in (ALLOCATE, FAILED)]
    assert [request[4] for request in asked_for] == [GRAPH] * 3


def test_segments_of_a_private_pool_go_when_its_graphs_are_gone() -> None:
    events = [
        (Action.SEGMENT_ALLOC, 1 << 30, 20 * MIB),
        (Action.ALLOC, 1 << 30, 5 * MIB),
        (Action.FREE_COMPLETED, 1 << 30, 5 * MIB),
        (Action.SEGMENT_FREE, 1 << 30, 20 * MIB),
        (Action.SEGMENT_FREE, 1 << 31, 2 * MIB),
    ]
    requests = requests_of(device_of(*events, pools=[1] * 5), POOLS)
    assert kinds(requests) == [EMPTY_CACHE, ALLOCATE, FREE, RETIRED, EMPTY_CACHE]
    run = replay(requests.stream, Settings(), AddressSpace())
    assert run.segments == (20 * MIB, -20 * MIB)


def test_a_private_pool_that_serves_again_is_not_retired() -> None:
    """Under max_split_size its oversize segments can go while it lives."""
    events = [
        (Action.ALLOC, 1, 5 * MIB),
        (Action.SEGMENT_FREE, 1 << 30, 20 * MIB),
        (Action.ALLOC, 2, 5 * MIB),
    ]
    assert RETIRED not in kinds(requests_of(device_of(*events, pools=[1] * 3), POOLS))


def test_what_is_alive_at_most_leaves_out_what_was_not_got() -> None:
    stream = [
        (ALLOCATE, 0, 100, 0, (0, 0)),
        (ALLOCATE, 1, 50, 0, (0, 0)),
        (LET_GO, 0, 0, 0, (0, 0)),
        (ALLOCATE, 2, 90, 0, (0, 0)),
        (FREED, 0, 0, 0, (0, 0)),
    ]
    assert alive_at_most(stream) == (150, 2)
    assert alive_at_most(stream, [1]) == (100, 1)


def test_other_streams_can_be_done_sooner_or_later_and_nothing_else_moves() -> None:
    stream = [
        (ALLOCATE, 0, 100, 0, (0, 0)),
        (LET_GO, 0, 0, 0, (0, 0)),
        *((ALLOCATE, number, 1, 0, (0, 0)) for number in range(1, 5)),
        (FREED, 0, 0, 0, (0, 0)),
        *((ALLOCATE, number, 1, 0, (0, 0)) for number in range(5, 15)),
    ]
    places = {factor: with_frees_at(stream, factor).index((FREED, 0, 0, 0, (0, 0))) for factor in (0.0, 0.5, 1.0, 2.0)}
    assert places == {0.0: 2, 0.5: 4, 1.0: 6, 2.0: 10}
    for factor in places:
        rest = [request for request in with_frees_at(stream, factor) if request[0] != FREED]
        assert rest == [request for request in stream if request[0] != FREED]


# the same program again

SIZES = [200, 3000, 700_000, MIB, 1_300_000, 5 * MIB, 11 * MIB, 27 * MIB, 90 * MIB]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.sampled_from(SIZES), st.integers(0, 2)),
        st.tuples(st.sampled_from(["free", "let_go", "finish"]), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("empty_cache"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("settings", ["", EXPANDABLE, "max_split_size_mb:64", "roundup_power2_divisions:4"])
@given(steps=STEPS)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_recorded_program_is_replayed_as_it_was(settings: str, steps: list[tuple[str, int, int]]) -> None:
    program = Program(settings, capacity=8 * GIB)
    far_above_the_rest = [("allocate", 5 * MIB, 0), ("allocate", 7 * GIB, 0), ("free", 1, 0), ("empty_cache", 0, 0)]
    for _ in stepwise(program, [*far_above_the_rest, ("allocate", 5 * MIB, 0), *steps]):
        pass
    requests = asked(program)
    run = fidelity(program.snapshot().devices[0], requests, parse_settings(settings))
    assert list(run.run.segments) == requests.recorded_segments
    assert run.run.reserved_peak == requests.recorded_peak
    assert run.share == 1
    assert set(run.reasons) <= {"the file holds no allocation events"}


# traces that no program left

ADDRESSES = st.sampled_from([0, 1, 512, 1 << 20, 5 << 20, 1 << 47, (1 << 64) - 1])
BYTES = st.sampled_from([-(1 << 63), -1, 0, 1, 512, MIB, 20 * MIB, 90 * MIB, 1 << 43, (1 << 63) - 1])
EVENTS = st.lists(st.tuples(st.integers(0, 9), ADDRESSES, BYTES, st.integers(0, 1), st.integers(0, 1)), max_size=60)
BLOCKS = st.lists(
    st.builds(
        SnapshotBlock, ADDRESSES, BYTES, BYTES, st.sampled_from(["allocated", "pending_free", "free"]), st.just(-1)
    ),
    max_size=4,
).map(tuple)
SEGMENTS = st.lists(
    st.builds(
        Segment, ADDRESSES, BYTES, st.integers(0, 1), st.booleans(), st.booleans(), st.sampled_from(POOLS), BLOCKS
    ),
    max_size=4,
).map(tuple)


@pytest.mark.parametrize("text", ["", EXPANDABLE, "max_split_size_mb:20", "garbage_collection_threshold:0.1"])
@given(events=EVENTS, segments=SEGMENTS, has_pools=st.booleans(), stop=st.booleans())
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_damaged_trace_is_replayed_as_far_as_it_makes_sense(
    text: str, events: list[tuple], segments: tuple[Segment, ...], has_pools: bool, stop: bool
) -> None:
    trace = Trace()
    for action, address, size, stream, _ in events:
        trace.actions.append(action)
        trace.addresses.append(address)
        trace.sizes.append(size)
        trace.streams.append(stream)
    trace.pools = array("i", [pool for *_, pool in events]) if has_pools else None
    device = Device(0, segments, trace)
    settings = parse_settings(text)
    requests = requests_of(device, POOLS, settings)
    held = fidelity(device, requests, settings)
    assert 0 <= held.share <= 1
    for limit in (None, GIB):
        outcome = what_if(requests, settings, limit=limit, stop=stop)
        assert outcome.reserved_low <= outcome.run.reserved_peak <= outcome.reserved_high
        assert bool(outcome.doubt) is not outcome.certain


def test_an_empty_snapshot_asks_for_nothing() -> None:
    device = Device(0, (), Trace())
    requests = requests_of(device, POOLS)
    assert requests.stream == []
    assert fidelity(device, requests, Settings()).reasons == ("the file holds no allocation events",)
    assert Snapshot((device,), 1, [], [], Settings(), "", "").devices[0].reserved == 0
