"""PYTORCH_ALLOC_CONF: what its text sets, in bytes and as the allocator takes it.

c10/core/AllocatorConfig.cpp, c10/cuda/CUDAAllocatorConfig.cpp of PyTorch.
"""

from __future__ import annotations

import re

import msgspec

MIB = 1 << 20
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
LEAST_LARGE_SEGMENT = 11 * MIB
SLOTS = 16  # of roundup_power2_divisions: 1 MiB, 2 MiB, ... 32 GiB and more
UNLIMITED = 1 << 62

_IGNORED = {  # about host memory, locks or graphs: they place nothing on the device
    "release_lock_on_cudamalloc",
    "release_lock_on_hipmalloc",
    "pinned_use_cuda_host_register",
    "pinned_use_hip_host_register",
    "pinned_num_register_threads",
    "pinned_use_background_threads",
    "pinned_reserve_segment_size_mb",
    "pinned_max_round_threshold_mb",
    "pinned_max_cached_size_mb",
    "pinned_free_catch_all",
    "graph_capture_record_stream_reuse",
    "throw_on_cudamalloc_oom",
    "expandable_segments_reserve",
    "expandable_segments_reserve_by_class",
}
_PAIR = re.compile(r"\s*([A-Za-z_0-9]+)\s*:\s*(\[[^\]]*\]|[^,\[\]]*?)\s*(?:,|$)")


class InvalidSettings(ValueError):
    """The text is no allocator configuration. The message is one sentence."""


class Settings(msgspec.Struct, frozen=True):
    expandable_segments: bool = False
    max_split_size: int = UNLIMITED  # bytes
    max_non_split_rounding: int = LARGE_SEGMENT
    large_segment_size: int = LARGE_SEGMENT
    garbage_collection_threshold: float = 0.0
    roundup_divisions: tuple[int, ...] = (0,) * SLOTS
    memory_fraction: float = 1.0
    backend: str = "native"


def parse_settings(text: str) -> Settings:
    """`expandable_segments:True,max_split_size_mb:128`; empty or `default` sets nothing. Raises InvalidSettings."""
    text = text.strip()
    if text in ("", "default"):
        return Settings()
    held: dict[str, object] = {}
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None or found.end() == position:
            raise InvalidSettings(f"{text[position : position + 40]!r} is not NAME:VALUE")
        held.update(_setting(found[1], found[2]))
        position = found.end()
    settings = msgspec.structs.replace(Settings(), **held)
    least = settings.large_segment_size
    if "max_non_split_rounding" not in held:
        settings = msgspec.structs.replace(settings, max_non_split_rounding=least)
    for name in ("max_split_size", "max_non_split_rounding"):
        if getattr(settings, name) < least:
            raise InvalidSettings(f"{name}_mb must be at least {least // MIB}, the size of a large segment")
    return settings


def _setting(name: str, value: str) -> dict[str, object]:
    if name in _IGNORED:
        return {}
    if name == "expandable_segments":
        if value not in ("True", "False"):
            raise InvalidSettings(f"{name} takes True or False, not {value!r}")
        return {name: value == "True"}
    if name in ("max_split_size_mb", "max_non_split_rounding_mb", "large_segment_size_mb"):
        size = _whole(name, value) * MIB
        if name == "large_segment_size_mb" and size < LEAST_LARGE_SEGMENT:
            raise InvalidSettings(f"{name} must be at least {LEAST_LARGE_SEGMENT // MIB}, not {value}")
        return {name.removesuffix("_mb"): size}
    if name == "garbage_collection_threshold":
        threshold = _share(name, value)
        if threshold == 1:
            raise InvalidSettings(f"{name} must be below 1")
        return {name: threshold}
    if name == "per_process_memory_fraction":
        return {"memory_fraction": _share(name, value)}
    if name == "roundup_power2_divisions":
        return {"roundup_divisions": _divisions(value)}
    if name == "backend":
        if value not in ("native", "cudaMallocAsync"):
            raise InvalidSettings(f"backend is native or cudaMallocAsync, not {value!r}")
        return {name: value}
    raise InvalidSettings(f"no allocator setting is called {name!r}")


def _whole(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) > 1 << 20:
        raise InvalidSettings(f"{name} takes a whole number of MiB, not {value!r}")
    return int(value)


def _share(name: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise InvalidSettings(f"{name} takes a number above 0 and up to 1, not {value!r}")
    return share


def _divisions(value: str) -> tuple[int, ...]:
    """One number for all sizes, or `[256:1,512:2,>:8]`: the first holds below it too, `>` above the last one named.

    As long as c10/cuda/CUDAAllocatorConfig.cpp read it itself, `>` overwrote that last one too.
    """
    if not value.startswith("["):
        return (_power("roundup_power2_divisions", value),) * SLOTS
    slots = [0] * SLOTS
    parts = [part.partition(":") for part in value.strip("[]").replace(" ", "").split(",") if part]
    for place, (size, colon, division) in enumerate(parts):
        if not colon:
            raise InvalidSettings(f"{value!r} is not [SIZE:DIVISIONS,...]")
        number = _power("roundup_power2_divisions", division)
        if size == ">":
            first = _slot(parts[place - 1][0]) + 1 if place else 1
            slots[first:] = [number] * (SLOTS - first)
        elif place:
            slots[_slot(size)] = number
        else:  # the first one holds for all sizes below too
            slots[: _slot(size) + 1] = [number] * (_slot(size) + 1)
    return tuple(slots)


def _slot(size: str) -> int:
    return min(SLOTS - 1, _power("roundup_power2_divisions", size).bit_length() - 1)


def _power(name: str, value: str) -> int:
    number = int(value) if value.isdecimal() else -1
    if number < 0 or number & (number - 1):
        raise InvalidSettings(f"{name} takes powers of two, not {value!r}")
    return number
