"""Xid and SXid lines in every form that drivers print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.facts.kernel_log import (
    Containment,
    KernelRecord,
    MmuFault,
    Nvlink5Error,
    NvlinkRegisters,
    RecoveryChange,
    SmFault,
    SxidEvent,
    XidEvent,
)
from gpudoctor.parse.sxid import parse_sxid
from gpudoctor.parse.xid import parse_xid


def xid(text: str) -> XidEvent:
    event = parse_xid(KernelRecord(f"NVRM: {text}", 1, None, None))
    assert event is not None
    return event


def sxid(text: str) -> SxidEvent:
    event = parse_sxid(KernelRecord(text, 1, None, None))
    assert event is not None
    return event


@pytest.mark.parametrize(
    ("text", "bus_id", "number", "mig", "pid", "process", "detail"),
    [
        ("Xid (0000:3B:00): 14, Channel 00000001", "0000:3b:00.0", 14, None, None, None, "Channel 00000001"),
        ("Xid (PCI:0000:3b:00): 79, GPU lost", "0000:3b:00.0", 79, None, None, None, "GPU lost"),
        ("Xid (PCI:0000:3b:00): 8, pid=12, Channel 3", "0000:3b:00.0", 8, None, 12, None, "Channel 3"),
        (
            "Xid (PCI:000f:01:00): 31, pid=12, name=a b (x) [1], Ch 3",
            "000f:01:00.0",
            31,
            None,
            12,
            "a b (x) [1]",
            "Ch 3",
        ),
        (
            "Xid (PCI:00000004:3b:00): 45, pid='<unknown>', name=<unknown>, Ch 3",
            "0004:3b:00.0",
            45,
            None,
            None,
            None,
            "Ch 3",
        ),
        ("Xid (PCI:0000:3b:00 GPU-I:05): 94, pid=7194, x", "0000:3b:00.0", 94, "GPU-I:05", 7194, None, "x"),
        (
            "Xid (PCI:0000:3b:00 GPU-I:05 GPU-CI:00): 43, pid=1, name=p, c",
            "0000:3b:00.0",
            43,
            "GPU-I:05 GPU-CI:00",
            1,
            "p",
            "c",
        ),
        ("Xid (PCI:0000:3b:00): 74, pid=<n/a>, name=<unknown>, y", "0000:3b:00.0", 74, None, None, None, "y"),
        ("Xid (PCI:0000:3b:00): 62,", "0000:3b:00.0", 62, None, None, None, ""),
    ],
)
def test_a_form(
    text: str, bus_id: str, number: int, mig: str | None, pid: int | None, process: str | None, detail: str
) -> None:
    event = xid(text)
    assert (event.bus_id, event.xid, event.mig, event.pid, event.process) == (bus_id, number, mig, pid, process)
    assert event.detail == detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "13, Graphics SM Warp Exception on (GPC 1, TPC 4, SM 0): Misaligned Address",
            SmFault(1, 4, 0, "Misaligned Address"),
        ),
        (
            "13, pid=1, name=x, Graphics SM Global Exception on (GPC 6, TPC 2): Multiple Warp Errors",
            SmFault(6, 2, 0, "Multiple Warp Errors"),
        ),
        (
            "31, pid=4, MMU Fault: ENGINE HOST8 HUBCLIENT_HOST faulted @ 0x0_00000000. Fault is of type FAULT_PTE READ",
            MmuFault("HOST8 HUBCLIENT_HOST", 0, "FAULT_PTE", "READ"),
        ),
        (
            "95, pid=1, Uncontained: LTC TAG (0x2,0x1). RST: Yes, D-RST: No",
            Containment(False, "LTC TAG (0x2,0x1)", True, False),
        ),
        ("94, pid=1, name=x, Contained: SM (0x1). RST: No, D-RST: No", Containment(True, "SM (0x1)", False, False)),
        (
            "74, pid='<unknown>', NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)",
            NvlinkRegisters(14, (0, 0, 0x10000, 0, 0, 0, 0)),
        ),
        (
            "149, NETIR_LINK_EVT Fatal XC0 i0 Link -1 (0x016415c6 0x1 0x0)",
            Nvlink5Error("NETIR_LINK_EVT", True, None, 0x016415C6, 1),
        ),
        (
            "145, pid='<unknown>', name=<unknown>, RLW_REMAP Nonfatal XC0 i0 Link 02",
            Nvlink5Error("RLW_REMAP", False, 2, None, None),
        ),
        ("154, GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)", RecoveryChange(0, 2, "OS Reboot")),
    ],
)
def test_what_it_says(text: str, says: object) -> None:
    assert xid(f"Xid (PCI:0000:3b:00): {text}").says == says


@pytest.mark.parametrize(
    ("text", "scheme", "state"),
    [
        ("63, pid=1, Row Remapper: New row marked for remapping, reset gpu to activate.", "row", "pending"),
        ("63, Row Remapper: New row (0x00000001) marked for remapping, reset gpu to activate.", "row", "pending"),
        ("63, Dynamic Page Retirement: New page retired, reboot to activate (0x00bce3f)", "page", "pending"),
        ("64, Row Remapper Error: (0x01) - Row Remapping table is full", "row", "failed"),
        ("64, DRAM Retirement failed due to no spare for retirement at 0x01", "other", "failed"),
        (
            "64, Row Remapper: (0x01) - Attempting to remap a row that is already pending remapping. x",
            "row",
            "already pending",
        ),
    ],
)
def test_remapping(text: str, scheme: str, state: str) -> None:
    says = xid(f"Xid (PCI:0000:3b:00): {text}").says
    assert (getattr(says, "scheme", None), getattr(says, "state", None)) == (scheme, state)


def test_the_driver_names_the_cause() -> None:
    event = xid("Xid (PCI:0000:3b:00): 45, pid=9, name=x, Ch 3 caused by previous Xid 149")
    assert (event.previous, event.detail) == (149, "Ch 3")


@pytest.mark.parametrize(
    "text", ["Xid 79", "Xid: 13", "Started xid-79 watch", "Xid (PCI:zz:00): 1", "Xid (PCI:0000:3b:00): x"]
)
def test_what_is_no_xid(text: str) -> None:
    assert parse_xid(KernelRecord(text, 1, None, None)) is None


def test_sxid() -> None:
    event = sxid("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)")
    assert (event.sxid, event.switch, event.bus_id) == (28006, "nvidia-nvswitch3", "0000:c1:00.0")
    assert (event.fatal, event.link, event.detail) == (False, 46, "MC TS crumbstore MCTO (First)")


def test_sxid_registers() -> None:
    event = sxid(
        "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Severity 0 Engine instance 46 Sub-engine instance 00"
    )
    assert (event.fatal, event.link) == (None, None)


WORDS = st.sampled_from(
    [
        "Xid ",
        "(PCI:0000:3b:00",
        "): ",
        "13, ",
        "74, ",
        "154, ",
        "pid=",
        "name=",
        "link 3(0x",
        "0x0 ",
        "MMU Fault: ENGINE ",
        "faulted @ ",
        "Contained: ",
        "RST: ",
        "SM Warp Exception on (GPC 1, TPC ",
        "SXid ",
        "Fatal, ",
        "Link -1 (",
        "9" * 30,
    ]
)


@given(st.lists(WORDS | st.text(max_size=6), max_size=25))
def test_any_text(pieces: list[str]) -> None:
    record = KernelRecord("Xid (PCI:0000:3b:00): " + "".join(pieces), 1, None, None)
    event = parse_xid(record)
    assert event is None or event.bus_id == "0000:3b:00.0"
    parse_sxid(record)
    parse_xid(KernelRecord("".join(pieces), 1, None, None))
