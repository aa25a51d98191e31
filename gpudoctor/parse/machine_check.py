"""Machine checks and memory controller errors in the kernel log.

Formats: arch/x86/kernel/cpu/mce/core.c, drivers/edac/edac_mc.c, drivers/edac/mce_amd.c, mm/memory-failure.c,
drivers/firmware/efi/cper.c (errors that the firmware handled first).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gpudoctor.facts.kernel_events import MachineCheck
from gpudoctor.facts.kernel_log import KernelRecord

ANCHORS = ("[Hardware Error]", "EDAC MC", "hardware memory corruption")

_MCE = re.compile(
    r"\[Hardware Error\]: CPU (?P<cpu>\d{1,5}): Machine Check(?: Exception)?: (?P<mcg>[0-9a-f]{1,16}) "
    r"Bank (?P<bank>\d{1,3}):\s{0,40}(?P<status>[0-9a-f]{1,16})?"
)
_AMD = re.compile(
    r"\[Hardware Error\]: CPU:(?P<cpu>\d{1,5}) \([0-9a-f:]{3,12}\) MC(?P<bank>\d{1,3})_STATUS"
    r"\[(?P<flags>[^]]{0,120})\]: (?P<status>0x[0-9a-f]{1,16})"
)
_EDAC = re.compile(
    r"EDAC MC(?P<controller>\d{1,3}): (?P<count>\d{1,9}) (?P<kind>CE|UE) (?P<what>.{0,120}?) on (?P<label>\S{1,80})"
)
_FIRMWARE = re.compile(
    r"\[Hardware Error\]:\s+(?:Error \d+, type: (?P<type>\w+)|section_type: (?P<section>[\w ]{1,40}))"
)
_KILLED = re.compile(r"(?:Sending SIGBUS to|Killing) (?P<process>.{1,64}:\d{1,10}) due to hardware memory corruption")
UNCORRECTED, CONTEXT_CORRUPT = 1 << 61, 1 << 57  # MCi_STATUS.UC and .PCC


def machine_checks(records: Iterable[KernelRecord]) -> Iterator[MachineCheck]:
    seen: set[tuple[str, str | None, float | None]] = set()
    severity = None
    for record in records:
        if "[Hardware Error]" in record.text and (told := _FIRMWARE.search(record.text)):
            if told["type"]:
                severity = told["type"]
            elif severity and told["section"].strip() == "memory error":
                yield MachineCheck(
                    record, "(slot not named)", "dimm", severity != "corrected", severity == "fatal", 1, None, None
                )
        elif "[Hardware Error]" in record.text:
            found = _MCE.search(record.text)
            amd = None if found else _AMD.search(record.text)
            if (check := _of_cpu(record, found) if found else _of_amd(record, amd) if amd else None) is None:
                continue
            event = (check.where, check.status, None if record.at is None else record.at // 2)
            if event not in seen:  # the decoder repeats what the core has printed
                seen.add(event)
                yield check
        elif "hardware memory corruption" in record.text and _KILLED.search(record.text):
            yield MachineCheck(record, "(slot not named)", "dimm", True, False, 1, None, None)
        elif "EDAC MC" in record.text and (edac := _EDAC.search(record.text)):
            bad = edac["kind"] == "UE"
            yield MachineCheck(record, edac["label"], "dimm", bad, False, int(edac["count"]), None, None)


def _of_cpu(record: KernelRecord, found: re.Match[str]) -> MachineCheck:
    return _check(record, found, int(found["status"], 16) if found["status"] else None)


def _of_amd(record: KernelRecord, found: re.Match[str]) -> MachineCheck:
    return _check(record, found, int(found["status"], 16))


def _check(record: KernelRecord, found: re.Match[str], status: int | None) -> MachineCheck:
    return MachineCheck(
        record,
        f"CPU {int(found['cpu'])}",
        "cpu",
        None if status is None else bool(status & UNCORRECTED),
        bool((status or 0) & CONTEXT_CORRUPT),
        1,
        found["bank"],
        f"{status:#018x}" if status is not None else None,
    )
