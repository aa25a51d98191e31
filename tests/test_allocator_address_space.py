"""Where segments lie: no two in the same place, and what was given back can be taken again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.allocator.address_space import ALIGNMENT, MIB, OTHER_HOLES, TOP, AddressSpace, RecordedSpace, Space

HOLES = ((2, 14), *OTHER_HOLES)
SIZES = st.sampled_from([2, 20, 12, 30, 32, 34, 64, 66, 300]).map(lambda mib: mib * MIB)
MOVES = st.lists(st.one_of(SIZES, st.integers(-40, -1)), max_size=80)  # negative: give one back


def _moved(space: Space, moves: list[int]) -> dict[int, int]:
    """What is held in the end, by address. Fails where two overlap."""
    held: dict[int, int] = {}
    for move in moves:
        if move > 0:
            address = space.take(move)
            assert all(address + move <= other or other + size <= address for other, size in held.items())
            held[address] = move
        elif held:
            address = list(held)[-move % len(held)]
            space.give(address, held.pop(address))
    return held


@pytest.mark.parametrize("holes", HOLES)
@given(moves=MOVES)
def test_segments_never_overlap_and_all_that_is_given_back_can_be_taken_again(
    holes: tuple[int, ...], moves: list[int]
) -> None:
    space = AddressSpace(holes)
    held = _moved(space, moves)
    assert all(address > 0 and address + size <= TOP and address % (2 * MIB) == 0 for address, size in held.items())
    for address, size in held.items():
        space.give(address, size)
    fresh = AddressSpace(holes)
    sizes = [40 * MIB, 2 * MIB, 20 * MIB, 300 * MIB, 12 * MIB, 2 * MIB]
    assert [space.take(size) for size in sizes] == [fresh.take(size) for size in sizes]


@given(recorded=st.lists(st.tuples(st.integers(0, 30), SIZES), max_size=20), moves=MOVES)
def test_recorded_addresses_never_overlap_even_where_the_record_does(
    recorded: list[tuple[int, int]], moves: list[int]
) -> None:
    _moved(RecordedSpace([(place * 20 * MIB, size) for place, size in recorded]), moves)


def test_ranges_come_from_the_top_down_and_holes_are_used_from_the_lowest() -> None:
    space = AddressSpace(())
    first = space.take(20 * MIB)
    assert first == TOP - ALIGNMENT
    second = space.take(20 * MIB)  # 12 MiB are left in the first range: too little
    assert second == first - ALIGNMENT
    assert space.take(12 * MIB) == second + 20 * MIB
    assert space.take(2 * MIB) == first + 20 * MIB


def test_ranges_go_back_and_are_taken_again_where_the_driver_has_room_to_align() -> None:
    space = AddressSpace(())
    first, second, third = (space.take(64 * MIB) for _ in range(3))
    space.give(first, 64 * MIB)
    assert space.take(64 * MIB) < third  # it asks for nearly 32 MiB more than it keeps
    space.give(second, 64 * MIB)
    assert space.take(64 * MIB) == first


def test_below_the_last_range_there_is_room_again_once_it_is_given_back() -> None:
    space = AddressSpace(())
    first, second = space.take(64 * MIB), space.take(64 * MIB)
    space.give(first, 64 * MIB)
    space.give(second, 64 * MIB)
    assert space.take(128 * MIB) == second


def test_what_the_context_left_free_serves_small_segments() -> None:
    space = AddressSpace((2, 14))
    inside = [space.take(2 * MIB) for _ in range(8)]
    assert min(inside) >= TOP - 2 * ALIGNMENT
    assert space.take(2 * MIB) < TOP - 2 * ALIGNMENT


def test_recorded_addresses_are_given_in_their_order() -> None:
    space = RecordedSpace([(100 * MIB, 20 * MIB), (50 * MIB, 2 * MIB)])
    assert space.take(20 * MIB) == 100 * MIB
    assert space.take(2 * MIB) == 50 * MIB
    assert space.take(2 * MIB) >= TOP


def test_the_record_is_left_for_good_where_another_size_is_asked_for() -> None:
    space = RecordedSpace([(100 * MIB, 20 * MIB), (50 * MIB, 2 * MIB)])
    assert space.take(2 * MIB) >= TOP
    assert space.take(2 * MIB) >= TOP


def test_a_recorded_address_that_is_still_held_is_not_given_twice() -> None:
    space = RecordedSpace([(100 * MIB, 20 * MIB), (110 * MIB, 2 * MIB)])
    space.take(20 * MIB)
    assert space.take(2 * MIB) >= TOP
