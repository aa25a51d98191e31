"""Reads a memory snapshot, as torch.cuda.memory._dump_snapshot or pickle.dump of _snapshot() writes it.

Its forms since torch 1.13: _snapshot() is a dict from 2.0 on; before, and from memory_snapshot() in any version, it is
the bare list of segments. https://github.com/pytorch/pytorch: torch/csrc/cuda/Module.cpp (THCPModule_memorySnapshot),
torch/csrc/cuda/memory_snapshot.cpp (_memory_snapshot_pickled), torch/cuda/memory.py (_snapshot), of which these were
compared: memory_snapshot.cpp at 00067369c9339bed950762afec327514d6fa2566 (2.3) and at
127b7ad1e585768808db4c3d1420a39ca7ac7338 (2.10), Module.cpp as of pull requests 86241 (2.0) and 106113 (2.1). What each
release added: era.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gpudoctor.allocator.columns import Columns, Pools, Stacks
from gpudoctor.allocator.compressed import Unpacked
from gpudoctor.allocator.era import Keys, torch_era
from gpudoctor.allocator.pickle_pieces import DeviceTrace, Traces
from gpudoctor.allocator.recorded_settings import recorded_settings
from gpudoctor.allocator.segments import segment_of
from gpudoctor.allocator.snapshot import Action, Device, InvalidSnapshot, Segment, Snapshot, Trace
from gpudoctor.allocator.unpickler import unpickle

_ROUNDING = 512  # bytes
_ENOUGH_SIZES = 100  # allocations, to say that their sizes were rounded before they were recorded
_MOST_DEVICES = 1024

Annotation = tuple[str, int, int]


def read_snapshot(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Snapshot:
    """Plain or compressed. Raises InvalidSnapshot, and OSError where the file cannot be read.

    `progress` is told how many bytes of the file were read, and how many there are.
    """
    stacks, pools = Stacks(), Pools()
    try:
        with Unpacked(path, progress) as content:
            record = unpickle(content, stacks, pools)
            content.finish()
        return _snapshot(record, stacks, pools)
    except MemoryError:
        raise InvalidSnapshot("takes more memory than this machine has left") from None


def _snapshot(record: object, stacks: Stacks, pools: Pools) -> Snapshot:
    top = record if isinstance(record, dict) else {"segments": record}
    records = top.get("segments")
    if not isinstance(records, list):
        raise InvalidSnapshot("is a pickle, but no memory snapshot: it has no list of segments")
    segments, malformed = _by_device(records, stacks, pools)
    if records and malformed == len(records):
        raise InvalidSnapshot("is a pickle, but no memory snapshot: no segment in it has an address, a size and blocks")
    columns, lost = _columns(top.get("device_traces"))
    settings, text, notes = recorded_settings(top.get("allocator_settings"))
    annotations, unread = _annotations(top.get("external_annotations"))
    keys = _keys(record, records, columns)
    notes += _notes(columns, segments, stacks, keys)
    notes += _malformed({"segments": malformed, "traces": lost, "annotations": unread}, columns)
    count = max(len(columns), max(segments, default=-1) + 1)
    devices = (
        Device(index, tuple(segments.get(index, ())), columns[index].trace if index < len(columns) else Trace())
        for index in range(count)
    )
    return Snapshot(
        devices=tuple(device for device in devices if device.segments or len(device.trace)),
        device_count=count,
        stacks=stacks.stacks,
        pools=pools.pools,
        settings=settings,
        settings_text=text,
        torch_era=torch_era(keys),
        annotations=tuple(annotations),
        notes=tuple(notes),
    )


def _by_device(records: list[object], stacks: Stacks, pools: Pools) -> tuple[dict[int, list[Segment]], int]:
    """And how many make no sense."""
    segments: dict[int, list[Segment]] = {}
    malformed = 0
    for record in records:
        found = segment_of(record, stacks, pools)
        if found is None or found[0] >= _MOST_DEVICES:
            malformed += 1
        else:
            segments.setdefault(found[0], []).append(found[1])
    return segments, malformed


def _columns(traces: object) -> tuple[list[Columns], int]:
    """Of each device; and how many traces make no sense."""
    if not isinstance(traces, Traces):
        return [], 0 if traces is None else 1
    found = [trace.columns for trace in traces if isinstance(trace, DeviceTrace)]
    if len(found) != len(traces) or len(found) > _MOST_DEVICES:
        return found[:_MOST_DEVICES], max(len(traces) - len(found), 1)
    return found, 0


def _annotations(records: object) -> tuple[list[Annotation], int]:
    """And how many make no sense. The end of a range is told from its start by its name."""
    found: list[Annotation] = []
    if not isinstance(records, list):
        return found, 0
    for record in records:
        if not isinstance(record, dict):
            continue
        name, stage = record.get("name"), record.get("stage")
        device, time_us = record.get("device"), record.get("time_us")
        if isinstance(name, str) and isinstance(device, int) and isinstance(time_us, int):
            found.append((f"{name} (end)" if stage == "END" else name, device, time_us))
    return found, len(records) - len(found)


def _keys(record: object, segments: list[object], columns: list[Columns]) -> Keys:
    first = next((segment for segment in segments if isinstance(segment, dict)), {})
    blocks: set[str] = set()
    for segment in segments:
        held = segment.get("blocks") if isinstance(segment, dict) else None
        for block in held if isinstance(held, list) else ():
            blocks.update(block if isinstance(block, dict) else ())
    events = {key for each in columns for key in each.keys}
    return Keys(top=set(record if isinstance(record, dict) else ()), segments=set(first), blocks=blocks, events=events)


def _notes(columns: list[Columns], segments: dict[int, list[Segment]], stacks: Stacks, keys: Keys) -> Iterator[str]:
    if not any(len(each.trace) for each in columns):
        yield "It holds no events: what happened before it was taken was not recorded."
    if not stacks.stacks:
        yield "It holds no stacks: it was recorded with context=None, or without recording."
    if _sizes_are_rounded([each.trace for each in columns], segments, keys):
        yield (
            f"Every allocation in it is a multiple of {_ROUNDING} bytes, so its torch recorded sizes as rounded; "
            "what was asked for may have been less."
        )


def _sizes_are_rounded(traces: list[Trace], segments: dict[int, list[Segment]], keys: Keys) -> bool:
    """In the events, while the blocks tell that the program asked for other sizes, or do not tell at all."""
    seen = 0
    for trace in traces:
        for place in trace.places(Action.ALLOC):
            if trace.sizes[place] % _ROUNDING:
                return False
            seen += 1
    if seen < _ENOUGH_SIZES:
        return False
    blocks = (block for held in segments.values() for segment in held for block in segment.blocks)
    return "requested_size" not in keys.blocks or any(block.requested % _ROUNDING for block in blocks)


def _malformed(counts: dict[str, int], columns: list[Columns]) -> Iterator[str]:
    counts = {**counts, "events": sum(each.malformed for each in columns)}
    left_out = [f"{count:,} {what}" for what, count in counts.items() if count]
    if left_out:
        yield f"Pieces of it make no sense and were left out: {', '.join(left_out)}."
