"""What a pickle of a snapshot is built of: plain containers, a trace's columns, stacks; and the memo."""

from __future__ import annotations

import re
from array import array
from typing import NoReturn

from gpudoctor.allocator.columns import Columns, Pools, Stacks
from gpudoctor.allocator.pickle_bytes import MARGIN, PickleBytes, Source
from gpudoctor.allocator.snapshot import Frame, InvalidSnapshot, PoolId, Stack

_MOST_HELD = 8_000_000  # items outside the traces; a block has ten, and torch makes thousands of blocks
_MOST_EVENTS = 150_000_000
_MOST_TEXT = 256 << 20  # bytes
_DEEPEST = 1000
_MOST_MEMOIZED = 1 << 28
_MOST_RUNS = 100_000
_BATCH = 1000  # items that Python's pickle puts into one APPENDS; more may follow
_GAP = 1  # Python 2 numbered from 1
ONCE = -1  # in the memo: what no pickle of a snapshot refers to again
_FRAMES_AGAIN = re.compile(rb"(?:\x94|q(.)|r(.{4}))?\(((?:h.|j.{4})+)e", re.DOTALL)
_GETS = re.compile(rb"h.|j.{4}", re.DOTALL)
_ATOMS = (int, str, float, bool, type(None), Frame)
EVENT = object()  # an event whose items have not come yet
DONE = object()  # events that are in the columns


class Traces(list[object]):
    """What is under device_traces: a list for each device."""

    __slots__ = ("kept",)

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.kept = kept


class DeviceTrace(list[object]):
    """It stays empty: its events are in the columns."""

    __slots__ = ("columns",)

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns


class _Event(dict[str, object]):
    """Only where its items come one by one (protocol 0)."""

    __slots__ = ()


class _FrameRecord(dict[str, object]):
    __slots__ = ()


class _Frames(list[object]):
    __slots__ = ()


class Pieces(PickleBytes):
    def __init__(self, source: Source, stacks: Stacks, pools: Pools) -> None:
        super().__init__(source)
        self._stacks = stacks
        self._pools = pools
        self._stack: list[object] = []
        self._marked: list[list[object]] = []  # the stacks below each mark
        self._memo = array("i")  # index of self._kept, or ONCE
        self._kept: list[object] = []
        self._texts: dict[str, int] = {}  # index of self._kept
        self._text_bytes = 0
        self._codes: dict[int, int] = {}  # index of self._kept, by id of a Frame or Stack, of which there is one each
        self._unfinished: dict[int, object] = {}  # by number in the memo: frames that may still be filled
        self._numbers: dict[int, int] = {}  # by id, of those
        self._runs: dict[bytes, Stack] = {}
        self._pairs: dict[PoolId, PoolId] = {}
        self._held = 0
        self._columns = Columns(stacks, pools)  # where EVENT belongs

    def more(self, needed: int = MARGIN) -> None:
        super().more(needed)
        self._within_limits()

    def _within_limits(self) -> None:
        held = self._held + len(self._kept) + len(self._stack) + sum(map(len, self._marked))
        held += self._stacks.pieces + 4 * len(self._pools.pools) + 4 * len(self._unfinished)
        if held > _MOST_HELD:
            raise InvalidSnapshot(f"holds more than {_MOST_HELD:,} values outside its traces, as no snapshot does")
        if len(self._columns.trace) > _MOST_EVENTS:
            raise InvalidSnapshot(f"holds more than {_MOST_EVENTS:,} events")
        if len(self._marked) > _DEEPEST:
            raise InvalidSnapshot(f"nests deeper than {_DEEPEST} levels, as no snapshot does")
        if self._text_bytes > _MOST_TEXT or len(self._memo) > _MOST_MEMOIZED:
            raise InvalidSnapshot(f"holds over {_MOST_TEXT >> 20} MiB of text or over {_MOST_MEMOIZED:,} objects")

    def _named(self) -> str:
        return ".".join(part for part in self._stack[-2:] if isinstance(part, str))

    def _holder(self, stack: list[object]) -> object:
        """The container that the next object is for: below the mark, or on top where it comes alone."""
        if stack and type(stack[-1]) in (DeviceTrace, _Frames, Traces):
            return stack[-1]
        return self._marked[-1][-1] if self._marked and self._marked[-1] else None

    def dict_for(self, stack: list[object]) -> object:
        holder = self._holder(stack)
        kind = type(holder)
        if kind is DeviceTrace:
            self._columns = holder.columns  # type: ignore[attr-defined]
            return EVENT
        if kind is _Frames:
            return _FrameRecord()
        if kind is Traces:  # host_traces of torch 2.14 may be one list of events
            self._columns = Columns(self._stacks, self._pools)
            return EVENT
        return {}

    def _list_for(self, stack: list[object]) -> object:
        name = stack[-1] if stack else None
        if name == "frames":
            return _Frames()
        if name in ("device_traces", "host_traces") and type(name) is str:
            return Traces(kept=name == "device_traces")
        holder = self._holder(stack)
        if type(holder) is DeviceTrace and self._marked and self._marked[-1]:
            holder = self._marked[-1][-1]
        if type(holder) is Traces:
            return DeviceTrace(Columns(self._stacks, self._pools))
        return []

    def empty_list(self) -> None:
        made = self._list_for(self._stack)
        if type(made) is _Frames and self._frames_again():
            return
        self._stack.append(made)

    def _frames_again(self) -> bool:
        """A whole list of frames that are all in the memo, at once: most of a large file consists of them."""
        found = _FRAMES_AGAIN.match(self._data, self._position)
        stack = self.stack_of_run(found[3]) if found else None
        if found is None or stack is None:
            return False
        self._position = found.end()
        if found.end(3) - found.start(3) + 2 != found.end() - found.start():
            number = found[1] or found[2]
            self.memoize(len(self._memo) if number is None else int.from_bytes(number, "little"), stack)
        self._stack.append(stack)
        return True

    def stack_of_run(self, run: bytes) -> Stack | None:
        """Of gets, one for each frame; None where it cannot be told."""
        stack = self._runs.get(run)
        if stack is None:
            memo, kept = self._memo, self._kept
            numbers = [int.from_bytes(get[1:], "little") for get in _GETS.findall(run)]
            if len(numbers) == _BATCH or max(numbers) >= len(memo):
                return None
            frames = [kept[memo[number]] if memo[number] >= 0 else None for number in numbers]
            if any(type(frame) is not Frame for frame in frames):
                return None
            if len(self._runs) >= _MOST_RUNS:
                self._runs.clear()
            stack = self._runs[run] = self._stacks.same(frames)
        return stack

    def _finished(self, value: object) -> object:
        """Frames become a Frame or the one Stack, also in the memo."""
        if type(value) is _FrameRecord:
            finished: object = self._stacks.frame(value)
            self._held -= 2 * len(value)
        elif type(value) is _Frames:
            finished = self._stacks.same(value)
            self._held -= len(value)
        else:
            return value
        number = self._numbers.pop(id(value), None)
        if number is not None:
            del self._unfinished[number]
            self._memo[number] = self.code(finished)
        return finished

    def set_items(self, stack: list[object], items: list[object]) -> None:
        target = stack[-1]
        if len(items) % 2:
            raise InvalidSnapshot("is a damaged pickle: a key without a value")
        if target is EVENT:
            target = stack[-1] = _Event()
        if not isinstance(target, dict):
            self._cannot_hold(target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise InvalidSnapshot(f"has a key that is no text but {type(key).__name__}, as no snapshot does")
            target[key] = self._finished(value)
        self._held += len(items)
        if type(target) is _FrameRecord and len(items) > 2:
            stack[-1] = self._finished(target)

    def add_event(self, items: list[object]) -> None:
        for place in range(1, len(items), 2):
            if type(items[place]) is _Frames:
                items[place] = self._finished(items[place])
        self._columns.add(items)

    def append(self, target: object, items: list[object]) -> None:
        if type(target) is _Frames:
            target.extend(self._finished(item) for item in items)
        elif type(target) is DeviceTrace:
            for item in items:
                if type(item) is _Event:
                    target.columns.add([piece for pair in item.items() for piece in pair])
                    self._held -= 2 * len(item)
                elif item is not DONE:
                    target.columns.malformed += 1
            return
        elif isinstance(target, list):
            target.extend(items)
        else:
            self._cannot_hold(target)
        self._held += len(items)

    def _cannot_hold(self, target: object) -> NoReturn:
        if target is DONE:
            raise InvalidSnapshot("changes an event after it has ended, as no snapshot does")
        raise InvalidSnapshot(f"is a damaged pickle: {type(target).__name__} as a container")

    def tuple(self, items: list[object]) -> None:
        """Of numbers and texts only: Python takes the hash of a tuple in depth, without a limit."""
        if not all(type(item) in _ATOMS for item in items):
            raise InvalidSnapshot("has a tuple of containers, as no snapshot does")
        if len(items) == 2 and type(items[0]) is int and type(items[1]) is int:
            self._stack.append(self.own_tuple((items[0], items[1])))
        else:
            self._held += len(items)
            self._stack.append(tuple(items))

    def own_tuple(self, pair: PoolId) -> PoolId:
        """The one that equals it: each event of torch 2.12 has its pool."""
        known = self._pairs.get(pair)
        if known is None:
            known = self._pairs[pair] = pair
            self._held += 2
        return known

    def own_text(self, text: str) -> str:
        """The one that equals it."""
        code = self._texts.get(text, ONCE)
        return text if code < 0 else self._kept[code]  # type: ignore[return-value]

    def above_mark(self) -> list[object]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def code(self, value: object) -> int:
        kind = type(value)
        if kind is str:
            code = self._texts.get(value, ONCE)  # type: ignore[call-overload]
            return code if code >= 0 else self.new_text(value)  # type: ignore[arg-type]
        if value is EVENT or value is DONE or kind is _Event:
            return ONCE
        if kind is _Frames or kind is _FrameRecord:
            if id(value) not in self._numbers:
                self._numbers[id(value)] = len(self._memo)
                self._unfinished[len(self._memo)] = value
            return ONCE
        if kind is Frame or kind is tuple:
            code = self._codes.get(id(value), ONCE)
            if code >= 0 and self._kept[code] is value:
                return code
            self._codes[id(value)] = len(self._kept)
        self._kept.append(value)
        return len(self._kept) - 1

    def new_text(self, text: str) -> int:
        code = self._texts[text] = len(self._kept)
        self._kept.append(text)
        self._text_bytes += len(text)
        return code

    def memoize(self, number: int, value: object) -> None:
        memo = self._memo
        if number == len(memo) + _GAP and not memo:
            memo.append(ONCE)
        if number != len(memo):
            raise InvalidSnapshot(f"gives its object {len(memo)} the number {number}, as no snapshot does")
        memo.append(self.code(value))

    def recall(self, number: int) -> None:
        code = self._memo[number]
        self._stack.append(self._kept[code] if code >= 0 else self.recall_unfinished(number))

    def recall_unfinished(self, number: int) -> object:
        """A segment's frames, which its blocks refer to before the segment is there."""
        value = self._unfinished.get(number)
        if not isinstance(value, (_Frames, _FrameRecord)):
            raise InvalidSnapshot("refers to an event as a whole, as no snapshot does")
        self._held += len(value) * (2 if isinstance(value, _FrameRecord) else 1)  # they will be finished once more
        return self._finished(value)
