"""Events that are written like those before them, taken one after the other without a look at their opcodes."""

from __future__ import annotations

import re

from gpudoctor.allocator.columns import Pools, Stacks, action_number
from gpudoctor.allocator.event_forms import EventForm, event_form
from gpudoctor.allocator.pickle_bytes import Source
from gpudoctor.allocator.pickle_pieces import ONCE, Pieces

_MOST_FORMS = 16
_MOST_NUMBERS = _MOST_KNOWN = 100_000
_GETS = re.compile(rb"h.|j.{4}", re.DOTALL)
_NUMBERS_OF_A_POOL = re.compile(rb"K.|M..|J.{4}", re.DOTALL)
_GET, _LIST, _TEXT, _LONG = b"hj", ord("]"), 0x8C, 0x8A
_signed = int.from_bytes
_LONGEST = 4096  # bytes of an event to learn from


def _decoded(written: bytes) -> int:
    """BININT1, BININT2, BININT or LONG1 with its number."""
    opcode = written[0]
    if opcode == _LONG:
        return int.from_bytes(written[2:], "little", signed=True)
    return int.from_bytes(written[1:], "little", signed=opcode == ord("J"))


class _Numbers(dict[bytes, int]):
    def __missing__(self, written: bytes) -> int:
        if len(self) >= _MOST_NUMBERS:
            self.clear()
        number = self[written] = _decoded(written)
        return number


class EventRuns(Pieces):
    def __init__(self, source: Source, stacks: Stacks, pools: Pools) -> None:
        super().__init__(source, stacks, pools)
        self._forms: list[EventForm] = []
        self._numbers_written = _Numbers()
        self._actions: dict[bytes, int] = {}  # by the get that is written for them
        self._known: dict[bytes, object] = {}  # values that are no numbers, as they are written

    def learn(self, written: bytes) -> None:
        """From an event that was read opcode by opcode."""
        if len(self._forms) >= _MOST_FORMS or len(written) > _LONGEST:
            return
        texts = {get: value for get in _GETS.findall(written) if type(value := self._recalled(get)) is str}
        form = event_form(written, texts)
        if form is not None and all(form.pattern != known.pattern for known in self._forms):
            self._forms.append(form)

    def known_events(self, position: int) -> int:
        """Take those that come next, into the columns; where the first other byte is."""
        data = self._data
        while True:
            for place, form in enumerate(self._forms):
                found = form.pattern.match(data, position)
                if found is not None and self._taken(form, found.groups()):
                    position = found.end()
                    if place:
                        self._forms.insert(0, self._forms.pop(place))
                    break
            else:
                return position

    def _taken(self, form: EventForm, values: tuple[bytes, ...]) -> bool:
        """False where it has to be read opcode by opcode after all. Nothing is changed then."""
        action = self._actions.get(values[form.action])
        if action is None:
            name = self._recalled(values[form.action])
            if type(name) is not str:
                return False
            action = self._actions[values[form.action]] = action_number(name)
        known = self._known
        memoized: list[int] = []
        frames: object = ()
        pool: object = None
        for place in form.others:
            written = values[place]
            value = known.get(written)
            if value is None:
                value = self._value(written)
                if value is None:
                    return False
            if written[0] not in _GET:
                memoized.append(self.code(value))
            if place == form.frames:
                frames = value
            elif place == form.pool:
                pool = value
        self._memo.append(ONCE)
        self._memo.extend(memoized)
        number = self._numbers_written
        time = values[form.time] if form.time >= 0 else b"K\0"
        self._columns.row(
            action,
            number[values[form.address]] if form.address >= 0 else None,
            number[values[form.size]] if form.size >= 0 else None,
            number[values[form.stream]] if form.stream >= 0 else 0,
            _signed(time[2:], "little", signed=True) if time[0] == _LONG else number[time],
            frames,
            pool,
        )
        return True

    def _value(self, written: bytes) -> object:
        """What is no number; None where it has to be read opcode by opcode."""
        opcode = written[0]
        if opcode in _GET:
            value = self._recalled(written)
        elif opcode == _LIST:
            value = self.stack_of_run(written[3:-1])
        elif opcode == _TEXT:
            value = self.own_text(written[2:-1].decode("utf-8", "surrogatepass"))
        else:
            first, second = (_decoded(each) for each in _NUMBERS_OF_A_POOL.findall(written[:-2]))
            value = self.own_tuple((first, second))
        if value is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[written] = value
        return value

    def _recalled(self, get: bytes) -> object:
        """None where nothing is known by this number."""
        number = int.from_bytes(get[1:], "little")
        code = self._memo[number] if number < len(self._memo) else ONCE
        return self._kept[code] if code >= 0 else None
