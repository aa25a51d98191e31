"""Asks NVML about every GPU in one batch and types what comes back. An answer of another shape is malformed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gpudoctor.facts.gpu import Gpu
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread

T = TypeVar("T")
Question = tuple[Any, ...]  # an NVML function, then its arguments after the handle
Answers = Mapping[str, Reading[Any]]

_GAPS = {3: Gap.UNSUPPORTED, 13: Gap.UNSUPPORTED, 2: Gap.UNSUPPORTED, 4: Gap.DENIED, 15: Gap.LOST}  # nvmlReturn_t
_NAMES = {
    2: "NVML_ERROR_INVALID_ARGUMENT",
    999: "NVML_ERROR_UNKNOWN",
    3: "NVML_ERROR_NOT_SUPPORTED",
    4: "NVML_ERROR_NO_PERMISSION",
}
_NOT_A_VALUE = 0xFFFF_FFFF_FFFF_FFFF


def ask(
    node: Node, gpus: Iterable[Gpu], questions: Mapping[str, Question], sample: int = 0
) -> list[tuple[Gpu, Answers]]:
    """The answers of each NVIDIA GPU that NVML lists, by the questions' names."""
    asked = [gpu for gpu in gpus if gpu.vendor == "nvidia" and gpu.index is not None]
    calls = [NvmlCall(q[0], gpu.index, tuple(q[1:]), sample) for gpu in asked for q in questions.values()]
    answers = iter(node.nvml(calls) if calls else ())
    return [(gpu, {name: next(answers) for name in questions}) for gpu in asked]


def integer(reading: Reading[Any]) -> Reading[int]:
    if isinstance(reading, Unread) or (isinstance(reading, int) and not isinstance(reading, bool)):
        return reading
    return malformed(reading)


def flag(reading: Reading[Any]) -> Reading[bool]:
    read = integer(reading)
    return read if isinstance(read, Unread) else bool(read)


def text(reading: Reading[Any]) -> Reading[str]:
    return reading if isinstance(reading, (Unread, str)) else malformed(reading)


def item(reading: Reading[Any], key: str | int) -> Reading[int]:
    """A number inside of a struct or tuple."""
    if isinstance(reading, Unread):
        return reading
    try:
        return integer(reading[key])
    except (KeyError, IndexError, TypeError):
        return malformed(reading)


def scaled(reading: Reading[int], factor: float) -> Reading[float]:
    return reading if isinstance(reading, Unread) else round(reading * factor, 3)


def fields(reading: Reading[Any], names: Sequence[str]) -> dict[str, Reading[int]]:
    """The answer of nvmlDeviceGetFieldValues: one [field, nvmlReturn_t, value] for each field asked."""
    if isinstance(reading, Unread):
        return dict.fromkeys(names, reading)
    rows = list(reading) if isinstance(reading, (list, tuple)) else []
    if len(rows) != len(names):
        return {name: malformed(reading) for name in names}
    return {name: _field(name, row) for name, row in zip(names, rows, strict=True)}


def _field(name: str, row: Any) -> Reading[int]:
    code, value = item(row, 1), item(row, 2)
    if isinstance(code, Unread):
        return code
    if code != 0:
        return Unread(_GAPS.get(code, Gap.MALFORMED), name, _NAMES.get(code, f"NVML error {code}"))
    return Unread(Gap.UNSUPPORTED, name, "holds no value") if value == _NOT_A_VALUE else value


def signed(reading: Reading[int]) -> Reading[int]:
    """Margins below zero come in an unsigned field."""
    if isinstance(reading, Unread) or reading < 1 << 31:
        return reading
    return reading - (1 << 32) if reading < 1 << 32 else reading - (1 << 64)


def first(*readings: Reading[T]) -> Reading[T]:
    """The first that is known: an interface may be absent where an older one answers."""
    return next((r for r in readings if not isinstance(r, Unread)), readings[0])


def release(driver: Reading[str]) -> tuple[int, ...]:
    """580.159.04 -> (580, 159, 4); () where it is unknown or written otherwise."""
    parts = driver.split(".") if isinstance(driver, str) else []
    return tuple(map(int, parts)) if all(p.isascii() and p.isdigit() for p in parts) else ()


def malformed(answer: object) -> Unread:
    return Unread(Gap.MALFORMED, "NVML", f"answered {str(answer)[:80]!r}")
