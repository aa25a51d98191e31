"""What Xids mean together: rows for every number, authority, order, and a storm that stays cheap."""

from __future__ import annotations

import time
from functools import cache

import pytest
from gpudoctor_checks.kernel.xid_history import xid_table
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.catalog import Catalog
from gpudoctor.diagnosis import Diagnosis, diagnose
from gpudoctor.examine import Found, examine
from gpudoctor.facts.fact import Facts
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.facts.pci import Inventory
from gpudoctor.knowledge import UnknownCode
from gpudoctor.layer import Layer
from gpudoctor.parse.kernel_log import parse_kernel_log

LOADED = "[    5.0] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build\n"


@cache
def catalog() -> Catalog:
    return Catalog.installed()


def diagnosis(text: str) -> Diagnosis:
    log = parse_kernel_log(text.encode(), source="test")
    held = {KernelLog, Inventory}
    known = [c for c in catalog().checks([Layer.KERNEL]) if ".xid" in c.function.__module__]
    checks = [check for check in known if {w.kind for w in check.wants if not w.optional} <= held]
    examined = examine(
        Facts({KernelLog: log, Inventory: Inventory(gpu_indices={}, devices={})}), checks, catalog().knowledge
    )
    assert [o.reason for o in examined.outcomes if o.gap] == []
    return diagnose(examined.found)


def found(text: str, code: str) -> Found:
    return next(f for f in diagnosis(text).findings if f.code == code)


@pytest.mark.parametrize("xid", range(1, 180))
def test_every_number_has_a_row(xid: int) -> None:
    row = catalog().knowledge.row(f"XID_{xid}")
    assert row.fix
    assert "{xid}" not in row.title + row.why
    assert "{means}" not in row.title + row.why


@pytest.mark.parametrize("code", ["XID_", "XID_x", "XID_0", "XID_100000", "XID_-1", "SXID_abc"])
def test_what_is_no_code(code: str) -> None:
    with pytest.raises(UnknownCode):
        catalog().knowledge.row(code)


def test_written_rows_keep_what_the_table_says_of_consequences() -> None:
    for xid, entry in xid_table().items():
        row = catalog().knowledge.row(f"XID_{xid}", Layer.KERNEL)
        assert {f"XID_{cause}" for cause in entry.get("follows", ())} <= set(row.explained_by), xid


@pytest.mark.parametrize(
    ("driver", "words", "severity"),
    [
        ("570.124.06", "0x00000021 0x00000002", "critical"),
        ("580.95.05", "0x00000001 0x00000002", "critical"),
        ("570.124.06", "0x00000021 0x00000001", "info"),
        ("580.95.05", "0x00000001 0x00000001", "info"),
        ("570.124.06", "0x00000001 0x00000001", "warning"),  # the newer meaning does not hold for the older driver
    ],
)
def test_nvlink5_words_mean_another_thing_since_r575(driver: str, words: str, severity: str) -> None:
    text = (
        LOADED.format(driver) + f"[ 9.0] NVRM: Xid (PCI:0000:3b:00): 144, SAW_MVB Nonfatal XC0 i0 Link 00 ({words})\n"
    )
    assert str(found(text, "XID_144").severity) == severity


@pytest.mark.parametrize(
    ("after", "action", "severity"),
    [
        ("0x1 (GPU Reset Required)", "reset_gpu", "critical"),
        ("0x1 (PF FLR)", "reset_gpu", "critical"),
        ("0x2 (OS Reboot)", "reboot", "critical"),
        ("0x3 (Drain P2P)", "drain_p2p", "error"),
        ("0x4 (Drain and Reset)", "drain_and_reset", "warning"),
        ("0x9 (Something New)", "unknown", "warning"),
    ],
)
def test_the_driver_has_the_last_word(after: str, action: str, severity: str) -> None:
    text = (
        "[ 9.0] NVRM: Xid (PCI:0000:3b:00): 63, Row Remapper: New row marked for remapping, reset gpu to activate.\n"
        f"[ 9.1] NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed from 0x0 (None) to {after}\n"
    )
    for code in ("XID_63", "XID_154"):
        each = found(text, code)
        assert (each.finding.values["action"], str(each.severity)) == (action, severity)


def test_an_application_fault_is_not_graver_for_a_neighbours_reset() -> None:
    text = (
        "[ 9.0] NVRM: Xid (PCI:0000:3b:00): 31, pid=5, name=job, Ch 3\n"
        "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (Reset)\n"
    )
    assert str(found(text, "XID_31").severity) == "warning"


def test_a_cause_is_not_later_than_its_consequence() -> None:
    text = (
        "[ 9.0] NVRM: Xid (PCI:0000:3b:00): 45, pid=5, name=job, Ch 3\n[ 60.0] NVRM: Xid (PCI:0000:3b:00): 79, lost\n"
    )
    seen = diagnosis(text)
    assert {seen.findings[i].code for i in seen.roots} == {"XID_79", "XID_45"}


def test_only_the_events_that_stand_on_their_own_are_told() -> None:
    text = (
        "[ 26.033] NVRM: Xid (PCI:0000:3b:00): 13, Graphics SM Warp Exception on (GPC 1, TPC 4, SM 0): x\n"
        "[ 26.036] NVRM: Xid (PCI:0000:3b:00): 13, pid=466, name=a, Graphics Exception: channel 0x0000000a\n"
        "[ 27.232] NVRM: Xid (PCI:0000:3b:00): 43, pid=478, name=b, channel 0x0000000a\n"
        "[ 29.209] NVRM: Xid (PCI:0000:3b:00): 13, Graphics SM Warp Exception on (GPC 1, TPC 4, SM 0): y\n"
        "[ 29.213] NVRM: Xid (PCI:0000:3b:00): 43, pid=506, name=c, channel 0x0000000a\n"
    )
    values = found(text, "XID_43").finding.values
    assert (values["processes"], values["count"], values["consequences"]) == (("b (pid 478)",), 1, 1)


def test_the_other_ranks_of_a_job_end_with_the_gpu_that_failed() -> None:
    lost = "[  100.0] NVRM: Xid (PCI:0000:18:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
    ended = "[  {}] NVRM: Xid (PCI:0000:19:00): 45, pid=11, name=python3, Ch 00000008\n"
    assert [f.code for f in _roots(lost + ended.format("103.0"))] == ["XID_79"]
    assert [f.code for f in _roots(lost + ended.format("903.0"))] == ["XID_79", "XID_45"]
    repaired = "[  100.0] NVRM: Xid (PCI:0000:18:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row\n"
    assert "XID_45" in [f.code for f in _roots(repaired + ended.format("103.0"))]


def _roots(text: str) -> list[Found]:
    told = diagnosis(text)
    return [told.findings[i] for i in told.roots]


def test_an_overwritten_ring_without_xids_is_not_clear() -> None:
    checks = [check for check in catalog().checks([Layer.KERNEL]) if check.name == "XID_*"]
    log = parse_kernel_log(b"3,9000,81233402111,-;NVRM: late\n", source="/dev/kmsg")
    examined = examine(
        Facts({KernelLog: log, Inventory: Inventory(gpu_indices={}, devices={})}), checks, catalog().knowledge
    )
    assert [o.outcome for o in examined.outcomes] == ["could_not_tell"]
    assert "overwritten" in str(examined.outcomes[0].reason)


def test_a_log_without_times_keeps_its_order() -> None:
    text = "NVRM: Xid (PCI:0000:3b:00): 79, lost\nNVRM: Xid (PCI:0000:3b:00): 45, pid=5, name=job, Ch 3\n"
    seen = diagnosis(text)
    assert [seen.findings[i].code for i in seen.roots] == ["XID_79"]


def test_a_storm_of_many_processes_stays_cheap() -> None:
    lines = [
        f"[ {100 + i / 50:.6f}] NVRM: Xid (PCI:0000:3b:00): 31, pid={i}, name=p{i % 7}, Ch 3" for i in range(10_000)
    ]
    lines += [
        f"[ {101 + i / 50:.6f}] NVRM: Xid (PCI:0000:3b:00): 45, pid={i}, name=p{i % 7}, Ch 3" for i in range(10_000)
    ]
    start = time.perf_counter()
    seen = diagnosis("\n".join(lines))
    assert time.perf_counter() - start < 10
    assert {f.finding.values["count"] for f in seen.findings if f.code.startswith("XID_31")} == {10_000}


XIDS = st.builds(
    lambda at, bus, xid, pid: f"[ {at}.0] NVRM: Xid (PCI:0000:{bus}:00): {xid}, pid={pid}, name=p{pid}, text",
    st.integers(0, 300),
    st.sampled_from(["3b", "4c"]),
    st.sampled_from([*range(1, 180), 999, 99999]),
    st.integers(1, 4),
)


@given(st.lists(XIDS, max_size=30))
def test_any_mixture_has_a_root(lines: list[str]) -> None:
    seen = diagnosis("[ 0.0] NVRM: hello\n" + "\n".join(sorted(lines, key=lambda line: float(line[2:].split("]")[0]))))
    assert bool(seen.roots) == bool(seen.findings)


@pytest.mark.parametrize("xid", [13, 31, 32, 38, 44, 48, 63, 68, 69, 92, 94, 121, 137, 151, 154, 157, 158])
def test_what_nvidia_has_an_action_for_is_not_called_unknown(xid: int) -> None:
    first = catalog().knowledge.row(f"XID_{xid}").fix[0].do
    assert "Nothing published" not in first


def test_who_was_hit_by_a_contained_memory_error_has_nothing_to_debug() -> None:
    line = "[ 9.0] NVRM: Xid (PCI:0000:3b:00): 94, pid=5, name=job, Contained: SM (0x1). RST: No, D-RST: No\n"
    each = found(line, "XID_94")
    assert each.finding.values["action"] == "restart_app"
    told = " ".join(fix.do + (fix.command or "") for fix in each.row.fixes(each.finding.values))
    assert "checkpoint" in told
    assert "sanitizer" not in told


def test_one_contained_error_does_not_excuse_another_of_days_before() -> None:
    error = "[{}] NVRM: Xid (PCI:0000:3b:00): 48, pid=5, name=job, DBE (double bit error) ECC Error\n"
    contained = "[ 9.5] NVRM: Xid (PCI:0000:3b:00): 94, pid=5, name=job, Contained: SM (0x1)\n"
    assert found(error.format(" 9.0") + contained, "XID_48").finding.values["action"] == "drain_and_reset"
    days = contained + error.format("260000.0")
    assert found(days, "XID_48").finding.values["action"] == "reset_gpu"


@pytest.mark.parametrize("crash", ["99.0", "100.3"])
def test_a_crash_of_the_gsp_is_why_it_does_not_answer(crash: str) -> None:
    silent = "[{}] NVRM: Xid (PCI:0000:3b:00): 119, pid=5, name=job, Timeout after 45s of waiting for RPC response\n"
    text = silent.format("100.0") + silent.format("4000.0")
    text += f"[{crash}] NVRM: Xid (PCI:0000:3b:00): 120, GSP task exception: load access page fault (cause:0xd)\n"
    assert [f.code for f in _roots(text)] == ["XID_120"]
