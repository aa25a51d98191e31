"""What the kernel log says of PCIe, processors, memory and stuck tasks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import Held, collect
from gpudoctor.diagnosis import diagnose
from gpudoctor.examine import Found, examine
from gpudoctor.facts.fact import Fact
from gpudoctor.facts.kernel_log import KernelLog, KernelRecord
from gpudoctor.layer import Layer
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.parse import aer, iommu, machine_check, stalls
from gpudoctor.parse.kernel_log import parse_kernel_log

WORDS = (
    *aer.ANCHORS,
    *iommu.ANCHORS,
    *machine_check.ANCHORS,
    *stalls.ANCHORS,
    "pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0",
    "PCIe Bus Error: severity=Uncorrected (Fatal), type=",
    "CPU 2: Machine Check: 0 Bank 5: ",
    "oom-kill:constraint=CONSTRAINT_MEMCG,pid=",
    "DMAR: [DMA Write] Request device [",
    "\n",
    "0000:41:00.0",
    "99999999999999999999",
)


def records(text: str) -> list[KernelRecord]:
    return [KernelRecord(line, i + 1, 10.0 + i * 0.001, None) for i, line in enumerate(text.strip().splitlines())]


def found_in(text: bytes) -> tuple[Found, ...]:
    """What the checks of the kernel layer find in a log that somebody sent."""
    catalog = Catalog.installed()
    checks = catalog.checks([Layer.KERNEL])
    sent: dict[type[Fact], Held] = {KernelLog: parse_kernel_log(text, source="dmesg.txt")}
    wanted = {kind for check in checks for kind in check.facts}
    facts = collect(RecordedNode(Archive(), "none"), wanted, seconds=10, given=sent)
    return examine(facts, checks, catalog.knowledge).found


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=40)), max_size=12).map("".join), st.booleans())
def test_no_text_crashes_a_parser(text: str, timed: bool) -> None:
    lines = [KernelRecord(t, i + 1, float(i) if timed else None, None) for i, t in enumerate(text.split("\n"))]
    events = [
        *aer.aer_events(lines),
        *aer.link_events(lines),
        *aer.bar_assignments(lines),
        *iommu.iommu_faults(lines),
        *machine_check.machine_checks(lines),
        *stalls.oom_kills(lines),
        *stalls.stalls(lines),
    ]
    assert all(event.record in lines for event in events)
    assert all(bus_id for bus_id, _ in aer.listed_devices(lines))


@pytest.mark.parametrize("word", WORDS)
def test_hostile_text_takes_no_time(word: str) -> None:
    line = (f"{word} " * (16384 // (len(word) + 1) + 1))[:16384]
    lines = [KernelRecord(line, i + 1, 10.0, None) for i in range(20)]
    start = time.process_time()
    for parse in (aer.aer_events, aer.link_events, aer.bar_assignments, iommu.iommu_faults):
        list(parse(lines))
    for judge in (machine_check.machine_checks, stalls.oom_kills, stalls.stalls, aer.listed_devices):
        list(judge(lines))  # type: ignore[operator]
    assert time.process_time() - start < 20, "backtracking takes hours here"


def test_announcement_and_details_are_one_error() -> None:
    (event,) = aer.aer_events(
        records("""
pcieport 0000:40:01.1: AER: Multiple Corrected error received: 0000:41:00.0
nvidia 0000:41:00.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Transmitter ID)
nvidia 0000:41:00.0:   device [10de:2335] error status/mask=00001001/0000e000
nvidia 0000:41:00.0:    [ 0] RxErr                  (First)
nvidia 0000:41:00.0:    [12] Timeout
""")
    )
    assert (event.bus_id, event.port, event.severity) == ("0000:41:00.0", "0000:40:01.1", "corrected")
    assert (event.layer, event.agent, event.driver, event.vendor_id) == ("Data Link", "Transmitter", "nvidia", 0x10DE)
    assert event.errors == ("RxErr", "Timeout")


@pytest.mark.parametrize(
    ("line", "severity", "bus_id"),
    [
        (
            "pcieport 0000:40:01.1: AER: Correctable error message received from 0000:41:00.0",
            "corrected",
            "0000:41:00.0",
        ),
        ("pcieport 0000:00:1c.0: AER: Corrected error received: id=00e0", "corrected", "0000:00:1c.0"),
        (
            "pcieport 0000:00:01.0: AER: Uncorrected (Non-Fatal) error received: 0000:01:00.0",
            "nonfatal",
            "0000:01:00.0",
        ),
        (
            "pcieport 0000:00:01.0: AER: Uncorrectable (Fatal) error message received from 0000:01:00.0",
            "fatal",
            "0000:01:00.0",
        ),
        (
            "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, id=00e0(Receiver ID)",
            "corrected",
            "0000:00:1c.0",
        ),
        (
            "nvidia 0000:83:00.0: PCIe Bus Error: severity=Correctable, type=Data Link Layer",
            "corrected",
            "0000:83:00.0",
        ),
        (
            "nvme 0000:02:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Inaccessible, (Unregistered Agent)",
            "fatal",
            "0000:02:00.0",
        ),
    ],
)
def test_every_spelling_of_an_error(line: str, severity: str, bus_id: str) -> None:
    (event,) = aer.aer_events(records(line))
    assert (event.severity, event.bus_id) == (severity, bus_id)


def test_a_recovery_belongs_to_the_error_before_it() -> None:
    text = """
pcieport 0000:40:01.1: AER: Uncorrected (Non-Fatal) error received: 0000:41:00.0
nvidia 0000:41:00.0: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer, (Requester ID)
nvidia 0000:41:00.0:   device [10de:2335] error status/mask=00004000/00400000
nvidia 0000:41:00.0:    [14] CmpltTO                (First)
pcieport 0000:40:01.1: AER: device recovery successful
"""
    assert [event.recovered for event in aer.aer_events(records(text))] == [True]
    assert [event.recovered for event in aer.aer_events(records(text.replace("successful", "failed")))] == [False]


def test_messages_that_only_name_aer() -> None:
    harmless = """
acpi PNP0A08:29: _OSC: platform does not support [SHPCHotplug AER DPC]
pcieport 0000:40:01.1: AER: enabled with IRQ 34
pcieport 0000:40:01.1: DPC: error containment capabilities: Int Msg #0, RPExt+ PoisonedTLP+ SwTrigger+ RP PIO Log 6
pcieport 0000:40:01.1: pciehp: Slot #12 AttnBtn- PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+ Interlock- NoCompl+
"""
    assert not [*aer.aer_events(records(harmless)), *aer.link_events(records(harmless))]


def test_bar_forms_of_old_and_new_kernels() -> None:
    text = """
pci 0000:41:00.0: BAR 1: no space for [mem size 0x2000000000 64bit pref]
pci 0000:41:00.0: BAR 1 [mem size 0x2000000000 64bit pref]: can't assign; no space
pci 0000:41:00.0: BAR 1 [mem 0x24000000000-0x25fffffffff 64bit pref]: assigned
pci 0000:41:00.0: BAR 2 [mem 0x100000000000-0x103fffffffff 64bit pref]
"""
    assert [bar.assigned for bar in aer.bar_assignments(records(text))] == [False, False, True]


def test_machine_check_status_tells_corrected_from_uncorrected() -> None:
    text = """
mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 5: bea0000000000108
mce: [Hardware Error]: CPU 7: Machine Check: 0 Bank 1: 9c2040000000011b
[Hardware Error]: CPU:9 (19:1:1) MC17_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000000011b
mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5:
EDAC MC1: 1 UE memory read error on CPU_SrcID#0_MC#1_Chan#0_DIMM#0 (channel:0 slot:0)
"""
    seen = [(c.where, c.uncorrected) for c in machine_check.machine_checks(records(text))]
    assert seen == [
        ("CPU 2", True),
        ("CPU 7", False),
        ("CPU 9", False),
        ("CPU 3", None),
        ("CPU_SrcID#0_MC#1_Chan#0_DIMM#0", True),
    ]


def test_iommu_forms() -> None:
    text = """
DMAR: [DMA Read NO_PASID] Request device [41:00.0] fault addr 0xf7c00000 [fault reason 0x06] PTE Read access is not set
DMAR:[DMA Write] Request device [04:00.1] fault addr ffe00000 [fault reason 05] PTE Write access is not set
AMD-Vi: Event logged [IO_PAGE_FAULT device=08:00.0 domain=0x002c address=0xfffffffdf8000000 flags=0x0008]
arm-smmu-v3 arm-smmu-v3.5.auto: event: F_TRANSLATION client: 0009:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xfffff000 ipa: 0x0
"""
    faults = list(iommu.iommu_faults(records(text)))
    assert [f.bus_id for f in faults] == ["0000:41:00.0", "0000:04:00.1", "0000:08:00.0", "0009:01:00.0"]
    assert faults[0].reason == "0x06 PTE Read access is not set"
    assert faults[3].address == "0xfffff000"


def test_oom_kill_knows_its_limit() -> None:
    text = """
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),mems_allowed=0-1,oom_memcg=/job,task_memcg=/job/x,task=python3,pid=7,uid=0
Memory cgroup out of memory: Killed process 7 (python3) total-vm:900kB, anon-rss:512kB, shmem-rss:512kB, UID:0
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),mems_allowed=0,global_oom,task_memcg=/user.slice,task=train,pid=8,uid=0
Out of memory: Killed process 8 (train) total-vm:900kB, anon-rss:512kB, file-rss:9kB, shmem-rss:0kB, UID:0
"""
    first, second = stalls.oom_kills(records(text))
    assert (first.pid, first.cgroup, first.cgroup_limited, first.rss_bytes) == (7, "/job", True, 1 << 20)
    assert (second.pid, second.cgroup, second.cgroup_limited) == (8, None, False)


def test_a_hung_task_is_placed_by_its_own_trace() -> None:
    text = """
INFO: task rsync:6120 blocked for more than 122 seconds.
Call Trace:
 nfs_wait_bit_killable+0x11/0x80 [nfs]
INFO: task python3:6121 blocked for more than 122 seconds.
Call Trace:
 os_acquire_rwlock_write+0x3a/0x50 [nvidia]
INFO: task bare:6122 blocked for more than 122 seconds.
"""
    assert [(s.process, s.module, s.traced) for s in stalls.stalls(records(text))] == [
        ("rsync", None, True),
        ("python3", "nvidia", True),
        ("bare", None, False),
    ]


def test_a_task_hangs_for_the_gpu_whose_firmware_is_silent() -> None:
    text = (
        b"[  100.0] NVRM: Xid (PCI:0000:61:00): 119, pid=9, name=a, Timeout after 6s of waiting for RPC response from "
        b"GPU0 GSP! Expected function 76 (GSP_RM_CONTROL) (0x20801702 0x4).\n"
        b"[  230.0] INFO: task nvidia-smi:99 blocked for more than 120 seconds.\n"
        b"[  230.0] Call Trace:\n[  230.0]  os_acquire_mutex+0x3b/0x50 [nvidia]\n"
    )
    told = diagnose(found_in(text))
    assert [told.findings[i].code for i in told.roots] == ["GSP_TIMEOUT"]
    assert "HUNG_TASK" in [f.code for f in told.findings]


def test_a_nonfatal_error_of_a_switch_asks_for_nothing() -> None:
    text = (
        b"[ 11.0] nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error\n"
    )
    (each,) = found_in(text)
    assert (each.code, each.finding.values["action"]) == ("SXID_12028", "none")
