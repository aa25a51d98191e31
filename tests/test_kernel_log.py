"""A kernel log as a whole: what is kept, where the boot begins, and where the log comes from."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.collect.kernel_log import JOURNAL, kernel_log
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.facts.machine import Machine
from gpudoctor.node.archive import Archive, Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.surface import Output
from gpudoctor.parse.kernel_log import parse_kernel_log
from gpudoctor.unread import Gap, Unread

XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
BOOT = "Linux version 6.8.0-45-generic (buildd@lcy02) #45-Ubuntu SMP"


def parsed(*lines: str, **options: Any) -> KernelLog:
    return parse_kernel_log("\n".join(lines).encode(), source="test", **options)


def test_other_lines_are_left_out() -> None:
    log = parsed("[ 1.0] usb 1-1: new device", f"[ 2.0] {XID}", "[ 3.0] EXT4-fs: mounted")
    assert [(r.line, r.at) for r in log.records] == [(2, 2.0)]
    assert [e.xid for e in log.xids] == [79]


def test_only_since_the_last_boot() -> None:
    log = parsed(f"[ 900.0] {XID}", f"[    0.000000] {BOOT}", "[ 9.0] nvidia: loading")
    assert (log.xids, log.begins_at_boot) == ((), True)


def test_a_clock_that_starts_over_is_a_boot() -> None:
    assert parsed(f"[ 900.0] {XID}", "[ 5.0] NVRM: hello").xids == ()
    assert len(parsed(f"[ 900.0] {XID}", "[ 899.5] NVRM: hello").xids) == 1


def test_an_overwritten_ring() -> None:
    assert not parsed("4,9000,81233402111,-;NVRM: x").begins_at_boot


def test_broken_lines_are_joined() -> None:
    log = parsed(
        "[ 2.0] NVRM: Xid (PCI:0000:3b:00): 31, pid=1234,",
        "name=python, Ch 0000000a",
        "[ 3.0] NVRM: Xid (PCI:0000:",
        "4c:00): 79, GPU has fallen off the bus.",
        "some words of the poster",
    )
    assert [(e.bus_id, e.xid, e.process) for e in log.xids] == [
        ("0000:3b:00.0", 31, "python"),
        ("0000:4c:00.0", 79, None),
    ]


def test_a_whole_line_takes_nothing_from_the_next() -> None:
    log = parsed(f"[ 2.0] {XID}", "what should I do, (please", "[ 4.0] NVRM: Xid (PCI:0000:4c:00): 62, a")
    assert [e.detail for e in log.xids] == ["GPU has fallen off the bus.", "a"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (nixbld@)", "580.159.04"),
        ("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.161.08  Tue Mar  5 22:42:15 UTC 2024", "535.161.08"),
        ("NVRM: loading NVIDIA UNIX aarch64 Kernel Module  550.90  Tue Mar  5 22:42:15 UTC 2024", "550.90"),
    ],
)
def test_the_module_is_loaded(line: str, version: str) -> None:
    log = parsed(f"[ 9.0] {line}")
    assert log.driver_version == version
    assert [(r.bus_id, r.how) for r in log.resets] == [(None, "module loaded")]


def test_a_recovery_action_taken_back_is_a_reset() -> None:
    log = parsed("[ 9.0] NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed from 0x1 (Reset) to 0x0 (None)")
    assert [(r.bus_id, r.how) for r in log.resets] == [("0000:3b:00.0", "recovery action cleared")]


def test_since() -> None:
    log = parsed(f"[ 10.0] {XID}", f"[ 20.0] {XID}", booted=1000.0)
    assert [e.record.at for e in log.since(1015.0).xids] == [1020.0]
    assert [e.record.at for e in parsed(f"[ 10.0] {XID}", f"[ 20.0] {XID}", booted=1000.0, since=1015.0).xids] == [
        1020.0
    ]


def test_two_clocks_are_not_mixed() -> None:
    log = parsed(f"2026-03-09T04:11:52+00:00 a kernel: {XID}", f"[ 20.0] {XID}")
    assert [r.at is None for r in log.records] == [False, True]


def test_a_storm_is_bounded_and_fast() -> None:
    text = (f"[ 20.0] {XID}\n" * 150_000).encode()
    start = time.perf_counter()
    log = parse_kernel_log(text, source="storm")
    assert time.perf_counter() - start < 15
    assert (len(log.records), log.dropped) == (100_000, 50_000)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    parse_kernel_log(data + b"\nNVRM: Xid (" + data, source="any", now=1795225800.0)


@given(
    st.lists(
        st.sampled_from([XID, XID[:30], BOOT, "[ 1.0] ", "[ 900.0] ", "\n", "NVRM: loading ", "\0", "> "]), max_size=40
    )
)
def test_any_pieces(pieces: list[str]) -> None:
    log = parse_kernel_log("".join(pieces).encode(), source="any")
    assert all(e.xid == 79 for e in log.xids)


def node(**surfaces: Any) -> RecordedNode:
    absent: dict[Key, Any] = {("file", "/dev/kmsg"): Unread(Gap.DENIED, "/dev/kmsg", "Operation not permitted")}
    return RecordedNode(Archive(surfaces={**absent, **surfaces.pop("held", {})}), "test")


def machine(booted: float = 1773029000.0) -> Machine:
    return Machine("linux", "a", "6.8", None, False, 0, booted + 9000, booted)


def test_kmsg_comes_first() -> None:
    log = kernel_log(node(held={("file", "/dev/kmsg"): f"3,1,2500000,-;{XID}\n".encode()}), machine(1000.0))
    assert isinstance(log, KernelLog)
    assert (log.origin, log.xids[0].record.at) == ("/dev/kmsg", 1002.5)


def test_an_overwritten_ring_gives_way_to_a_whole_journal() -> None:
    ring = b"3,9000,81233402111,-;NVRM: late\n"
    whole = f"-- Logs begin at Mon --\n1773029000.1 a kernel: {BOOT}\n1773029512.1 a kernel: {XID}\n".encode()
    part = f"1773029512.1 a kernel: {XID}\n".encode()
    for said, origin in ((whole, "journal"), (part, "/dev/kmsg")):
        held = {("file", "/dev/kmsg"): ring, ("run", " ".join(JOURNAL)): Output(0, said, b"")}
        log = kernel_log(node(held=held), machine())
        assert isinstance(log, KernelLog)
        assert log.origin == origin


def test_then_the_journal() -> None:
    said = f"-- Boot 1 --\n1773029512.104511 a kernel: {XID}\n".encode()
    log = kernel_log(node(held={("run", " ".join(JOURNAL)): Output(0, said, b"")}), machine())
    assert isinstance(log, KernelLog)
    assert (log.origin, len(log.xids)) == ("journal", 1)


def test_then_syslog_back_to_the_boot() -> None:
    held = {
        ("file", "/var/log/kern.log"): f"2026-03-09T05:00:00+00:00 a kernel: {XID}\n".encode(),
        ("file", "/var/log/kern.log.1"): f"2026-03-09T04:20:00+00:00 a kernel: {XID}\n".encode(),
        ("file", "/var/log/kern.log.2.gz"): gzip.compress(f"2026-03-09T03:20:00+00:00 a kernel: {XID}\n".encode()),
        ("dir", "/var/log"): ("kern.log", "kern.log.1", "kern.log.2.gz", "syslog"),
    }
    log = kernel_log(node(held=held), machine())
    assert isinstance(log, KernelLog)
    assert log.origin == "/var/log/kern.log"
    assert [e.record.time for e in log.xids] == ["2026-03-09T04:20:00+00:00", "2026-03-09T05:00:00+00:00"]


def test_a_spoiled_archive_is_left_out() -> None:
    held = {
        ("file", "/var/log/messages"): f"2026-03-09T05:00:00+00:00 a kernel: {XID}\n".encode(),
        ("file", "/var/log/messages-20260301.gz"): b"\x1f\x8b not gzip",
        ("dir", "/var/log"): ("messages", "messages-20260301.gz"),
    }
    log = kernel_log(node(held=held), machine())
    assert isinstance(log, KernelLog)
    assert len(log.xids) == 1


@pytest.mark.parametrize("kmsg", [Unread(Gap.DENIED, "/dev/kmsg", "Operation not permitted"), b"", b"\n"])
def test_a_log_that_cannot_be_read_is_not_a_well_node(kmsg: Any) -> None:
    held = {("file", "/dev/kmsg"): kmsg, ("file", "/proc/sys/kernel/dmesg_restrict"): b"1\n"}
    gap = kernel_log(node(held=held), machine())
    assert isinstance(gap, Unread)
    assert "kernel.dmesg_restrict is 1" in str(gap)
    assert "CAP_SYSLOG" in str(gap)


def test_an_empty_journal_is_not_a_well_node() -> None:
    gap = kernel_log(node(held={("run", " ".join(JOURNAL)): Output(0, b"-- No entries --\n", b"")}), machine())
    assert isinstance(gap, Unread)


def test_prefix_of_dmesg_for_humans_and_of_talos_is_no_message() -> None:
    human = b"[Oct25 10:22] Linux version 6.17.5\n[  +1.004813] NVRM: Xid (PCI:0000:61:00): 45, pid=7, name=a, Ch 1\n"
    assert [r.text[:4] for r in parse_kernel_log(human, source="dmesg -H").records] == ["Linu", "NVRM"]
    talos = b"192.0.2.7: kern: warning: [2026-04-22T21:27:51.291660856Z]: NVRM: Xid (PCI:0000:61:00): 45, pid=7\n"
    record = parse_kernel_log(talos, source="talos").records[0]
    assert record.text.startswith("NVRM: Xid")
    assert record.at is not None
    assert record.at > 1e9


def test_seconds_since_the_boot_are_shown_as_the_instant_where_the_boots_is_known() -> None:
    line = b"[   25.210238] NVRM: Xid (PCI:0000:00:06): 31, pid=454, name=bad, Ch 3\n"
    assert parse_kernel_log(line, source="t", booted=1_763_700_000.0).xids[0].record.time == "2025-11-21T04:40:25Z"
    assert parse_kernel_log(line, source="t").xids[0].record.time == "25.210238"
    unix = b"1763700025.210238 gpu-a17 kernel: NVRM: Xid (PCI:0000:00:06): 31, pid=454, name=bad, Ch 3\n"
    assert parse_kernel_log(unix, source="t").xids[0].record.time == "2025-11-21T04:40:25Z"
    printed = b"[Fri Nov 21 04:40:25 2025] NVRM: Xid (PCI:0000:00:06): 31, pid=454, name=bad, Ch 3\n"
    assert parse_kernel_log(printed, source="t").xids[0].record.time == "Fri Nov 21 04:40:25 2025"
