"""A pickle machine for snapshots: it builds plain containers, imports nothing and calls nothing.

Python's own unpickler, told to find no class, would run nothing either, but a few bytes make it take any amount of
memory (LONG_BINPUT with a high number), and it holds each event as a dict. Here an event becomes a row of its device's
columns as soon as its items are there, and a list of frames becomes the one stack equal to it; what the memo keeps of
them is a number. Everything else is counted, and there is a limit to it.

Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py. Writers: Python's pickle, protocols 0 to 5, and
torch's own, https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/serialization/pickler.cpp, which writes
protocol 2, numbers an object only after it has written all of it, and puts all events of a device into one APPENDS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from gpudoctor.allocator.columns import Pools, Stacks
from gpudoctor.allocator.event_runs import EventRuns
from gpudoctor.allocator.pickle_bytes import MARGIN, Source
from gpudoctor.allocator.pickle_pieces import DONE, EVENT, DeviceTrace
from gpudoctor.allocator.snapshot import InvalidSnapshot

_LONGEST_NUMBER = 16  # bytes
_MOST_DIGITS = 40
_UNKNOWN = -1


def unpickle(source: Source, stacks: Stacks, pools: Pools) -> object:
    """Raises InvalidSnapshot."""
    return _Machine(source, stacks, pools).run()


class _Machine(EventRuns):
    def run(self) -> object:
        try:
            return self._run()
        except (IndexError, UnicodeDecodeError, struct.error, ValueError) as error:
            if isinstance(error, InvalidSnapshot):
                raise
            raise InvalidSnapshot(f"is a damaged pickle, near byte {self._base + self._position:,}") from None

    def _run(self) -> object:
        """The opcodes that snapshots consist of are here, the others in _RARE."""
        self.more()
        if self._ended and not self._end:
            raise InvalidSnapshot("is empty")
        memo, kept, texts, marked = self._memo, self._kept, self._texts, self._marked
        from_bytes = int.from_bytes
        data, position, stack = self._data, self._position, self._stack
        enough = len(data) - MARGIN
        started = -1  # where in data an event did, that others may be written like
        while True:
            if position > enough:
                started = -1
                self._position, self._stack = position, stack
                if self._ended and position >= self._end:
                    self.truncated()
                self.more()
                data, position = self._data, self._position
                enough = len(data) - MARGIN
            opcode = data[position]
            position += 1
            if opcode == 0x68:  # BINGET
                code = memo[data[position]]
                stack.append(kept[code] if code >= 0 else self.recall_unfinished(data[position]))
                position += 1
            elif opcode == 0x4A:  # BININT
                stack.append(from_bytes(data[position : position + 4], "little", signed=True))
                position += 4
            elif opcode == 0x8A:  # LONG1
                size = data[position]
                if size > _LONGEST_NUMBER:
                    raise InvalidSnapshot(f"has a number of {size} bytes, as no snapshot does")
                position += 1 + size
                stack.append(from_bytes(data[position - size : position], "little", signed=True))
            elif opcode == 0x94:  # MEMOIZE
                value = stack[-1]
                memo.append(_UNKNOWN if value is EVENT else self.code(value))
            elif opcode == 0x4B:  # BININT1
                stack.append(data[position])
                position += 1
            elif opcode == 0x28:  # MARK
                marked.append(stack)
                stack = []
            elif opcode == 0x75:  # SETITEMS
                items = stack
                stack = marked.pop()
                if stack[-1] is EVENT:
                    self.add_event(items)
                    if started >= 0:
                        self.learn(data[started:position])
                        started = -1
                    if len(stack) > 1 and stack[-2] is DONE:
                        stack.pop()
                    else:
                        stack[-1] = DONE
                else:
                    self.set_items(stack, items)
            elif opcode == 0x7D:  # EMPTY_DICT
                if stack and stack[-1] is DONE and type(marked[-1][-1]) is DeviceTrace:  # one more of the same device
                    started = position - 1
                    position = self.known_events(started)
                    if position == started:
                        position += 1
                        stack.append(EVENT)
                    else:
                        started = -1
                else:
                    stack.append(self.dict_for(stack))
            elif opcode == 0x8C:  # SHORT_BINUNICODE
                size = data[position]
                position += 1
                if position + size > enough:
                    self._position, self._stack = position, stack
                    text = self.take(size).decode("utf-8", "surrogatepass")
                    data, position = self._data, self._position
                    enough = len(data) - MARGIN
                    started = -1
                else:
                    text = data[position : position + size].decode("utf-8", "surrogatepass")
                    position += size
                code = texts.get(text, _UNKNOWN)
                if code < 0:
                    code = self.new_text(text)
                stack.append(kept[code])
            elif opcode == 0x6A:  # LONG_BINGET
                number = from_bytes(data[position : position + 4], "little")
                code = memo[number]
                stack.append(kept[code] if code >= 0 else self.recall_unfinished(number))
                position += 4
            elif opcode == 0x4D:  # BININT2
                stack.append(data[position] | data[position + 1] << 8)
                position += 2
            elif opcode == 0x2E:  # STOP
                return self._result(stack)
            else:
                rare = _RARE.get(opcode)
                self._position, self._stack = position, stack
                if rare is None:
                    self.refuse(opcode)
                rare(self)
                if data is not self._data:
                    started = -1
                data, position, stack = self._data, self._position, self._stack
                enough = len(data) - MARGIN

    def _result(self, stack: list[object]) -> object:
        if len(stack) != 1 or self._marked:
            raise InvalidSnapshot("is a damaged pickle: it stops with pieces left over")
        return stack[0]

    # The rarer opcodes

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> object:
        return self._stack.pop()

    def set_one(self) -> None:
        value = self.pop()
        key = self.pop()
        self.set_items(self._stack, [key, value])

    def append_one(self) -> None:
        item = self.pop()
        self.append(self._stack[-1], [item])

    def append_marked(self) -> None:
        items = self.above_mark()
        self.append(self._stack[-1], items)

    def make_list(self) -> None:
        items = self.above_mark()
        self.empty_list()
        if items:
            self.append(self._stack[-1], items)

    def make_dict(self) -> None:
        items = self.above_mark()
        self.push(self.dict_for(self._stack))
        if items:
            self.set_items(self._stack, items)

    def make_tuple(self, size: int) -> None:
        items = self._stack[len(self._stack) - size :]
        if len(items) != size:
            raise IndexError
        del self._stack[len(self._stack) - size :]
        self.tuple(items)

    def whole_number(self) -> int | bool:
        """Protocol 0 writes True as 01."""
        line = self.line().removesuffix(b"L")
        if len(line) > _MOST_DIGITS:
            raise InvalidSnapshot(f"has a number of {len(line):,} digits, as no snapshot does")
        return line == b"01" if line in (b"00", b"01") else int(line)

    def escaped_text(self) -> str:
        return self.line().decode("raw-unicode-escape")

    def put(self, number: int) -> None:
        self.memoize(number, self._stack[-1])


_RARE: dict[int, Callable[[_Machine], object]] = {
    ord("\x80"): lambda machine: machine.take(1),  # PROTO
    ord("\x95"): lambda machine: machine.take(8),  # FRAME
    ord("s"): _Machine.set_one,
    ord("a"): _Machine.append_one,
    ord("e"): _Machine.append_marked,
    ord("]"): _Machine.empty_list,
    ord("l"): _Machine.make_list,
    ord("d"): _Machine.make_dict,
    ord("t"): lambda machine: machine.tuple(machine.above_mark()),
    ord(")"): lambda machine: machine.make_tuple(0),
    ord("\x85"): lambda machine: machine.make_tuple(1),
    ord("\x86"): lambda machine: machine.make_tuple(2),
    ord("\x87"): lambda machine: machine.make_tuple(3),
    ord("N"): lambda machine: machine.push(None),
    ord("\x88"): lambda machine: machine.push(True),
    ord("\x89"): lambda machine: machine.push(False),
    ord("G"): lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    ord("F"): lambda machine: machine.push(float(machine.line())),
    ord("I"): lambda machine: machine.push(machine.whole_number()),
    ord("L"): lambda machine: machine.push(machine.whole_number()),
    ord("\x8b"): lambda machine: machine.push(machine.signed(machine.number(4))),  # LONG4
    ord("V"): lambda machine: machine.push(machine.escaped_text()),
    ord("X"): lambda machine: machine.push(machine.text(machine.number(4))),
    ord("\x8d"): lambda machine: machine.push(machine.text(machine.number(8))),
    ord("C"): lambda machine: machine.push(machine.take(machine.number(1))),
    ord("B"): lambda machine: machine.push(machine.take(machine.number(4))),
    ord("\x8e"): lambda machine: machine.push(machine.take(machine.number(8))),
    ord("p"): lambda machine: machine.put(machine.whole_number()),
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    ord("g"): lambda machine: machine.recall(machine.whole_number()),
}
