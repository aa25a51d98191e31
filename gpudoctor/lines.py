"""Rows with `lines:` run as checks: known error lines of the kernel log, grouped by subject."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from gpudoctor.check import Check
from gpudoctor.facts.gpu_health import GpuRecovery
from gpudoctor.facts.kernel_log import KernelLog, KernelRecord, Reset
from gpudoctor.facts.pci import NVIDIA, Inventory, PciDevice, gpu_subject
from gpudoctor.finding import NODE, Finding, Occurrence, Subject
from gpudoctor.knowledge import LinePattern, Row
from gpudoctor.layer import Layer
from gpudoctor.parse.bus_id import normal_bus_id

PASSAGE = 6  # lines that one message of the NVIDIA driver may run over
LOADING_SECONDS = 10.0  # the module probes its GPUs before it prints its load line


class Hit(msgspec.Struct, frozen=True):
    record: KernelRecord
    subject: Subject
    values: Mapping[str, str]
    line: LinePattern


def line_checks(rows: Mapping[str, Row], layer: Layer) -> tuple[Check, ...]:
    """A check for each of the layer's rows that know lines."""
    return tuple(_check(code, row.lines, layer) for code, row in rows.items() if row.lines)


def _check(code: str, patterns: tuple[LinePattern, ...], layer: Layer) -> Check:
    def known_lines(
        log: KernelLog, inventory: Inventory, recoveries: tuple[GpuRecovery, ...] | None
    ) -> Iterator[Finding]:
        yield from findings(code, patterns, log, inventory, recoveries or ())

    known_lines.__module__ = f"{__name__}.{layer}"  # a check's layer is read from its module's path
    return Check((code,), known_lines)


def findings(
    code: str,
    patterns: Sequence[LinePattern],
    log: KernelLog,
    inventory: Inventory,
    recoveries: Sequence[GpuRecovery] = (),
) -> Iterator[Finding]:
    by_subject: dict[str, list[Hit]] = defaultdict(list)
    for hit in _hits(patterns, log.records, inventory):
        if not _healed(hit, log.get("resets", ())) and not _works_now(hit, inventory, recoveries):
            by_subject[hit.subject.id].append(hit)
    if len(by_subject) > 1:  # the same event once more, in a line that does not say of which device
        by_subject.pop(NODE.id, None)
    for hits in by_subject.values():
        yield grouped(code, hits, log)


def grouped(code: str, hits: Sequence[Hit], log: KernelLog) -> Finding:
    first, last = hits[0].record, hits[-1].record
    values: dict[str, Any] = {"count": len(hits), "first": first.time, "last": last.time}
    for hit in hits:
        values = {**hit.values, **values}
    return Finding(
        hits[0].subject,
        code=code,
        evidence=log.excerpt([hit.record for hit in hits]),
        occurrences=[Occurrence(h.record.at, h.values.get("pid")) for h in hits if h.record.at is not None],
        **values,
    )


def _hits(patterns: Sequence[LinePattern], records: Sequence[KernelRecord], inventory: Inventory) -> Iterator[Hit]:
    for i, record in enumerate(records):
        for line in patterns:
            if line.anchor not in record.text:
                continue
            found = match(line, [r.text for r in records[i : i + (PASSAGE if r"\n" in line.pattern else 1)]])
            subject = _subject(line, found, inventory) if found else None
            if found and subject:
                values = {name: text for name, text in found.groupdict().items() if text is not None}
                yield Hit(record, subject, values, line)
                break


def match(line: LinePattern, texts: Sequence[str]) -> re.Match[str] | None:
    """Where the pattern begins on the first of these lines and nothing makes it harmless."""
    found = _compiled(line.pattern).search("\n".join(texts))
    if found is None or found.start() > len(texts[0]):
        return None
    return None if any(_compiled(harmless).search(texts[0]) for harmless in line.unless) else found


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _subject(line: LinePattern, found: re.Match[str], inventory: Inventory) -> Subject | None:
    """None where the line is about another device than the row."""
    if line.subject == "node":
        return NODE
    groups = found.groupdict()
    bus_id = normal_bus_id(groups.get("bus_id") or "") or _of_gpu_id(groups.get("gpu_id"))
    if bus_id is None:
        return NODE
    subject = inventory.subject(bus_id)
    if line.subject == "gpu" and subject.kind != "gpu":
        # The bus may be unknown (a pasted log) or the device gone from it: the driver calls it a GPU.
        return (
            gpu_subject(bus_id, None) if subject.kind == "pci" and bus_id not in inventory.get("devices", {}) else None
        )
    return subject


def _of_gpu_id(text: str | None) -> str | None:
    """`GPU ID 0x00000100`: domain, bus and device in one number."""
    if not text:
        return None
    number = int(text, 16)
    return normal_bus_id(f"{number >> 16:04x}:{number >> 8 & 0xFF:02x}:{number & 0xFF:02x}.0")


def _healed(hit: Hit, resets: Sequence[Reset]) -> bool:
    """The NVIDIA module was loaded, or the GPU reset, well after this line."""
    if "nvidia" not in hit.record.text.lower() and "NVRM" not in hit.record.text:
        return False
    return any(
        hit.record.at is not None
        and reset.record.at is not None
        and reset.record.at - hit.record.at > LOADING_SECONDS
        and reset.bus_id in (None, hit.subject.id)
        for reset in resets
    )


def _works_now(hit: Hit, inventory: Inventory, recoveries: Sequence[GpuRecovery]) -> bool:
    """NVML tells of the present; where it is not asked (a log that somebody sent), the log stands."""
    if hit.line.until == "reset":
        return False
    works = set(inventory.get("gpu_indices", {}))
    if hit.line.until == "sound":
        works &= {each.subject.id for each in recoveries if each.get("action") == "none"}
    if hit.subject.kind == "gpu":
        return hit.subject.id in works
    devices: dict[str, PciDevice] = inventory.get("devices", {})
    gpus = {d.bus_id for d in devices.values() if d.kind == "gpu" and d.get("vendor_id") == NVIDIA}
    return bool(gpus) and gpus <= works  # the line names no GPU: none of them may be in trouble
