"""Events as they come, turned into a trace's columns; stacks that are equal are one."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gpudoctor.allocator.snapshot import DEFAULT_POOL, NO_STACK, Action, Frame, PoolId, Stack, Trace

_ACTIONS = {action.name.lower(): int(action) for action in Action if action is not Action.OTHER}
_OTHER = int(Action.OTHER)
_UNSIGNED = (1 << 64) - 1
_MOST_SHAPES = 1000
_MOST_LINES = 1 << 31
_PIECES_OF_A_FRAME = 4


def action_number(name: str) -> int:
    return _ACTIONS.get(name, _OTHER)


class Stacks:
    def __init__(self) -> None:
        self.stacks: list[Stack] = []
        self._places: dict[Stack, int] = {}
        self._place_of_id: dict[int, int] = {}  # of the stacks in self.stacks, which live as long as this does
        self._frames: dict[tuple[str, str, int], Frame] = {}
        self.pieces = 0  # what they hold in memory, counted as in unpickler.py

    def frame(self, record: dict[str, object]) -> Frame:
        name, filename, line = record.get("name"), record.get("filename"), record.get("line")
        key = (
            name if isinstance(name, str) else "",
            filename if isinstance(filename, str) else "",
            line if isinstance(line, int) and 0 <= line < _MOST_LINES else 0,
        )
        known = self._frames.get(key)
        if known is None:
            known = self._frames[key] = Frame(*key)
            self.pieces += _PIECES_OF_A_FRAME
        return known

    def same(self, frames: Iterable[object]) -> Stack:
        """The one stack of these frames. What is no frame is left out."""
        stack = tuple(frame for frame in frames if type(frame) is Frame)
        if not stack:
            return ()
        place = self._places.get(stack)
        if place is None:
            place = self._places[stack] = len(self.stacks)
            self.stacks.append(stack)
            self._place_of_id[id(stack)] = place
            self.pieces += len(stack)
        return self.stacks[place]

    def place(self, frames: object) -> int:
        """Its index in `stacks`, or NO_STACK."""
        if not frames or not isinstance(frames, (list, tuple)):
            return NO_STACK
        place = self._place_of_id.get(id(frames))
        return self._place_of_id.get(id(self.same(frames)), NO_STACK) if place is None else place


class _Shape(msgspec.Struct, frozen=True):
    """Where in an event's items (key, value, key, value, ...) what stands; -1: nowhere."""

    action: int
    address: int
    size: int
    stream: int
    time: int
    frames: int
    pool: int


def _shape(keys: Sequence[str]) -> _Shape | None:
    def value(*names: str) -> int:
        return next((2 * keys.index(name) + 1 for name in names if name in keys), -1)

    if "action" not in keys:
        return None
    return _Shape(
        action=value("action"),
        address=value("addr", "device_free"),
        size=value("size"),
        stream=value("stream"),
        time=value("time_us"),
        frames=value("frames"),
        pool=value("pool_id", "segment_pool_id"),
    )


class Columns:
    """One device's events."""

    def __init__(self, stacks: Stacks, pools: Pools) -> None:
        self.trace = Trace()
        self.malformed = 0
        self.keys: set[str] = set()  # that any event has
        self._stacks = stacks
        self._pools = pools
        self._shapes: dict[tuple[object, ...], _Shape | None] = {}

    def add(self, items: list[object]) -> None:
        """An event: its keys, each followed by its value."""
        try:
            keys = tuple(items[::2])
            shape = self._shapes.get(keys) or self._learned(keys)
            if shape is None:
                self.malformed += 1
                return
            action = _ACTIONS.get(items[shape.action], _OTHER)  # type: ignore[call-overload]
        except TypeError:  # a container as a key or as the action
            self.malformed += 1
            return
        self.row(
            action,
            items[shape.address] if shape.address >= 0 else None,
            items[shape.size] if shape.size >= 0 else None,
            items[shape.stream] if shape.stream >= 0 else 0,
            items[shape.time] if shape.time >= 0 else 0,
            items[shape.frames] if shape.frames >= 0 else (),
            items[shape.pool] if shape.pool >= 0 else None,
        )

    def row(
        self, action: int, address: Any, size: Any, stream: Any, time_us: Any, frames: object, pool: object
    ) -> None:
        """None: not recorded. Where a value is none that a column holds, the event is left out."""
        trace = self.trace
        if address is None or size is None:
            if action != _OTHER:
                self.malformed += 1
                return
            address, size = address or 0, size or 0
        try:
            trace.addresses.append(address)
            trace.sizes.append(size)
            trace.streams.append(stream & _UNSIGNED)
            trace.times_us.append(time_us)
            trace.stacks.append(self._stacks.place(frames) if frames else NO_STACK)
            if pool is not None or trace.pools is not None:
                self._add_pool(pool, len(trace.actions))
            trace.actions.append(action)
        except (TypeError, OverflowError):
            self._take_back(len(trace.actions))
            self.malformed += 1

    def _learned(self, keys: tuple[object, ...]) -> _Shape | None:
        if keys in self._shapes or len(self._shapes) >= _MOST_SHAPES:
            return None
        texts = [key for key in keys if isinstance(key, str)]
        shape = self._shapes[keys] = _shape(texts) if len(texts) == len(keys) else None
        self.keys.update(texts)
        return shape

    def _add_pool(self, pool: object, count: int) -> None:
        if self.trace.pools is None:
            self.trace.pools = array("i", [self._pools.place(DEFAULT_POOL)]) * count
        self.trace.pools.append(self._pools.place(pool))

    def _take_back(self, count: int) -> None:
        trace = self.trace
        columns = (trace.addresses, trace.sizes, trace.streams, trace.times_us, trace.stacks, trace.pools)
        for column in columns:
            if column is not None:
                del column[count:]


class Pools:
    def __init__(self) -> None:
        self.pools: list[PoolId] = [DEFAULT_POOL]
        self._places: dict[PoolId, int] = {DEFAULT_POOL: 0}

    def pool(self, pool: object) -> PoolId:
        """The default pool where none is recorded. Raises TypeError where it is no pool."""
        if pool is None:
            return DEFAULT_POOL
        if isinstance(pool, (list, tuple)) and len(pool) == 2:
            first, second = pool
            if isinstance(first, int) and isinstance(second, int) and max(abs(first), abs(second)) <= _UNSIGNED:
                return first, second
        raise TypeError("not a pool")

    def place(self, pool: object) -> int:
        """Its index in `pools`."""
        known = self.pool(pool)
        place = self._places.get(known)
        if place is None:
            place = self._places[known] = len(self.pools)
            self.pools.append(known)
        return place
