"""Facts of the machine, the bus and the driver out of made machines, gaps included."""

from __future__ import annotations

from typing import Any

import pytest
from casebook import load_node

from gpudoctor.collect.collector import collect
from gpudoctor.facts.driver import DeviceNodes, DriverGpu, NvidiaDriver
from gpudoctor.facts.fact import Facts
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.services import FabricManager, Imex, Persistence
from gpudoctor.node.archive import Archive, Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.unread import Gap, Unread

KINDS = (Machine, PciDevice, Inventory, NvidiaDriver, DriverGpu, DeviceNodes, FabricManager, Imex, Persistence)
GPU = "0000:65:00.0"
DEVICE = f"/sys/bus/pci/devices/{GPU}"


def facts(changed: dict[Key, Any] | None = None, node: str = "made-l40s.node") -> Facts:
    return collect(load_node(node).with_surfaces(changed or {}), KINDS, seconds=10)


def device(changed: dict[Key, Any] | None = None) -> PciDevice:
    found = facts(changed).all(PciDevice)
    assert isinstance(found, tuple)
    return next(each for each in found if each.bus_id == GPU)


def test_each_device_is_what_it_is() -> None:
    found = facts(node="made-hgx-h100.node").one(Inventory)
    assert isinstance(found, Inventory)
    kinds = [each.kind for each in found.devices.values()]
    assert (kinds.count("gpu"), kinds.count("nvswitch"), kinds.count("nic")) == (8, 4, 1)
    assert found.devices["0000:02:00.0"].kind == "other"  # the BMC's graphics chip
    assert found.subject("0000:52:00.0").label == "GPU 2 (0000:52:00.0)"
    assert found.gpus_behind("0000:51:01.0") == (found.subject("0000:52:00.0"),)


def test_a_virtual_function_is_no_gpu_of_the_host() -> None:
    assert device().kind == "gpu"
    assert device({("link", f"{DEVICE}/physfn"): "../0000:65:00.4"}).kind == "other"


@pytest.mark.parametrize(
    ("uevent", "kind"),
    [
        (b"DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_ID=1002:74A1\n", "gpu"),
        (b"PCI_CLASS=38000\nPCI_ID=1002:740F\n", "gpu"),
        (b"PCI_CLASS=30000\nPCI_ID=1002:164E\n", "other"),  # an APU that nothing serves
        (b"DRIVER=i915\nPCI_CLASS=30000\nPCI_ID=8086:4680\n", "other"),
        (b"DRIVER=snd_hda_intel\nPCI_CLASS=40300\nPCI_ID=10DE:22BA\n", "other"),
        (b"PCI_CLASS=68000\nPCI_ID=10DE:0373\n", "other"),  # an nForce network chip
        (b"DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=144D:A80A\n", "nvme"),
    ],
)
def test_what_counts_as_a_gpu(uevent: bytes, kind: str) -> None:
    assert device({("file", f"{DEVICE}/uevent"): uevent}).kind == kind


def test_a_device_off_the_bus_reads_as_all_ones() -> None:
    width: Key = ("file", f"{DEVICE}/current_link_width")
    config: Key = ("file", f"{DEVICE}/config")
    gone, absent = b"\xff" * 64, Unread(Gap.ABSENT, "width")
    assert device().config_gone is False
    assert device({width: b"63\n"}).config_gone is True
    assert device({width: absent, config: gone}).config_gone is True
    assert device({width: b"63\n", config: b"\xde\x10\xb9\x26"}).config_gone is False
    assert isinstance(device({width: absent}).reading("config_gone"), Unread)
    assert isinstance(
        device({width: b"63\n", ("file", f"{DEVICE}/power_state"): b"D3cold\n"}).reading("config_gone"), Unread
    )


@pytest.mark.parametrize(
    ("surface", "text", "says"),
    [
        ("/proc/sys/kernel/osrelease", b"5.15.167.4-microsoft-standard-WSL2\n", "wsl2"),
        ("/sys/class/dmi/id/sys_vendor", b"QEMU\n", "vm"),
        ("/sys/class/dmi/id/sys_vendor", b"Amazon EC2\n", "vm"),
        ("/sys/devices/system/clocksource/clocksource0/available_clocksource", b"kvm-clock tsc acpi_pm\n", "vm"),
        ("/proc/cpuinfo", b"flags\t\t: fpu vme hypervisor lahf_lm\n", "vm"),
        ("/proc/cpuinfo", b"flags\t\t: fpu vme lahf_lm\n", None),
    ],
)
def test_virtualization(surface: str, text: bytes, says: str | None) -> None:
    found = facts({("file", surface): text}).one(Machine)
    assert isinstance(found, Machine)
    assert found.virtualization == says


def test_a_container_is_told_by_any_of_its_marks() -> None:
    root = b"611 520 0:88 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A,upperdir=/x\n"
    marks: list[tuple[Key, bytes]] = [
        (("file", "/proc/1/cgroup"), b"0::/kubepods/pod1\n"),
        (("file", "/proc/self/mountinfo"), root),
    ]
    for surface, text in marks:
        found = facts({surface: text}).one(Machine)
        assert isinstance(found, Machine)
        assert found.container is True
    plain = facts().one(Machine)
    assert isinstance(plain, Machine)
    assert plain.container is False


def test_nothing_of_linux_applies_on_a_mac() -> None:
    mac = collect(RecordedNode(Archive("darwin", 501, 1763640000.0), "mac"), KINDS, seconds=10)
    found = mac.one(Machine)
    assert isinstance(found, Machine)
    assert found.platform == "darwin"
    assert [mac.one(kind) for kind in (PciDevice, NvidiaDriver, DriverGpu, DeviceNodes, FabricManager)] == [None] * 5


def test_a_machine_that_answers_nothing_leaves_gaps_and_no_facts() -> None:
    blind = collect(RecordedNode(Archive(), "blind"), KINDS, seconds=10)
    driver = blind.one(NvidiaDriver)
    assert isinstance(blind.all(PciDevice), Unread)
    assert isinstance(driver, NvidiaDriver)
    assert all(isinstance(reading, Unread) for _, reading in driver.readings())


def test_libraries_in_the_loaders_order() -> None:
    changed: dict[Key, Any] = {
        ("file", "/proc/self/environ"): b"LD_LIBRARY_PATH=/opt/a:relative:/opt/b/\0HOME=/root\0",
        ("link", "/opt/b/libcuda.so.1"): "/opt/c/libcuda.so.565.57.01",
        ("stat", "/opt/a/libcuda.so.1"): Unread(Gap.ABSENT, "/opt/a/libcuda.so.1"),
    }
    driver = facts(changed).one(NvidiaDriver)
    assert isinstance(driver, NvidiaDriver)
    found = [(library.version, library.found_by) for library in driver.libraries_named("libcuda.so.1")]
    assert found == [("565.57.01", "LD_LIBRARY_PATH"), ("570.158.01", "default directory")]


def test_the_fabric_managers_name_is_cut_by_the_kernel() -> None:
    found = facts(node="made-hgx-h100.node").one(FabricManager)
    assert isinstance(found, FabricManager)
    assert (found.running, found.version, len(found.switches)) == (True, "570.158.01", 4)


def test_a_gpu_that_was_unplugged_is_known_to_the_driver_alone() -> None:
    from gpudoctor_checks.kernel.bus import removed_from_the_bus

    listed: Key = ("dir", "/sys/bus/pci/devices")
    held = facts({listed: ("0000:00:00.0", "0000:17:00.0")})
    gpus, found = held.all(DriverGpu), held.one(Inventory)
    assert isinstance(gpus, tuple)
    assert isinstance(found, Inventory)
    assert [finding.subject.id for finding in removed_from_the_bus(gpus, found)] == [GPU]
