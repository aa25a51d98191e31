"""A counter is read once and weighed since boot, or twice and weighed between the samples."""

from __future__ import annotations

from typing import Any

import pytest

from gpudoctor.collect.sampling import counted
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.unread import Gap, Reading, Unread, hold

SILENT = Unread(Gap.UNSUPPORTED, "counter", "is not kept")
NO_BOOT_TIME = Unread(Gap.DENIED, "/proc/stat", "is closed to this user")
ONCE, TWICE = Sampling(seconds=0.0), Sampling(seconds=2.0)


def machine(booted: Reading[float]) -> Machine:
    unread: dict[str, Any] = dict.fromkeys(Machine.__fact_fields__, NO_BOOT_TIME)
    return Machine(**{**unread, "now": 10_000.0, "booted": hold(booted)})


@pytest.mark.parametrize(
    ("first", "second", "sampling", "expected"),
    [
        (7, None, ONCE, Counted(7, 9_000.0, "boot")),
        (7, 9, TWICE, Counted(2, 2.0, "sample")),
        (9, 7, TWICE, Counted(0, 2.0, "sample")),  # the driver was loaded anew in between
        (SILENT, 9, TWICE, SILENT),
        (7, SILENT, TWICE, SILENT),
    ],
)
def test_what_a_counter_says(
    first: Reading[int], second: Reading[int] | None, sampling: Sampling, expected: Reading[Counted]
) -> None:
    assert counted(first, second, sampling, machine(1_000.0)) == expected


def test_without_the_time_of_the_boot_only_two_samples_say_something() -> None:
    assert counted(7, None, ONCE, machine(NO_BOOT_TIME)) == NO_BOOT_TIME
    assert counted(7, 9, TWICE, machine(NO_BOOT_TIME)) == Counted(2, 2.0, "sample")
