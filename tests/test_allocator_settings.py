"""PYTORCH_ALLOC_CONF as c10/core/AllocatorConfig.cpp reads it: parseArgs and what it calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.allocator.engine import round_size
from gpudoctor.allocator.settings import MIB, UNLIMITED, InvalidSettings, Settings, parse_settings


@pytest.mark.parametrize("text", ["", "  ", "default"])
def test_nothing_set_is_the_default(text: str) -> None:
    assert parse_settings(text) == Settings()
    assert parse_settings(text).max_split_size == UNLIMITED
    assert parse_settings(text).max_non_split_rounding == 20 * MIB


def test_several_are_set_at_once_with_spaces_and_a_comma_at_the_end() -> None:
    settings = parse_settings(
        "expandable_segments:True, max_split_size_mb : 128,garbage_collection_threshold:0.8,"
        "max_non_split_rounding_mb:32,per_process_memory_fraction:0.5,backend:native,"
    )
    assert settings.expandable_segments
    assert settings.max_split_size == 128 * MIB
    assert settings.garbage_collection_threshold == 0.8
    assert settings.max_non_split_rounding == 32 * MIB
    assert settings.memory_fraction == 0.5


def test_the_last_of_two_holds() -> None:
    assert not parse_settings("expandable_segments:True,expandable_segments:False").expandable_segments


def test_what_places_nothing_on_the_device_is_accepted() -> None:
    assert parse_settings("pinned_use_cuda_host_register:True,release_lock_on_cudamalloc:True") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expandable_segments", "NAME:VALUE"),
        ("expandable_segments:true", "True or False"),
        ("expandable_segment:True", "no allocator setting"),
        ("max_split_size_mb:19", "at least 20"),
        ("max_split_size_mb:64.5", "whole number"),
        ("max_split_size_mb:-1", "whole number"),
        ("max_split_size_mb:", "whole number"),
        ("max_non_split_rounding_mb:19", "at least 20"),
        ("large_segment_size_mb:10", "at least 11"),
        ("large_segment_size_mb:64,max_split_size_mb:32", "at least 64"),
        ("max_non_split_rounding_mb:32,large_segment_size_mb:64", "at least 64"),
        ("garbage_collection_threshold:0", "above 0"),
        ("garbage_collection_threshold:1", "below 1"),
        ("garbage_collection_threshold:nan", "above 0"),
        ("per_process_memory_fraction:1.5", "up to 1"),
        ("backend:other", "native or cudaMallocAsync"),
        ("roundup_power2_divisions:3", "powers of two"),
        ("roundup_power2_divisions:[256]", "SIZE:DIVISIONS"),
        ("roundup_power2_divisions:[300:4]", "powers of two"),
        ("roundup_power2_divisions:[256:3]", "powers of two"),
        ("roundup_power2_divisions:[256:4", "NAME:VALUE"),
        (",", "NAME:VALUE"),
    ],
)
def test_what_pytorch_refuses_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        parse_settings(text)


def test_the_size_of_large_segments_is_the_rounding_that_is_allowed_too() -> None:
    settings = parse_settings("large_segment_size_mb:64")
    assert settings.large_segment_size == settings.max_non_split_rounding == 64 * MIB
    assert parse_settings("large_segment_size_mb:11").large_segment_size == 11 * MIB
    assert parse_settings("max_split_size_mb:64,large_segment_size_mb:64").max_split_size == 64 * MIB


def test_one_number_of_divisions_holds_for_all_sizes() -> None:
    assert parse_settings("roundup_power2_divisions:4").roundup_divisions == (4,) * 16


def test_divisions_by_size_fill_below_the_first_and_above_the_last() -> None:
    slots = parse_settings("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]").roundup_divisions
    assert slots[:8] == (1,) * 8
    assert slots[8:11] == (1, 2, 4)  # 256 MiB, 512 MiB, 1 GiB
    assert slots[11:] == (8,) * 5


def test_divisions_leave_what_they_do_not_name() -> None:
    slots = parse_settings("roundup_power2_divisions:[4:2,64:8]").roundup_divisions
    assert slots == (2, 2, 2, 0, 0, 0, 8) + (0,) * 9
    assert parse_settings("roundup_power2_divisions:[>:8]").roundup_divisions == (0,) + (8,) * 15


def test_a_size_beyond_the_slots_means_the_last_one() -> None:
    slots = parse_settings("roundup_power2_divisions:[1:0,1048576:4]").roundup_divisions
    assert slots == (0,) * 15 + (4,)


@pytest.mark.parametrize(
    ("size", "divisions", "rounded"),
    [
        (0, 0, 512),
        (1, 0, 512),
        (512, 0, 512),
        (513, 0, 1024),
        (MIB + 1, 0, MIB + 512),
        (1200, 4, 1536),  # not above 512 times the divisions: as without
        (4097, 4, 5120),
        (5 * MIB, 4, 5 * MIB),
        (5 * MIB + 1, 4, 6 * MIB),
        (8 * MIB, 4, 8 * MIB),  # a power of two stays
        (8 * MIB - 1, 2, 8 * MIB),
        (5 * MIB + 1, 1, 5 * MIB + 512),
    ],
)
def test_sizes_are_rounded(size: int, divisions: int, rounded: int) -> None:
    """round_size, roundup_power2_next_division."""
    assert round_size(size, (divisions,) * 16) == rounded


def test_divisions_are_those_of_the_size() -> None:
    slots = parse_settings("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]").roundup_divisions
    assert round_size(300 * MIB, slots) == 300 * MIB
    assert round_size(520 * MIB, slots) == 768 * MIB
    assert round_size(1100 * MIB, slots) == 1280 * MIB
    assert round_size(2100 * MIB, slots) == 2304 * MIB
    assert round_size(65 << 30, slots) == 72 << 30  # beyond the last slot


@given(st.integers(0, 1 << 45), st.sampled_from([0, 1, 2, 4, 8, 64]))
def test_rounding_never_takes_away_and_is_stable(size: int, divisions: int) -> None:
    rounded = round_size(size, (divisions,) * 16)
    assert rounded >= size
    assert rounded % 512 == 0
    assert round_size(rounded, (divisions,) * 16) == rounded
    assert rounded < 2 * max(size, 512)


@given(st.text("expandable_segments:True,[]>1248. ", max_size=60))
def test_any_text_is_settings_or_refused(text: str) -> None:
    try:
        settings = parse_settings(text)
    except InvalidSettings:
        return
    assert isinstance(settings, Settings)
