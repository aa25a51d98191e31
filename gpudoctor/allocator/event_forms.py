"""The bytes of events that are written like one seen before: all of an event in one match instead of twenty opcodes.

Only as Python's pickle writes them since protocol 4: keys that it wrote before are numbers in its memo, and stay so.
"""

from __future__ import annotations

import re

import msgspec

_GET = rb"h.|j.{4}"
_NUMBER = rb"K.|M..|J.{4}|\x8a(?:\x04.{4}|\x05.{5}|\x06.{6}|\x07.{7}|\x08.{8})"
_TEXT = rb"\x8c(?:" + rb"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(64)) + rb")\x94"
_POOL = rb"(?:K.|M..|J.{4}){2}\x86\x94"
_FRAMES = rb"\]\x94\((?:h.|j.{4})+e"
_NUMBERS = ("addr", "device_free", "size", "stream", "time_us")
_PATTERNS = {"action": _GET, "frames": _GET + rb"|" + _FRAMES, "pool_id": _GET + rb"|" + _POOL}
_PATTERNS.update(dict.fromkeys(_NUMBERS, _NUMBER))
_OTHER = _GET + rb"|" + _TEXT
_ANY_GET = re.compile(_GET, re.DOTALL)
_START = b"}\x94("
_END = ord("u")


class EventForm(msgspec.Struct, frozen=True):
    """`pattern` has a group for each key's value; the others say which group, -1 where there is none."""

    pattern: re.Pattern[bytes]
    action: int
    address: int
    size: int
    stream: int
    time: int
    frames: int
    pool: int
    others: tuple[int, ...]  # all that are neither the action nor a number


def event_form(written: bytes, texts: dict[bytes, str]) -> EventForm | None:
    """Of one event's bytes; None where it is written in another way. `texts`: what the gets in it stand for."""
    if not written.startswith(_START):
        return None
    pattern, position, keys = re.escape(_START), len(_START), []
    while position < len(written) - 1:
        get = _ANY_GET.match(written, position)
        key = texts.get(get[0]) if get else None
        if get is None or key is None:
            return None
        value_pattern = _PATTERNS.get(key, _OTHER)
        value = re.compile(value_pattern, re.DOTALL).match(written, get.end())
        if value is None:
            return None
        keys.append(key)
        pattern += re.escape(get[0]) + rb"(" + value_pattern + rb")"
        position = value.end()
    if written[position:] != b"u" or "action" not in keys or len(set(keys)) < len(keys):
        return None

    def group(*names: str) -> int:
        return next((keys.index(name) for name in names if name in keys), -1)

    return EventForm(
        pattern=re.compile(pattern + b"u", re.DOTALL),
        action=group("action"),
        address=group("addr", "device_free"),
        size=group("size"),
        stream=group("stream"),
        time=group("time_us"),
        frames=group("frames"),
        pool=group("pool_id"),
        others=tuple(place for place, key in enumerate(keys) if key != "action" and key not in _NUMBERS),
    )
