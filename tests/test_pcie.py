"""Links, settings and error counters: read from whole and partial machines, and weighed."""

from __future__ import annotations

from typing import Any

import casebook
import pytest
from gpudoctor_checks.bit_errors import allowed_per_minute, exceeds
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.collect.collector import collect
from gpudoctor.facts.fact import Facts
from gpudoctor.facts.pcie import GpuPcie, PcieErrors, PcieLink, PcieSettings
from gpudoctor.facts.sampling import Counted
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.parse.aer_counters import aer_counters
from gpudoctor.unread import Gap, Unread

DEVICES = "/sys/bus/pci/devices"
GPU, PORT, UPLINK = "0000:19:00.0", "0000:17:01.0", "0000:16:00.0"


def hgx(**files: bytes) -> RecordedNode:
    return casebook.load_node("made-hgx-2s.node").with_surfaces({("file", path): text for path, text in files.items()})


def facts(node: RecordedNode) -> Facts:
    return collect(node, {PcieLink, PcieSettings, PcieErrors, GpuPcie}, seconds=30)


def of(held: tuple[Any, ...] | Unread, bus_id: str) -> Any:
    assert isinstance(held, tuple)
    return next(fact for fact in held if fact.bus_id == bus_id)


def test_every_hop_on_the_way_of_a_device_is_a_link() -> None:
    links = facts(hgx()).all(PcieLink)
    assert isinstance(links, tuple)
    gpu, uplink = of(links, GPU), of(links, UPLINK)
    assert (gpu.lower, gpu.upper_bus_id, gpu.width, gpu.upper_width_max, gpu.speed_gts) == ("gpu", PORT, 16, 16, 32.0)
    assert (uplink.lower, uplink.upper_bus_id, uplink.subject.kind) == ("switch", "0000:15:01.0", "bridge")
    kinds = [link.lower for link in links]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "gpu": 8,
        "nic": 9,
        "nvme": 4,
        "nvswitch": 4,
        "switch": 5,
    }


def test_what_does_not_answer_has_no_width() -> None:
    node = hgx(**{f"{DEVICES}/{GPU}/current_link_width": b"63\n", f"{DEVICES}/{GPU}/max_link_width": b"63\n"})
    width = of(facts(node).all(PcieLink), GPU).reading("width")
    assert isinstance(width, Unread)
    assert width.gap is Gap.LOST


def test_a_speed_of_an_older_kernel() -> None:
    node = hgx(**{f"{DEVICES}/{GPU}/current_link_speed": b"8 GT/s\n"})
    assert of(facts(node).all(PcieLink), GPU).speed_gts == 8.0


@pytest.mark.parametrize("width", [b"0\n", b"255\n"])
def test_an_integrated_gpu_has_no_link(width: bytes) -> None:
    node = hgx(**{f"{DEVICES}/{GPU}/current_link_width": width})
    links = facts(node).all(PcieLink)
    assert isinstance(links, tuple)
    assert GPU not in {link.bus_id for link in links}


def test_a_disk_controller_above_a_drive_is_no_port() -> None:
    """Intel VMD: the drive's root port is in a domain of its own, below an endpoint."""
    drive, port = "10000:01:00.0", "10000:00:02.0"
    path = f"../../../devices/pci0000:64/0000:64:05.5/pci10000:00/{port}"
    node = hgx().with_surfaces(
        {
            ("dir", DEVICES): ("0000:64:05.5", port, drive),
            ("link", f"{DEVICES}/0000:64:05.5"): "../../../devices/pci0000:64/0000:64:05.5",
            ("link", f"{DEVICES}/{port}"): path,
            ("link", f"{DEVICES}/{drive}"): f"{path}/{drive}",
            ("file", f"{DEVICES}/0000:64:05.5/uevent"): b"PCI_CLASS=10400\nPCI_ID=8086:28C0\n",
            ("file", f"{DEVICES}/{port}/uevent"): b"PCI_CLASS=60400\nPCI_ID=8086:352A\n",
            ("file", f"{DEVICES}/{drive}/uevent"): b"PCI_CLASS=10802\nPCI_ID=144D:A824\n",
            ("file", f"{DEVICES}/{drive}/current_link_width"): b"4\n",
            ("file", f"{DEVICES}/{drive}/max_link_width"): b"4\n",
            ("file", f"{DEVICES}/{port}/max_link_width"): b"4\n",
        }
    )
    links = facts(node).all(PcieLink)
    assert isinstance(links, tuple)
    assert [(link.bus_id, link.upper_bus_id, link.width) for link in links] == [(drive, port, 4)]


def test_settings_of_a_gpu_and_of_the_port_above_it() -> None:
    settings = facts(hgx()).all(PcieSettings)
    gpu, port = of(settings, GPU), of(settings, PORT)
    assert (gpu.port_type, gpu.max_payload_bytes, gpu.iommu_domain) == ("endpoint", 256, "identity")
    assert (port.port_type, port.access_control.word) == ("switch_downstream", 0)


def test_without_root_the_settings_ask_for_root() -> None:
    whole: Any = hgx().read(f"{DEVICES}/{PORT}/config")
    port = of(facts(hgx(**{f"{DEVICES}/{PORT}/config": whole[:64]})).all(PcieSettings), PORT)
    gap = port.reading("access_control")
    assert isinstance(gap, Unread)
    assert (gap.gap, gap.remedy) == (Gap.DENIED, "run as root")


def test_of_256_bytes_the_access_control_is_not_told() -> None:
    whole: Any = hgx().read(f"{DEVICES}/{PORT}/config")
    port = of(facts(hgx(**{f"{DEVICES}/{PORT}/config": whole[:256]})).all(PcieSettings), PORT)
    assert port.max_payload_bytes == 256
    assert isinstance(port.reading("access_control"), Unread)


def test_counters_are_read_since_boot_or_twice() -> None:
    once = of(facts(hgx()).all(PcieErrors), "0000:17:02.0").correctable["RxErr"]
    assert (once.count, once.since) == (1, "boot")
    path = f"{DEVICES}/{PORT}/aer_dev_correctable"
    node = hgx(**{path: b"RxErr 7\nTOTAL_ERR_COR 7\n", f"{path} #1": b"RxErr 19\nTOTAL_ERR_COR 19\n"})
    node.sample_seconds = 2
    twice = of(facts(node).all(PcieErrors), PORT).correctable["RxErr"]
    assert (twice.count, twice.seconds, twice.since) == (12, 2, "sample")


def test_a_guest_has_neither_settings_nor_counters_of_its_host() -> None:
    held = facts(casebook.load_node("made-vm-qemu.node"))
    assert held.all(PcieSettings) == held.all(PcieErrors) == ()
    link = of(held.all(PcieLink), "0000:82:00.0")
    assert link.width == 16
    assert isinstance(link.reading("upper_width_max"), Unread)


def test_counters_of_old_and_new_kernels_have_one_name() -> None:
    assert aer_counters("Receiver Error 2\nRELAY_NUM Rollover 0\nTOTAL_ERR_COR 2\n") == {"RxErr": 2, "Rollover": 0}
    assert aer_counters("RxErr 2\nRollover 0\nTOTAL_ERR_COR 2\n") == {"RxErr": 2, "Rollover": 0}


@given(st.text())
def test_no_text_breaks_the_counters(text: str) -> None:
    assert all(count >= 0 for count in aer_counters(text).values())


@pytest.mark.parametrize(("gts", "width", "most"), [(2.5, 16, 3), (8.0, 8, 4), (16.0, 16, 16), (32.0, 16, 31)])
def test_the_limit_is_that_of_dcgm(gts: float, width: int, most: int) -> None:
    assert allowed_per_minute(gts, width) == most


@pytest.mark.parametrize(
    ("count", "seconds", "too_many"),
    [(1, 1, False), (4, 1, False), (5, 1, True), (40, 60, False), (60, 60, True), (44_000, 86_400, False)],
)
def test_few_counts_are_chance(count: int, seconds: float, too_many: bool) -> None:
    assert exceeds(Counted(count, seconds, "sample"), 31) is too_many
