"""Which torch wrote a snapshot, as far as its keys tell; the file does not say it.

What came with which pull request of https://github.com/pytorch/pytorch, and so with which release: blocks' history
82146 (1.13), device_traces 86241 (2.0), segments' frames 106113 (2.1), time_us 112266 (2.2), allocator_settings 119404
(2.3), external_annotations 130964 (2.5), compile_context 152707 (2.8), user_metadata 165490 (2.10), pool_id of events
177717 (2.12), host_segments 182407 and annotate events 190575 (2.14), internal_metadata 193432.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec


class Keys(msgspec.Struct, frozen=True):
    top: Set[str]  # empty: the file is the list of segments
    segments: Set[str]
    blocks: Set[str]
    events: Set[str]


def torch_era(keys: Keys) -> str:
    if keys.events:
        return _era_of_events(keys)
    if keys.top & {"host_segments", "host_traces"}:
        return "2.14 or newer"
    if "external_annotations" in keys.top:
        return "2.5 or newer"
    if "allocator_settings" in keys.top:
        return "2.3 or 2.4"
    if "is_expandable" in keys.segments:
        return "2.1 or 2.2" if keys.top else "2.1 or newer"
    return _oldest(keys)


def _era_of_events(keys: Keys) -> str:
    if "internal_metadata" in keys.events or keys.top & {"host_segments", "host_traces"}:
        return "2.14 or newer"
    for key, era in (
        ("pool_id", "2.12 or newer"),
        ("user_metadata", "2.10 or 2.11"),
        ("compile_context", "2.8 or 2.9"),
    ):
        if key in keys.events:
            return era
    if "external_annotations" in keys.top:
        return "2.5 to 2.7"
    if "allocator_settings" in keys.top:
        return "2.3 or 2.4"
    if "time_us" in keys.events:
        return "2.2"
    return "2.1" if "is_expandable" in keys.segments else _oldest(keys)


def _oldest(keys: Keys) -> str:
    if "requested_size" in keys.segments or "requested_size" in keys.blocks or "device_traces" in keys.top:
        return "2.0"
    if "history" in keys.blocks:
        return "1.13"
    return "1.13 or older" if keys.segments else ""
