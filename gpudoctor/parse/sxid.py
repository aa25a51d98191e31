"""SXid lines of NVIDIA's NVSwitch driver.

The form: Fabric Manager User Guide, docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide. After the first
line of an error follow lines of raw registers (Severity, Data, Engine instance) under the same number.
"""

from __future__ import annotations

import re

from gpudoctor.facts.kernel_log import KernelRecord, SxidEvent
from gpudoctor.parse.bus_id import bus_id_of

_SXID = re.compile(
    r"(?:(?P<switch>nvidia-nvswitch\d{1,3}): )?SXid ?\((?:PCI:)?(?P<domain>[0-9a-fA-F]{4,8}):(?P<bus>[0-9a-fA-F]{2}):"
    r"(?P<device>[0-9a-fA-F]{2})(?:\.(?P<function>[0-7]))?\): ?(?P<sxid>\d{1,6})\b,? ?"
    r"(?:(?P<how>Fatal|Non-fatal|Nonfatal),? ?)?(?:Link (?P<link>\d{1,3})\b,? ?)?(?P<detail>.*)",
    re.DOTALL,
)


def parse_sxid(record: KernelRecord) -> SxidEvent | None:
    """None where the line is no SXid."""
    found = _SXID.search(record.text)
    if found is None:
        return None
    return SxidEvent(
        record=record,
        sxid=int(found["sxid"]),
        switch=found["switch"] or "nvswitch",
        bus_id=bus_id_of(found["domain"], found["bus"], found["device"], found["function"] or "0"),
        fatal=None if found["how"] is None else found["how"] == "Fatal",
        link=int(found["link"]) if found["link"] else None,
        detail=found["detail"].strip(),
    )
