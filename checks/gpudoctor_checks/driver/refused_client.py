"""Programs that the NVIDIA kernel module turned away for their libraries' version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.kernel_log import KernelLog, KernelRecord
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import NODE, Finding, Occurrence, Severity

ANCHOR = "NVRM: API mismatch"
LINES = 5  # what the message runs over
_CLIENT = re.compile(r"the client '(?P<process>[^'\n]{0,64})' \(pid (?P<pid>\d{1,10})\)")
_LIBRARY = re.compile(r"has the version (?P<version>\d{2,4}\.\d{1,3}(?:\.\d{1,3}){0,2})")
_MODULE = re.compile(r"this kernel module has(?: the version|\s+(?:NVRM: )?the version) (?P<version>\d[\d.]{1,14}\d)")


@check("DRIVER_LIBRARY_MISMATCH")
def refused_client(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """The module names both versions. Where NVML works here, it was one program's libraries."""
    loads = [reset.record.line for reset in log.resets if reset.how == "module loaded"]
    since = max(loads, default=0)
    refused = [(i, r) for i, r in enumerate(log.records) if ANCHOR in r.text and r.line > since]
    by_versions: dict[tuple[str, str], list[tuple[KernelRecord, re.Match[str] | None]]] = {}
    for i, record in refused:
        text = "\n".join(each.text for each in log.records[i : i + LINES])
        library, module = _LIBRARY.search(text), _MODULE.search(text)
        versions = (library["version"] if library else "another version", module["version"] if module else "not named")
        by_versions.setdefault(versions, []).append((record, _CLIENT.search(text)))
    if not by_versions:
        return
    (library_version, module_version), own = max(by_versions.items(), key=lambda item: len(item[1]))
    clients = sorted({found["process"] for _, found in own if found})
    yield Finding(
        NODE,
        severity=Severity.WARNING if inventory.get("gpu_indices", {}) else Severity.ERROR,
        evidence=log.excerpt([record for _, record in refused]),
        occurrences=[Occurrence(record.at) for record, _ in own if record.at is not None],
        count=len(refused),
        library="a library of that version",
        library_version=library_version,
        module_version=module_version,
        clients=clients,
        action="client",
    )
