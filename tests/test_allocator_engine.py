"""The rules of DeviceCachingAllocator, c10/cuda/CUDACachingAllocator.cpp, one by one."""

from __future__ import annotations

import pytest

from gpudoctor.allocator.address_space import AddressSpace
from gpudoctor.allocator.engine import DEFAULT_POOL, Allocator, Block, OutOfMemory, segment_size
from gpudoctor.allocator.settings import MIB, UNLIMITED, parse_settings

KIB = 1024
EXPANDABLE = "expandable_segments:True"
GRAPH = (1, 0)  # a private pool


def made(settings: str = "", *, capacity: int = UNLIMITED, limit: int | None = None) -> Allocator:
    return Allocator(parse_settings(settings), AddressSpace(), capacity=capacity, limit=limit)


def got(allocator: Allocator, *sizes: int, stream: int = 0) -> list[Block]:
    return [allocator.allocate(size, stream) for size in sizes]


def freed(allocator: Allocator, *blocks: Block) -> None:
    for block in blocks:
        allocator.free(block)


def cached(allocator: Allocator, stream: int = 0, pool_id: object = DEFAULT_POOL) -> list[int]:
    """Bytes of the free blocks of a stream, the smallest first, small pool and large."""
    return sorted(size for pool in allocator.pools[pool_id] for size, _, _ in pool.free.get(stream, []))  # type: ignore[index]


# alloc_block, get_allocation_size: what a segment takes


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (21 * MIB, 22 * MIB),
    ],
)
def test_a_segment_is_2_or_20_mib_or_rounded_to_2(size: int, segment: int) -> None:
    allocator = made()
    got(allocator, size)
    assert allocator.made == [segment]
    assert segment_size(size, 20 * MIB) == segment


def test_large_segments_are_as_large_as_is_set() -> None:
    allocator = made("large_segment_size_mb:64")
    got(allocator, 5 * MIB, 9 * MIB, 50 * MIB, 10 * MIB)
    assert allocator.made == [64 * MIB, 10 * MIB]


def test_small_and_large_requests_never_share_a_segment() -> None:
    """get_pool"""
    allocator = made()
    freed(allocator, *got(allocator, 2 * MIB))
    got(allocator, MIB)
    assert allocator.made == [20 * MIB, 2 * MIB]


# should_split


def test_a_small_block_is_split_to_the_last_512_bytes() -> None:
    allocator = made()
    first, second = got(allocator, MIB, MIB - 512)
    assert (first.size, second.size) == (MIB, MIB - 512)
    assert cached(allocator) == [512]


def test_a_large_block_keeps_up_to_1_mib_more_than_was_asked_for() -> None:
    allocator = made()
    assert got(allocator, 19 * MIB)[0].size == 20 * MIB
    allocator = made()
    freed(allocator, *got(allocator, 40 * MIB))
    assert got(allocator, 39 * MIB)[0].size == 40 * MIB
    allocator = made()
    freed(allocator, *got(allocator, 40 * MIB))
    assert got(allocator, 39 * MIB - 512)[0].size == 39 * MIB - 512


def test_the_requested_part_is_the_lower_one() -> None:
    allocator = made()
    first, second = got(allocator, 5 * MIB, 5 * MIB)
    assert second.address == first.address + 5 * MIB


def test_an_expandable_block_is_split_to_the_last_512_bytes() -> None:
    allocator = made(EXPANDABLE)
    assert got(allocator, 19 * MIB)[0].size == 19 * MIB
    assert cached(allocator) == [MIB]


def test_a_request_of_max_split_size_is_never_split() -> None:
    allocator = made("max_split_size_mb:64")
    freed(allocator, *got(allocator, 80 * MIB))
    assert got(allocator, 64 * MIB)[0].size == 80 * MIB


# get_free_block


def test_the_smallest_that_is_enough_is_taken_and_of_two_the_lower() -> None:
    allocator = made()
    blocks = got(allocator, 60 * MIB, 40 * MIB, 30 * MIB, 40 * MIB)
    lower = min(blocks[1].address, blocks[3].address)
    freed(allocator, *blocks)
    assert got(allocator, 35 * MIB)[0].address == lower
    assert allocator.tied


def test_streams_never_mix() -> None:
    allocator = made()
    freed(allocator, *got(allocator, 40 * MIB, stream=1))
    got(allocator, 40 * MIB, stream=2)
    assert allocator.made == [40 * MIB] * 2
    assert cached(allocator, 1) == [40 * MIB]


def test_an_oversize_block_serves_no_small_request() -> None:
    allocator = made("max_split_size_mb:64")
    freed(allocator, *got(allocator, 64 * MIB))
    got(allocator, 30 * MIB)
    assert allocator.made == [64 * MIB, 30 * MIB]


def test_only_one_candidate_is_looked_at() -> None:
    """The best fit is refused for its size: the next one is not tried."""
    allocator = made("max_split_size_mb:64")
    freed(allocator, *got(allocator, 100 * MIB, 300 * MIB))
    got(allocator, 70 * MIB)
    assert allocator.made == [100 * MIB, 300 * MIB, 70 * MIB]


@pytest.mark.parametrize(("rounding", "taken"), [("", False), (",max_non_split_rounding_mb:41", True)])
def test_an_oversize_request_takes_a_block_that_is_little_larger(rounding: str, taken: bool) -> None:
    allocator = made("max_split_size_mb:64" + rounding)
    freed(allocator, *got(allocator, 120 * MIB))
    assert (got(allocator, 80 * MIB)[0].size == 120 * MIB) is taken
    freed(allocator, *got(allocator, 140 * MIB))
    assert got(allocator, 120 * MIB + 512)[0].size == 140 * MIB


def test_of_expandable_blocks_the_one_that_can_grow_least_is_taken() -> None:
    """The end of the segment counts as large as all that can still be mapped."""
    allocator = made(EXPANDABLE)
    hole, pin, end = got(allocator, 60 * MIB, 20 * MIB, 40 * MIB)
    start = hole.address
    freed(allocator, hole, end)
    assert cached(allocator) == [40 * MIB, 60 * MIB]
    assert got(allocator, 30 * MIB)[0].address == start
    assert pin.allocated


# free, free_block, try_merge_blocks


def test_a_freed_block_joins_both_neighbours() -> None:
    allocator = made()
    low, middle, high = got(allocator, 5 * MIB, 5 * MIB, 5 * MIB)
    freed(allocator, low, high)
    assert cached(allocator) == [5 * MIB, 10 * MIB]
    freed(allocator, middle)
    assert cached(allocator) == [20 * MIB]
    assert allocator.allocated == 0


def test_a_block_that_another_stream_uses_is_neither_used_nor_merged_until_it_is_done() -> None:
    allocator = made()
    low, high = got(allocator, 10 * MIB - 512, 10 * MIB - 512)
    start = low.address
    allocator.request_free(low)
    assert allocator.allocated == high.size
    freed(allocator, high)
    assert got(allocator, 9 * MIB)[0].address != start
    allocator.complete_free(low)
    assert got(allocator, 10 * MIB - 512)[0].address == start


def test_the_end_of_a_use_is_told_once() -> None:
    allocator = made()
    (block,) = got(allocator, 5 * MIB)
    allocator.request_free(block)
    allocator.complete_free(block)
    allocator.complete_free(block)
    assert cached(allocator) == [20 * MIB]


# emptyCache, release_cached_blocks


def test_emptying_the_cache_gives_back_whole_segments_of_all_streams() -> None:
    allocator = made()
    pin, *others = got(allocator, 5 * MIB, 5 * MIB, 700 * KIB)
    far = got(allocator, 30 * MIB, stream=7)
    freed(allocator, *others, *far)
    allocator.empty_cache()
    assert allocator.made == [20 * MIB, 2 * MIB, 30 * MIB, -30 * MIB, -2 * MIB]  # the large pool first
    assert allocator.reserved == 20 * MIB
    assert pin.allocated


def test_emptying_the_cache_waits_for_other_streams() -> None:
    allocator = made()
    (block,) = got(allocator, 40 * MIB)
    allocator.request_free(block)
    allocator.empty_cache()
    assert allocator.reserved == 0


def test_a_private_pool_keeps_its_segments_until_nobody_uses_it() -> None:
    allocator = made()
    freed(allocator, *(allocator.allocate(size, 0, GRAPH) for size in (40 * MIB, 300)))
    allocator.empty_cache()
    assert allocator.reserved == 42 * MIB
    got(allocator, 40 * MIB)
    assert cached(allocator, pool_id=GRAPH) == [2 * MIB, 40 * MIB]
    allocator.freeable.add(GRAPH)
    allocator.empty_cache()
    assert allocator.made[-2:] == [-2 * MIB, -40 * MIB]  # of a private pool the small one first


# malloc: what is tried where the device has no more


def test_a_free_block_is_taken_before_anything_is_given_back() -> None:
    allocator = made(capacity=60 * MIB)
    freed(allocator, *got(allocator, 40 * MIB, 20 * MIB))
    got(allocator, 40 * MIB)
    assert allocator.made == [40 * MIB, 20 * MIB]
    assert allocator.retries == 0


def test_where_the_device_is_full_all_that_is_cached_is_given_back() -> None:
    allocator = made(capacity=100 * MIB)
    freed(allocator, *got(allocator, 40 * MIB, 50 * MIB))
    got(allocator, 60 * MIB)
    assert allocator.made == [40 * MIB, 50 * MIB, -40 * MIB, -50 * MIB, 60 * MIB]
    assert (allocator.retries, allocator.device_allocs, allocator.device_frees) == (1, 3, 2)


def test_other_streams_are_waited_for_where_the_device_is_full() -> None:
    allocator = made(capacity=100 * MIB)
    (block,) = got(allocator, 60 * MIB)
    allocator.request_free(block)
    got(allocator, 90 * MIB, stream=3)
    assert allocator.reserved == 90 * MIB


def test_it_fails_when_nothing_is_left_to_try() -> None:
    allocator = made(capacity=100 * MIB)
    got(allocator, 60 * MIB)
    with pytest.raises(OutOfMemory):
        allocator.allocate(50 * MIB, 0)
    assert (allocator.retries, allocator.reserved, allocator.allocated) == (1, 60 * MIB, 60 * MIB)


def test_a_split_segment_cannot_be_given_back() -> None:
    allocator = made(capacity=100 * MIB)
    blocks = got(allocator, 5 * MIB, 5 * MIB, 80 * MIB)
    freed(allocator, blocks[0], blocks[2])
    with pytest.raises(OutOfMemory):
        allocator.allocate(90 * MIB, 0)
    assert allocator.reserved == 20 * MIB


def test_oversize_blocks_go_first_and_only_the_smallest_that_is_enough() -> None:
    """release_available_cached_blocks; it is no retry."""
    allocator = made("max_split_size_mb:64", capacity=500 * MIB)
    freed(allocator, *got(allocator, 100 * MIB, 150 * MIB, 200 * MIB, 30 * MIB))
    got(allocator, 120 * MIB + 512)  # 150 MiB would leave more than max_non_split_rounding
    assert allocator.made[4:] == [-150 * MIB, 122 * MIB]
    assert allocator.retries == 0


def test_where_no_single_oversize_block_is_enough_the_largest_go() -> None:
    allocator = made("max_split_size_mb:64", capacity=300 * MIB)
    freed(allocator, *got(allocator, 70 * MIB, 80 * MIB, 100 * MIB, 30 * MIB))
    got(allocator, 150 * MIB)
    assert allocator.made[4:] == [-100 * MIB, -80 * MIB, 150 * MIB]
    assert allocator.retries == 0


def test_oversize_blocks_that_are_not_enough_go_and_the_rest_follows() -> None:
    allocator = made("max_split_size_mb:64", capacity=300 * MIB)
    freed(allocator, *got(allocator, 70 * MIB, 80 * MIB, 30 * MIB))
    got(allocator, 290 * MIB)
    assert allocator.made[3:] == [-80 * MIB, -70 * MIB, -30 * MIB, 290 * MIB]
    assert allocator.retries == 1


def test_oversize_blocks_of_other_streams_stay() -> None:
    allocator = made("max_split_size_mb:64", capacity=300 * MIB)
    freed(allocator, *got(allocator, 100 * MIB), *got(allocator, 150 * MIB, stream=1))
    got(allocator, 200 * MIB)
    assert allocator.made[2:] == [-100 * MIB, -150 * MIB, 200 * MIB]
    assert allocator.retries == 1


def test_a_private_pool_waits_for_nobody_and_frees_nothing() -> None:
    """While a graph is being captured there is no synchronisation."""
    allocator = made(capacity=100 * MIB)
    freed(allocator, *got(allocator, 60 * MIB))
    with pytest.raises(OutOfMemory):
        allocator.allocate(50 * MIB, 0, GRAPH)
    assert (allocator.retries, allocator.reserved) == (0, 60 * MIB)


@pytest.mark.parametrize("settings", ["", EXPANDABLE])
def test_the_limit_may_be_reached_and_not_passed(settings: str) -> None:
    allocator = made(settings, limit=60 * MIB)
    got(allocator, 40 * MIB, 20 * MIB)
    assert allocator.reserved == 60 * MIB
    with pytest.raises(OutOfMemory):
        allocator.allocate(300, 0)


def test_pages_may_pass_the_limit_by_less_than_one() -> None:
    allocator = made(EXPANDABLE, limit=70 * MIB)
    got(allocator, 66 * MIB)
    assert allocator.reserved == 80 * MIB


# garbage_collect_cached_blocks


def test_old_segments_are_collected_above_the_threshold() -> None:
    allocator = made("garbage_collection_threshold:0.5", limit=400 * MIB)
    freed(allocator, *got(allocator, 100 * MIB))
    for _ in range(9):
        freed(allocator, *got(allocator, 200 * MIB))
    got(allocator, 90 * MIB)  # served by the old one
    freed(allocator, *got(allocator, 90 * MIB))
    assert allocator.device_frees == 0
    got(allocator, 250 * MIB)  # needs a new segment
    assert -200 * MIB in allocator.made or -100 * MIB in allocator.made


def test_the_older_half_goes_and_the_younger_stays() -> None:
    allocator = made("garbage_collection_threshold:0.25", limit=400 * MIB)
    old, young, pin = got(allocator, 60 * MIB, 50 * MIB, 5 * MIB)
    freed(allocator, old)
    for _ in range(10):
        freed(allocator, *got(allocator, 6 * MIB))
    freed(allocator, young)
    got(allocator, 80 * MIB)
    assert allocator.made == [60 * MIB, 50 * MIB, 20 * MIB, -60 * MIB, 80 * MIB]
    assert pin.allocated
    assert allocator.retries == 0


def test_passes_go_on_until_the_threshold_is_met() -> None:
    allocator = made("garbage_collection_threshold:0.1", limit=400 * MIB)
    old, young, _ = got(allocator, 60 * MIB, 50 * MIB, 5 * MIB)
    freed(allocator, old)
    for _ in range(10):
        freed(allocator, *got(allocator, 6 * MIB))
    freed(allocator, young)
    got(allocator, 80 * MIB)
    assert allocator.made[3:] == [-60 * MIB, -50 * MIB, 80 * MIB]


@pytest.mark.parametrize("settings", ["garbage_collection_threshold:0.1", ""])
def test_nothing_is_collected_without_a_limit_and_a_threshold(settings: str) -> None:
    allocator = made(settings, limit=None if settings else 400 * MIB)
    freed(allocator, *got(allocator, 300 * MIB))
    got(allocator, 60 * MIB, stream=1)
    assert allocator.device_frees == 0


def test_small_segments_and_split_ones_are_not_collected() -> None:
    allocator = made("garbage_collection_threshold:0.01", limit=400 * MIB)
    _, large = got(allocator, 5 * MIB, 5 * MIB)
    freed(allocator, large, *got(allocator, 300))
    got(allocator, 60 * MIB)
    assert allocator.device_frees == 0


# expandable segments: try_allocate_expandable_block, map_block, unmap_block


def test_pages_of_2_and_20_mib_are_mapped() -> None:
    allocator = made(EXPANDABLE)
    got(allocator, 300, 5 * MIB, 30 * MIB)
    assert allocator.made == [2 * MIB, 20 * MIB, 20 * MIB]  # 15 MiB of the first page were left
    assert (allocator.segments, allocator.device_allocs) == (0, 3)


def test_pages_are_as_large_as_large_segments() -> None:
    allocator = made(EXPANDABLE + ",large_segment_size_mb:64")
    got(allocator, 5 * MIB, 70 * MIB)
    assert allocator.made == [64 * MIB, 64 * MIB]


def test_a_segment_grows_out_of_the_free_block_at_its_end() -> None:
    allocator = made(EXPANDABLE)
    first, last = got(allocator, 20 * MIB, 20 * MIB)
    freed(allocator, last)
    assert got(allocator, 50 * MIB)[0].address == last.address
    assert allocator.reserved == 80 * MIB
    assert first.allocated


def test_only_whole_pages_in_a_free_block_are_unmapped() -> None:
    allocator = made(EXPANDABLE)
    low, hole, high = got(allocator, 30 * MIB, 60 * MIB, 10 * MIB)
    freed(allocator, hole)
    allocator.empty_cache()
    assert allocator.made[-1] == -40 * MIB  # from 40 to 80 MiB of 30 to 90
    assert cached(allocator) == [10 * MIB, 10 * MIB]
    assert (allocator.reserved, allocator.device_frees) == (60 * MIB, 1)
    freed(allocator, low, high)
    allocator.empty_cache()
    assert allocator.reserved == 0


def test_a_hole_that_was_unmapped_is_mapped_again_and_joins_what_is_free_before_it() -> None:
    allocator = made(EXPANDABLE)
    _, hole, high = got(allocator, 30 * MIB, 60 * MIB, 10 * MIB)
    start = hole.address
    freed(allocator, hole)
    allocator.empty_cache()
    assert got(allocator, 60 * MIB)[0].address == start
    assert allocator.reserved == 100 * MIB
    assert high.allocated


def test_a_block_less_than_a_page_is_never_unmapped() -> None:
    allocator = made(EXPANDABLE)
    _, block = got(allocator, 5 * MIB, 15 * MIB)
    freed(allocator, block)
    allocator.empty_cache()
    assert allocator.reserved == 20 * MIB


def test_each_stream_and_each_private_pool_has_an_expandable_segment_of_its_own() -> None:
    allocator = made(EXPANDABLE)
    blocks = [*got(allocator, 5 * MIB), *got(allocator, 5 * MIB, stream=1), allocator.allocate(5 * MIB, 0, GRAPH)]
    assert allocator.made == [20 * MIB] * 3
    assert len({block.address >> 42 for block in blocks}) == 3


def test_what_was_mapped_before_a_failure_is_cached_and_goes_with_the_rest() -> None:
    """It needs a hole and the end: the hole is mapped, the end is not to be had."""
    allocator = made(EXPANDABLE, capacity=100 * MIB)
    _, hole, middle, end = got(allocator, *[20 * MIB] * 4)
    freed(allocator, hole)
    allocator.empty_cache()
    freed(allocator, middle, end)
    with pytest.raises(OutOfMemory):
        allocator.allocate(90 * MIB, 0)
    assert allocator.made[5:] == [20 * MIB, -60 * MIB]
    assert allocator.reserved == 20 * MIB


def test_where_nothing_is_given_back_it_stays_cached() -> None:
    allocator = made(EXPANDABLE, capacity=100 * MIB)
    _, hole, end = (allocator.allocate(20 * MIB, 0, GRAPH) for _ in range(3))
    freed(allocator, hole)
    allocator.freeable.add(GRAPH)
    allocator.empty_cache()
    freed(allocator, end)
    with pytest.raises(OutOfMemory):
        allocator.allocate(90 * MIB, 0, GRAPH)
    assert allocator.made[4:] == [20 * MIB]
    assert cached(allocator, pool_id=GRAPH) == [40 * MIB]


def test_more_than_the_largest_device_is_refused_before_it_is_mapped() -> None:
    allocator = made(EXPANDABLE)
    with pytest.raises(OutOfMemory):
        allocator.allocate(1 << 43, 0)
    assert allocator.reserved == 0
