"""Which other settings are worth a replay, and which of those that fit is the one to take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpudoctor.allocator.explanation import WhatIf
from gpudoctor.allocator.settings import InvalidSettings, Settings, parse_settings

DEFAULT = "default"
EXPANDABLE = "expandable_segments:True"
SLOTS = "roundup_power2_divisions:[256:1,512:2,1024:4,>:8]"

_EXPANDABLE_SINCE = (2, 1)
_SLOTS_SINCE = (2, 0)
_NON_SPLIT_SINCE = (2, 6)
_LARGE_SEGMENT_SINCE = (2, 12)
_VERSION = re.compile(r"(\d+)\.(\d+)")
_REPLACED = {
    "backend",
    "expandable_segments",
    "garbage_collection_threshold",
    "large_segment_size_mb",
    "max_non_split_rounding_mb",
    "max_split_size_mb",
    "roundup_power2_divisions",
}
_PAIR = re.compile(r"(\w+):(?:\[[^\]]*\]|[^,\[\]]*)")


def versions(torch_era: str) -> tuple[tuple[int, int], ...]:
    """`2.5 to 2.7`: the oldest and the newest that it may be; empty where nothing tells."""
    return tuple((int(major), int(minor)) for major, minor in _VERSION.findall(torch_era))


def candidates(torch_era: str, *, limited: bool, everything: bool = False) -> tuple[str, ...]:
    """`limited`: a memory fraction is set, without which garbage_collection_threshold does nothing."""
    era = versions(torch_era)
    newest = era[-1] if era and "newer" not in torch_era else (99, 0)
    made = _all(newest, limited) if everything else _sensible(newest, limited)
    return tuple(dict.fromkeys(made))


def _sensible(newest: tuple[int, int], limited: bool) -> Iterator[str]:
    yield DEFAULT
    if newest >= _EXPANDABLE_SINCE:
        yield EXPANDABLE
    yield from (f"max_split_size_mb:{size}" for size in (64, 128, 256, 512))
    yield from (f"roundup_power2_divisions:{divisions}" for divisions in (4, 8))
    if newest >= _SLOTS_SINCE:
        yield SLOTS
    yield "max_split_size_mb:128,roundup_power2_divisions:8"
    if newest >= _EXPANDABLE_SINCE:
        yield f"{EXPANDABLE},roundup_power2_divisions:8"
    if limited:
        yield "garbage_collection_threshold:0.8"
        yield "max_split_size_mb:128,garbage_collection_threshold:0.8"


def _all(newest: tuple[int, int], limited: bool) -> Iterator[str]:
    yield from _sensible(newest, limited)
    yield from (f"max_split_size_mb:{size}" for size in (32, 1024, 2048))
    yield from (f"roundup_power2_divisions:{divisions}" for divisions in (2, 16))
    yield from (
        f"max_split_size_mb:{size},roundup_power2_divisions:{divisions}"
        for size in (64, 256, 512)
        for divisions in (4, 8)
    )
    if newest >= _NON_SPLIT_SINCE:
        yield from (f"max_split_size_mb:{size},max_non_split_rounding_mb:64" for size in (128, 512))
    if newest >= _LARGE_SEGMENT_SINCE:
        yield from (f"large_segment_size_mb:{size}" for size in (40, 64, 128))
    if newest >= _EXPANDABLE_SINCE:
        yield f"{EXPANDABLE},{SLOTS}"
    if limited:
        yield from (f"garbage_collection_threshold:{share}" for share in (0.6, 0.9))


def kept_settings(text: str) -> str:
    """What the recorded settings hold that decides nothing about blocks: it stays beside any candidate."""
    return ",".join(pair for pair in _pairs(text) if pair.partition(":")[0] not in _REPLACED and _is_known(pair))


def _pairs(text: str) -> list[str]:
    return [pair[0] for pair in _PAIR.finditer(text.replace(" ", ""))]


def _is_known(pair: str) -> bool:
    try:
        parse_settings(pair)
    except InvalidSettings:
        return False
    return True


def cheapest(what_if: Sequence[WhatIf], *, certain: bool = True) -> WhatIf | None:
    """Of those that fit, the one to take: it leaves the most room, and has few settings and driver calls."""
    fitting = [each for each in what_if if each.outcome.fits and (each.outcome.certain or not certain)]
    return min(fitting, key=price, default=None)


def price(each: WhatIf) -> tuple[int, int]:
    """Reserved peak, and a twentieth more for each setting: what leaves the most room serves the longest."""
    settings = 0 if each.parsed == Settings() else len(_pairs(each.settings))
    return each.outcome.run.reserved_peak * (20 + settings) // 20, each.outcome.run.device_allocs
