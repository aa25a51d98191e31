"""Which settings are replayed as often as chance can turn the outcome, where that would take long."""

from __future__ import annotations

import made_snapshots
from allocator_programs import MIB

from gpudoctor.allocator.explanation import WhatIf
from gpudoctor.allocator.requests import requests_of
from gpudoctor.allocator.settings import UNLIMITED, parse_settings
from gpudoctor.allocator.what_if import ENOUGH, ONCE, Limit, Replays, limits_of

TEXTS = (
    "max_split_size_mb:20",
    "roundup_power2_divisions:2",
    "expandable_segments:True",
    "roundup_power2_divisions:4",
    "default",
)
NAMED = [(text, parse_settings(text)) for text in TEXTS]


def replays(room: int = 1100 * MIB) -> Replays:
    snapshot = made_snapshots.in_pieces()
    requests = requests_of(snapshot.devices[0], snapshot.pools, snapshot.settings, snapshot.stacks)
    return Replays(requests, (Limit(capacity=room),), cap=None, stop=True)


def sure(tried: list[WhatIf]) -> list[str]:
    return [each.settings for each in tried if each.outcome.doubt != ONCE]


def test_beyond_enough_the_recorded_settings_and_the_best_that_fits_are_made_sure_of() -> None:
    tried = replays().foremost_sure(NAMED, enough=-1)
    assert [each.settings for each in tried] == list(TEXTS)
    fitting = [each.settings for each in tried if each.outcome.fits]
    assert "expandable_segments:True" in fitting
    assert sure(tried) == ["expandable_segments:True", "default"]
    assert [each.outcome.certain for each in tried if each.settings in sure(tried)] == [True, True]


def test_before_enough_all_are_made_sure_of() -> None:
    tried = replays().foremost_sure(NAMED, enough=ENOUGH)
    assert tried == replays().all_sure(NAMED)
    assert sure(tried) == list(TEXTS)


def test_far_from_the_limit_one_replay_is_certain() -> None:
    tried = replays(100 * 1100 * MIB).foremost_sure(NAMED, enough=-1)
    assert all(each.outcome.certain and each.outcome.fits for each in tried)


def test_what_was_replayed_once_tells_what_the_program_held_too() -> None:
    once = replays().once(parse_settings("expandable_segments:True"))
    assert once.run.requested_peak == replays().sure(parse_settings("expandable_segments:True")).run.requested_peak > 0


def test_a_limit_is_of_the_device_or_of_a_memory_fraction() -> None:
    assert limits_of(None, is_capped=False) == (Limit(capacity=UNLIMITED),)
    assert limits_of((5, 7), is_capped=True) == (Limit(fraction=5), Limit(fraction=7))
    assert [limit.bytes for limit in limits_of((5, 5), is_capped=False)] == [5]
