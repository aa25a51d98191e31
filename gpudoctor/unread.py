"""Why a value is missing. Absence is a value with a reason, never zero and never green."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar, Union, cast

T = TypeVar("T")


class Gap(str, Enum):
    ABSENT = "absent"  # the surface does not exist on this machine
    DENIED = "denied"  # it exists, and this user may not read it
    TIMED_OUT = "timed out"  # it did not answer within its deadline
    CRASHED = "crashed"  # reading it killed the process that read it
    LOST = "lost"  # the device behind it is gone
    UNSUPPORTED = "unsupported"  # this device or driver version does not offer it
    MALFORMED = "malformed"  # it answered something nobody can read
    NOT_RECORDED = "not recorded"  # the recording does not hold it

    def __str__(self) -> str:
        return self.value


class Unread(Exception):
    """A value that is not known: what kind of gap, where, and what would help.

    It is stored in facts in place of the value, and raised by whoever touches the value.
    """

    def __init__(self, gap: Gap, where: str, detail: str = "", remedy: str = "") -> None:
        super().__init__(gap, where, detail, remedy)
        self.gap = gap
        self.where = where
        self.detail = detail
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.detail or self.gap}"
        return f"{text} ({self.remedy})" if self.remedy else text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unread) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


Reading = Union[T, Unread]


def hold(reading: Reading[T]) -> T:
    """Type a reading as its value, so that it can be stored in a fact; the fact raises on access."""
    return cast(T, reading)


def required(reading: Reading[T]) -> T:
    """The value; raises the gap where there is none, for what can do nothing without it."""
    if isinstance(reading, Unread):
        raise reading
    return reading


def known(reading: Reading[T], otherwise: T) -> T:
    """The value, or a stand-in where the caller has a true one for the gap."""
    return otherwise if isinstance(reading, Unread) else reading
