"""Every prefix that people's kernel logs carry is read off, and no line breaks the reader."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.parse.log_line import LineReader

NOW = 1795225800.0  # 2026-11-21 01:50 UTC
AT = 1795225797.0  # 2026-11-21 01:49:57 UTC
TEXT = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."


@pytest.mark.parametrize(
    ("prefix", "at", "host"),
    [
        ("6,220,104220,-;", 0.10422, None),
        ("3,220,104220,-,caller=T12;", 0.10422, None),
        ("[   25.210230] ", 25.21023, None),
        ("[   25.210230][ T1946] ", 25.21023, None),
        ("[   25.210230] [    C3] ", 25.21023, None),
        ("[Sat Nov 21 01:49:57 2026] ", AT, None),
        ("2026-11-21T01:49:57,123456+00:00 ", AT + 0.123456, None),
        ("2026-11-21T02:49:57+0100 gpu-a kernel: ", AT, "gpu-a"),
        ("2026-11-21T01:49:57.500000+00:00 gpu-a kernel: [ 9021.104511] ", AT + 0.5, "gpu-a"),
        ("Sat 2026-11-21 01:49:57 UTC gpu-a kernel: ", AT, "gpu-a"),
        ("kern  :warn  : [   25.210230] ", 25.21023, None),
        ("Nov 21 01:49:57 gpu-a kernel: ", AT, "gpu-a"),
        ("Nov 21 01:49:57 gpu-a kernel: [ 9021.104511] ", AT, "gpu-a"),
        ("Nov 21 01:49:57.250000 gpu-a kernel: ", AT + 0.25, "gpu-a"),
        ("Nov  1 01:49:57 gpu-a kernel: ", AT - 20 * 86400, "gpu-a"),
        ("<3>Nov 21 01:49:57 gpu-a kernel: ", AT, "gpu-a"),
        ("<3>1 2026-11-21T01:49:57.000Z gpu-a kernel - - - ", AT, "gpu-a"),
        ("1795225797.000000 gpu-a kernel: ", AT, "gpu-a"),
        ("[   25.210230] gpu-a kernel: ", 25.21023, "gpu-a"),
        ("2026-11-21T01:49:57.000000000Z ", AT, None),
        ("2026-11-21T01:49:57.000000000Z stdout F [   25.210230] ", AT, None),
        ("> > [   25.210230] ", 25.21023, None),
        ("\x1b[32m[   25.210230] \x1b[0m\x1b[31m", 25.21023, None),
        ("/var/log/syslog:Nov 21 01:49:57 gpu-a kernel: ", AT, "gpu-a"),
        ("", None, None),
    ],
)
def test_a_prefix(prefix: str, at: float | None, host: str | None) -> None:
    line = LineReader(now=NOW).read(prefix + TEXT)
    assert line.message == TEXT
    assert line.host == host
    assert line.at == (None if at is None else pytest.approx(at))


def test_journal_json() -> None:
    line = LineReader().read(
        '{"__REALTIME_TIMESTAMP":"1795225797250000","_HOSTNAME":"gpu-a","MESSAGE":"' + TEXT + '","PRIORITY":"3"}'
    )
    assert (line.message, line.host, line.at, line.dated) == (TEXT, "gpu-a", pytest.approx(AT + 0.25), True)


def test_markup_and_entities() -> None:
    line = LineReader().read("**[   25.210230] NVRM: Xid (PCI:0000:3b:00): 45, pid=&#39;&lt;unknown&gt;&#39;**")
    assert line.message == "NVRM: Xid (PCI:0000:3b:00): 45, pid='<unknown>'"


def test_escapes_of_kmsg() -> None:
    assert LineReader().read(r"3,1,5,-;name=a\x20b").message == "name=a b"


def test_the_clock_of_the_boot_becomes_the_epochs() -> None:
    line = LineReader(booted=1000.0).read("3,1,2500000,-;x")
    assert (line.at, line.dated, line.monotonic) == (1002.5, True, 2.5)


def test_a_subsystems_name_is_no_host() -> None:
    line = LineReader().read("2026-11-21T01:49:57,123456+00:00 nvme nvme0: I/O timeout")
    assert (line.message, line.host) == ("nvme nvme0: I/O timeout", None)


def test_a_daemons_name_stays() -> None:
    assert (
        LineReader(now=NOW).read("Nov 21 01:49:57 gpu-a earlyoom[9]: low memory").message == "earlyoom[9]: low memory"
    )


def test_the_year_turns_within_a_log() -> None:
    reader = LineReader(now=1798938000.0)  # 2027-01-03
    old, new = reader.read("Dec 31 23:59:59 a kernel: x").at, reader.read("Jan  1 00:00:01 a kernel: x").at
    assert old is not None
    assert new is not None
    assert new - old == 2.0
    assert new < 1798938000.0


def test_a_date_is_not_in_the_future() -> None:
    at = LineReader(now=NOW).read("Dec 30 10:00:00 a kernel: x").at
    assert at is not None
    assert at < NOW


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    line = LineReader(now=NOW).read(text)
    assert "\n" not in line.message or "\n" in text


PIECES = st.sampled_from(
    ["[", "]", " ", "6,1,2,-;", "Nov 31 ", "25:61:61 ", "<3>1 ", "kernel: ", "\x1b[", "&lt;", "{", '{"MESSAGE":[300]}']
)


@given(st.lists(PIECES | st.text(max_size=8), max_size=30))
def test_any_pieces_of_prefixes(pieces: list[str]) -> None:
    line = LineReader().read("".join(pieces))
    assert line.at is None or line.at == line.at


@pytest.mark.parametrize("text", ["[ " * 50_000, "> " * 50_000, "Nov " * 50_000, "a" * 1_000_000, "\x1b]" * 50_000])
def test_time_is_linear(text: str) -> None:
    start = time.perf_counter()
    LineReader().read(text)
    assert time.perf_counter() - start < 10, "backtracking takes hours here"
