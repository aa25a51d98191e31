"""Segments and their blocks, out of the records of a snapshot of any torch."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.allocator.columns import Pools, Stacks
from gpudoctor.allocator.snapshot import Segment, SnapshotBlock, State

_STATES: dict[object, State] = {
    "active_allocated": "allocated",
    "active_pending_free": "pending_free",  # what torch writes
    "active_awaiting_free": "pending_free",  # what its documentation says
    "inactive": "free",
}
_HIGHEST = 1 << 64


class _Malformed(Exception):
    pass


def segment_of(record: object, stacks: Stacks, pools: Pools) -> tuple[int, Segment] | None:
    """Its device, and itself; None where the record makes no sense."""
    if not isinstance(record, dict):
        return None
    try:
        address, size = _whole(record, "address"), _whole(record, "total_size")
        device = _whole(record, "device") if "device" in record else 0
        if not size or address + size > _HIGHEST:
            return None
        return device, Segment(
            address=address,
            size=size,
            stream=_whole(record, "stream", signed=True) % _HIGHEST,
            is_small=record.get("segment_type") == "small",
            is_expandable=record.get("is_expandable") is True,
            pool=pools.pool(record.get("segment_pool_id")),
            blocks=tuple(_blocks(record.get("blocks"), address, address + size, stacks)),
            stack=stacks.place(record.get("frames")),
        )
    except (_Malformed, TypeError):
        return None


def _blocks(records: object, start: int, end: int, stacks: Stacks) -> Iterator[SnapshotBlock]:
    """Blocks of torch before 2.1 have no address; they lie side by side."""
    if not isinstance(records, list):
        raise _Malformed
    for record in records:
        if not isinstance(record, dict) or record.get("state") not in _STATES:
            raise _Malformed
        address = _whole(record, "address") if "address" in record else start
        size = _whole(record, "size")
        if not size or address < start or address + size > end:
            raise _Malformed
        latest = _latest(record)
        yield SnapshotBlock(
            address=address,
            size=size,
            requested=_requested(record, latest, size),
            state=_STATES[record["state"]],
            stack=stacks.place(record.get("frames") or latest.get("frames")),
        )
        start = address + size


def _latest(record: dict[str, object]) -> dict[str, object]:
    """Its newest allocation, as torch before 2.1 records them: newest first."""
    history = record.get("history")
    if isinstance(history, list) and history and isinstance(history[0], dict):
        return history[0]
    return {}


def _requested(record: dict[str, object], latest: dict[str, object], size: int) -> int:
    for requested in (record.get("requested_size"), latest.get("real_size")):
        if isinstance(requested, int) and requested >= 0:
            return requested
    return size


def _whole(record: dict[str, object], name: str, *, signed: bool = False) -> int:
    value = record.get(name)
    if type(value) is not int or (value < 0 and not signed):
        raise _Malformed
    return value
