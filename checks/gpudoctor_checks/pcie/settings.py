"""What devices are set to: the window into a GPU's memory, and the size of packets."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.pcie import GpuPcie, PcieSettings
from gpudoctor.finding import Finding, Severity
from gpudoctor_checks.pcie.hops import beside_c2c, concerned

SMALL_WINDOW_SHIPPED = ("Kepler", "Maxwell", "Pascal", "Turing")  # a Tesla T4 or P4 has 256 MiB by design


@check("BAR1_SMALL")
def bar1_small(
    gpu: Gpu, pcie: GpuPcie, settings: GpuSettings, inventory: Inventory, nvlinks: GpuNvLinks | None
) -> Iterator[Finding]:
    """Only a part of the GPU's memory can be reached over PCIe."""
    if (
        pcie.lacks("bar1_bytes")
        or settings.get("virtualization") == "vgpu"
        or beside_c2c(gpu.bus_id, inventory, nvlinks)
    ):
        return
    if pcie.bar1_bytes >= gpu.memory_total_bytes / 2:
        return
    sized_for_all = settings.data_centre and gpu.architecture not in SMALL_WINDOW_SHIPPED
    yield Finding(
        gpu.subject,
        severity=Severity.WARNING if sized_for_all else Severity.INFO,
        evidence=(*pcie.seen("bar1_bytes"), *gpu.seen("memory_total_bytes")),
        bar1_mib=pcie.bar1_bytes >> 20,
        memory_mib=gpu.memory_total_bytes >> 20,
    )


@check("PCIE_PAYLOAD_MISMATCH")
def payload_mismatch(own: PcieSettings, settings: tuple[PcieSettings, ...], inventory: Inventory) -> Iterator[Finding]:
    """A device may send packets that the port above it has to refuse."""
    known = {each.bus_id: each for each in settings}
    above = [known[b] for b in own.subject.within if b in known]
    if not above or own.max_payload_bytes <= above[-1].max_payload_bytes:
        return
    upper = above[-1]
    yield Finding(
        own.subject,
        evidence=(*own.seen("max_payload_bytes"), *upper.seen("max_payload_bytes")),
        max_payload_bytes=own.max_payload_bytes,
        upper=upper.subject.label,
        upper_max_payload_bytes=upper.max_payload_bytes,
        behind=concerned(own.subject, inventory),
    )
