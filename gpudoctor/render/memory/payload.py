"""What the page's script gets: columns of varints, deflated, in base64; and the texts beside them.

page/decode.js reads it. Addresses are counted from the lowest one, in units of 512 bytes where all allow it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gpudoctor.allocator.explanation import Explanation
from gpudoctor.allocator.snapshot import Device, Frame, PoolId, Snapshot, Trace
from gpudoctor.allocator.state import History, Range
from gpudoctor.render.memory.lives import (
    ALLOC,
    FAILED,
    FREE,
    FREED,
    LET_GO,
    Lives,
    lives_of,
    without_short_lives,
)
from gpudoctor.render.memory.words import stack_words
from gpudoctor.render.plain import one_line, plain

MOST_STEPS = 1_200_000
MOST_BYTES = 14 << 20
FRAMES_SHOWN = 64  # of a stack, from the innermost
UNIT = 512
Kind = tuple[str, PoolId, bool, bool]


class Payload(msgspec.Struct):
    texts: dict[str, Any]
    columns: dict[str, str]  # base64
    left_out_below: int  # blocks that lived for fewer events than this are not in it; 0: all are

    def json(self) -> str:
        """Fit for a script element: no end of one can be in it."""
        packed = base64.b64encode(zlib.compress(json.dumps(self.texts).encode(), 9)).decode()
        return json.dumps({"texts": packed, "columns": self.columns})


def payload(
    explanation: Explanation,
    snapshot: Snapshot,
    device: Device,
    *,
    most: int = MOST_STEPS,
    most_bytes: int = MOST_BYTES,
) -> Payload:
    """At most so many steps and bytes; what goes first is said in `left_out_below`."""
    history = History(device, snapshot.settings, snapshot.pools)
    whole = lives_of(history)
    moments = [moment.place for moment in explanation.moments]
    frames = FRAMES_SHOWN
    while True:
        lives, left_out_below = without_short_lives(whole, most, moments)
        made = _packed(explanation, snapshot, history, lives, left_out_below, frames)
        if len(made.json()) <= most_bytes or most < 1000:
            return made
        most, frames = most // 2, max(4, frames // 2)


def _packed(
    explanation: Explanation,
    snapshot: Snapshot,
    history: History,
    lives: Lives,
    left_out_below: int,
    frames: int,
) -> Payload:
    known = sorted({stack for stack in lives.stacks if 0 <= stack < len(snapshot.stacks)})
    numbers = {stack: number for number, stack in enumerate(known)}
    at_start, changes = history.layout(0).ranges, [made for _, made in history.changes()]
    ranges = [*at_start, *changes]
    kinds = list(dict.fromkeys(_kind(each) for each in ranges))
    texts = _texts(explanation, lives, left_out_below)
    texts |= _stacks(explanation, [(stack, snapshot.stacks[stack]) for stack in known], frames)
    everywhere = [*lives.addresses, *(each.address for each in ranges)]
    base = min(everywhere, default=0)
    unit = UNIT if all((address - base) % UNIT == 0 for address in everywhere) else 1
    texts |= {"base": f"{base:x}", "unit": unit, "ranges": len(at_start), "kinds": kinds}
    columns = {
        "address": varints(_deltas((a - base) // unit for a in lives.addresses)),
        "requested": varints(lives.requested),
        "extra": varints(map(_zigzag, (s - r for s, r in zip(lives.sizes, lives.requested, strict=True)))),
        "stack": varints(numbers.get(stack, -1) + 1 for stack in lives.stacks),
        "kind": bytes(lives.kinds),
        "place": varints(_deltas(lives.places)),
        "time": varints(_deltas(_times(history.trace, lives))),
        "back": varints(_backward(lives)),
        "range_address": varints(_deltas((each.address - base) // unit for each in ranges)),
        "range_size": varints(max(0, each.end - each.address) for each in ranges),
        "range_kind": varints(kinds.index(_kind(each)) for each in ranges),
        "failed": varints(_failed(history.trace, lives)),
    }
    return Payload(texts, {name: _base64(column) for name, column in columns.items()}, left_out_below)


def _texts(explanation: Explanation, lives: Lives, left_out_below: int) -> dict[str, Any]:
    line = explanation.timeline
    drawn = (line.places, line.times_us, line.requested, line.allocated, line.reserved) if left_out_below else ()
    return {
        "events": explanation.events,
        "steps": len(lives.kinds),
        "blocks": len(lives.addresses),
        "present": lives.present,
        "has_times": line.times_us != line.places,
        "left_out_below": left_out_below,
        "room": explanation.room,
        "matters": explanation.moment.place,
        "moments": [[moment.name, moment.place] for moment in explanation.moments],
        "timeline": drawn,  # else the script counts it itself, event by event
        "waiting": lives.waiting,
    }


def _kind(each: Range) -> Kind:
    """Free parts of two segments can serve the same requests only where these agree."""
    return str(each.stream % (1 << 64)), each.pool, each.is_small, each.is_expandable


def _stacks(explanation: Explanation, stacks: Sequence[tuple[int, tuple[Frame, ...]]], most: int) -> dict[str, Any]:
    frames: dict[Frame, int] = {}
    lists = [[frames.setdefault(frame, len(frames)) for frame in stack[:most]] for _, stack in stacks]
    return {
        "frames": [one_line(plain(str(frame))) for frame in frames],
        "stacks": lists,
        "cut": [max(0, len(stack) - most) for _, stack in stacks],
        "lines": [one_line(plain(stack_words(explanation, number))) for number, _ in stacks],
    }


def _times(trace: Trace, lives: Lives) -> Iterator[int]:
    times = trace.times_us
    return (times[place] - times[0] for place in lives.places)


def _backward(lives: Lives) -> Iterator[int]:
    """How many blocks ago the freed one was allocated."""
    count = lives.present
    for kind, block in zip(lives.kinds, lives.blocks, strict=True):
        if kind == ALLOC:
            count += 1
        elif kind in (FREE, LET_GO, FREED):
            yield count - block


def _failed(trace: Trace, lives: Lives) -> Iterator[int]:
    for kind, place in zip(lives.kinds, lives.places, strict=True):
        if kind == FAILED:
            yield max(0, trace.sizes[place])
            yield trace.addresses[place]


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _deltas(numbers: Iterable[int]) -> Iterator[int]:
    last = 0
    for number in numbers:
        yield _zigzag(number - last)
        last = number


def varints(numbers: Iterable[int]) -> bytes:
    """LEB128: seven bits a byte, the lowest first."""
    packed = bytearray()
    put = packed.append
    for number in numbers:
        while number > 0x7F:
            put(number & 0x7F | 0x80)
            number >>= 7
        put(number)
    return bytes(packed)


def _base64(column: bytes) -> str:
    return base64.b64encode(zlib.compress(column, 6)).decode()
