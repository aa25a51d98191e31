"""allocator_settings of a snapshot: the text of PYTORCH_CUDA_ALLOC_CONF, and what the allocator made of it."""

from __future__ import annotations

import msgspec

from gpudoctor.allocator.settings import SLOTS, UNLIMITED, InvalidSettings, Settings, parse_settings

_TEXTS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def recorded_settings(record: object) -> tuple[Settings, str, list[str]]:
    """The settings, their text, and what is to be said of them."""
    if not isinstance(record, dict) or not record:
        return Settings(), "", ["It names no allocator settings, as torch before 2.3 does not: the default is assumed."]
    text = next((str(record[name]) for name in _TEXTS if isinstance(record.get(name), str)), "")
    notes = []
    try:
        settings = parse_settings(text)
    except InvalidSettings as error:
        settings = Settings()
        notes.append(
            f"Its allocator settings, {text[:200]!r}, are not understood ({error}): its plain fields are used."
        )
    return msgspec.structs.replace(settings, **_fields(record)), text, notes


def _fields(record: dict[str, object]) -> dict[str, object]:
    """What it says outright, whatever the text says."""
    held: dict[str, object] = {}
    size = record.get("max_split_size")
    if isinstance(size, int):
        held["max_split_size"] = size if 0 < size < UNLIMITED else UNLIMITED  # -1 where the option is not set
    threshold = record.get("garbage_collection_threshold")
    if isinstance(threshold, (int, float)) and 0 <= threshold <= 1:
        held["garbage_collection_threshold"] = float(threshold)
    expandable = record.get("expandable_segments")
    if isinstance(expandable, bool):
        held["expandable_segments"] = expandable
    divisions = record.get("roundup_power2_divisions")
    if isinstance(divisions, dict):
        slots = [divisions.get(str(1 << slot)) for slot in range(SLOTS)]
        held["roundup_divisions"] = tuple(slot if isinstance(slot, int) and slot > 0 else 0 for slot in slots)
    return held
