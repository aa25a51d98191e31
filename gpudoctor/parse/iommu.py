"""IOMMU faults in the kernel log.

Formats: drivers/iommu/intel/dmar.c, drivers/iommu/amd/iommu.c, drivers/iommu/arm/arm-smmu-v3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gpudoctor.facts.kernel_events import IommuFault
from gpudoctor.facts.kernel_log import KernelRecord
from gpudoctor.parse.bus_id import normal_bus_id

ANCHORS = ("DMAR:", "AMD-Vi: Event logged", "arm-smmu-v3")

_DMAR = re.compile(
    r"DMAR: ?\[(?P<access>[^]]{1,40})\] Request device \[(?:0x)?(?P<bus_id>[0-9a-f:.]{5,16})\]"
    r"(?: PASID \S{1,20})? fault (?:addr|index) (?P<address>\S{1,24})(?: \[fault reason (?P<reason>.{1,100}))?"
)
_AMD = re.compile(
    r"(?:(?P<driver>\w[\w-]{0,40}) (?P<bus_id>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): )?AMD-Vi: Event logged \["
    r"(?P<access>[A-Z_]{4,40})(?: device=(?P<device>[0-9a-f:.]{5,16}))?(?P<rest>[^]]{0,160})"
)
_ADDRESS = re.compile(r"address=(?P<address>0x[0-9a-f]+)")
_SMMU = re.compile(
    r"arm-smmu-v3\S{0,40}: event: (?P<access>[A-Z]_[A-Z_]{2,40}) client: (?P<bus_id>[0-9a-f:.]{5,16})"
    r"(?:.{0,80}? iova: (?P<address>0x[0-9a-f]+))?"
)


def iommu_faults(records: Iterable[KernelRecord]) -> Iterator[IommuFault]:
    for record in records:
        if "DMAR:" in record.text and (found := _DMAR.search(record.text)):
            reason = (found["reason"] or "").replace("]", "").strip() or None
            yield IommuFault(
                record, normal_bus_id(found["bus_id"]), "DMAR", found["access"].strip(), found["address"], reason
            )
        elif "AMD-Vi: Event" in record.text and (found := _AMD.search(record.text)):
            address = _ADDRESS.search(found["rest"])
            bus_id = normal_bus_id(found["bus_id"] or found["device"] or "")
            yield IommuFault(
                record,
                bus_id,
                "AMD-Vi",
                found["access"],
                address["address"] if address else None,
                None,
                found["driver"],
            )
        elif "arm-smmu" in record.text and (found := _SMMU.search(record.text)):
            yield IommuFault(record, normal_bus_id(found["bus_id"]), "SMMU", found["access"], found["address"], None)
