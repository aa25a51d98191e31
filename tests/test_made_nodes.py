"""The made machines: each is what its script makes, holds what is read, and is of one piece."""

from __future__ import annotations

import importlib
import re
import struct

import planting
import pytest
from casebook import NODES, load_node
from making_config import SPEEDS_GTS, config_space, full, patched

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import collect
from gpudoctor.diagnosis import diagnose
from gpudoctor.examine import examine
from gpudoctor.finding import Severity
from gpudoctor.node.archive import dump, load
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.parse.bus_id import bus_ids_on_path
from gpudoctor.unread import Unread, required

MADE = {
    "made-hgx-2s": "make_hgx_2s",
    "made-hgx-2s-job": "make_hgx_2s_job",
    "made-ws-4gpu": "make_ws_4gpu",
    "made-vm-qemu": "make_vm_qemu",
    "made-gh200": "make_gh200",
    "mi300x8": "make_mi300x8",
    "made-mi300x8-job": "make_mi300x8_job",
}
DEVICES = "/sys/bus/pci/devices"
HOST = (
    "/proc/cpuinfo /proc/meminfo /proc/swaps /proc/vmstat /proc/stat /proc/uptime /proc/loadavg /proc/cmdline "
    "/proc/self/mountinfo /proc/1/cgroup /proc/self/status /proc/self/cgroup /proc/sys/kernel/hostname "
    "/proc/sys/kernel/osrelease /proc/sys/kernel/numa_balancing /proc/sys/vm/zone_reclaim_mode /proc/sys/vm/swappiness "
    "/proc/pressure/memory /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/transparent_hugepage/defrag "
    "/sys/fs/cgroup/cpuset.cpus.effective /sys/fs/cgroup/cpuset.mems.effective /sys/devices/system/node/possible "
    "/sys/devices/system/node/online /sys/devices/system/node/has_cpu /sys/devices/system/node/has_memory "
    "/sys/devices/system/cpu/online /sys/devices/system/cpu/possible /sys/devices/system/cpu/isolated "
    "/sys/devices/system/cpu/smt/active /sys/devices/system/cpu/smt/control"
)
FOLDERS = (
    "/proc /sys/kernel/iommu_groups /sys/class/net /sys/block /sys/devices/system/node /sys/devices/system/cpu "
    "/sys/devices/system/cpu/cpufreq /sys/kernel/mm/hugepages /sys/bus/pci/devices"
)

each_made = pytest.mark.parametrize("name", MADE)


def text(node: RecordedNode, path: str) -> str:
    return required(node.read(path)).decode().strip()


def devices(node: RecordedNode) -> tuple[str, ...]:
    return required(node.list(DEVICES))


def capabilities(config: bytes) -> dict[int, int]:
    """Where each capability of the first 256 bytes begins, by its id."""
    found, at = {}, config[0x34]
    while at:
        found[config[at]] = at
        at = config[at + 1]
    return found


def extended(config: bytes) -> dict[int, int]:
    found, at = {}, 0x100
    while at and len(config) > at:
        (head,) = struct.unpack_from("<I", config, at)
        found[head & 0xFFFF] = at
        at = head >> 20
    return found


def running(config: bytes) -> tuple[int, float]:
    """Width and speed out of Link Status."""
    (status,) = struct.unpack_from("<H", config, capabilities(config)[0x10] + 0x12)
    return status >> 4 & 0x3F, SPEEDS_GTS[(status & 0xF) - 1]


@each_made
def test_a_made_node_is_what_its_script_makes(name: str) -> None:
    written = (NODES / f"{name}.node").read_text()
    assert written == dump(importlib.import_module(MADE[name]).machine().archive())
    assert len(written) < 1_200_000
    assert dump(load(written)) == written


@each_made
def test_a_made_node_is_healthy(name: str) -> None:
    catalog = Catalog.installed()
    wanted = {kind for check in catalog.checks() for kind in check.facts}
    facts = collect(load_node(f"{name}.node"), wanted, seconds=30)
    found = diagnose(examine(facts, catalog.checks(), catalog.knowledge).found)
    assert [f.code for f in found.findings if f.severity >= Severity.WARNING] == []


@each_made
def test_the_host_answers(name: str) -> None:
    node = load_node(f"{name}.node")
    assert [path for path in HOST.split() if isinstance(node.read(path), Unread)] == []
    assert [path for path in FOLDERS.split() if isinstance(node.list(path), Unread)] == []
    for numa in re.findall(r"node(\d+)", " ".join(required(node.list("/sys/devices/system/node")))):
        where = f"/sys/devices/system/node/node{numa}"
        assert [p for p in ("cpulist", "distance", "meminfo") if isinstance(node.read(f"{where}/{p}"), Unread)] == []
    stanzas = text(node, "/proc/cpuinfo").split("\n\n")
    cpus = [cpu for cpu in required(node.list("/sys/devices/system/cpu")) if re.fullmatch(r"cpu\d+", cpu)]
    assert len(stanzas) == len(cpus)
    for cpu in cpus:
        where = f"/sys/devices/system/cpu/{cpu}/topology"
        names = ("physical_package_id", "core_id", "thread_siblings_list")
        assert all(text(node, f"{where}/{each}") for each in names)


@each_made
def test_the_pci_tree_is_of_one_piece(name: str) -> None:
    node = load_node(f"{name}.node")
    everything = devices(node)
    for bus_id in everything:
        where = f"{DEVICES}/{bus_id}"
        path = bus_ids_on_path(required(node.link(where)))
        assert path[-1] == bus_id
        config = required(node.read(f"{where}/config"))
        vendor, device = struct.unpack_from("<HH", config)
        assert (f"0x{vendor:04x}", f"0x{device:04x}") == (text(node, f"{where}/vendor"), text(node, f"{where}/device"))
        assert f"PCI_ID={vendor:04X}:{device:04X}" in text(node, f"{where}/uevent")
        if len(path) > 1:
            above = required(node.read(f"{DEVICES}/{path[-2]}/config"))
            first, last = above[0x19:0x1B]
            assert above[0x0E] == 1
            assert first <= int(bus_id[5:7], 16) <= last
        if 0x10 not in capabilities(config):
            assert len(config) == 256
            assert isinstance(node.read(f"{where}/current_link_width"), Unread)
            continue
        assert len(config) == 4096
        assert (1 in extended(config)) == (not isinstance(node.read(f"{where}/aer_dev_fatal"), Unread))
        if text(node, f"{where}/current_link_speed") != "Unknown":
            width, gts = running(config)
            assert (str(width), f"{gts:.1f} GT/s PCIe") == (
                text(node, f"{where}/current_link_width"),
                text(node, f"{where}/current_link_speed"),
            )


@each_made
def test_no_bus_hangs_below_two_ports(name: str) -> None:
    node = load_node(f"{name}.node")
    configs = {bus_id: required(node.read(f"{DEVICES}/{bus_id}/config")) for bus_id in devices(node)}
    below = [(bus_id[:4], config[0x19]) for bus_id, config in configs.items() if config[0x0E] & 0x7F == 1]
    assert len(below) == len(set(below))


@pytest.mark.parametrize("name", [name for name in MADE if name != "made-vm-qemu"])
def test_both_ends_of_a_link_run_alike(name: str) -> None:
    """Not in the virtual machine, whose ports are emulated."""
    node = load_node(f"{name}.node")
    for bus_id in devices(node):
        path = bus_ids_on_path(required(node.link(f"{DEVICES}/{bus_id}")))
        config = required(node.read(f"{DEVICES}/{bus_id}/config"))
        if len(path) < 2 or 0x10 not in capabilities(config):
            continue
        above = required(node.read(f"{DEVICES}/{path[-2]}/config"))
        is_link = above[capabilities(above)[0x10] + 2] >> 4 in (4, 6)  # root port, downstream port
        assert not is_link or running(above) == running(config)


@each_made
def test_iommu_groups_lie_where_their_links_point(name: str) -> None:
    node = load_node(f"{name}.node")
    for bus_id in devices(node):
        target = node.link(f"{DEVICES}/{bus_id}/iommu_group")
        if isinstance(target, Unread):
            assert required(node.list("/sys/kernel/iommu_groups")) == ()
            continue
        depth = required(node.link(f"{DEVICES}/{bus_id}")).removeprefix("../../../").count("/") + 1
        assert target.count("../") == depth
        assert text(node, f"/sys/kernel/iommu_groups/{target.rsplit('/')[-1]}/type") in ("identity", "DMA-FQ")


@pytest.mark.parametrize("name", [name for name in MADE if "mi300x8" not in name])
def test_every_gpu_has_its_links_and_pairs(name: str) -> None:
    surfaces = load((NODES / f"{name}.node").read_text()).surfaces
    gpus = required(surfaces["nvml", "nvmlDeviceGetCount()"])
    for a in range(gpus):
        assert ("nvml", f"nvmlDeviceGetFieldValues(gpu {a}, NVML_FI_DEV_NVLINK_LINK_COUNT)") in surfaces
        for b in range(a + 1, gpus):
            assert ("nvml", f"nvmlDeviceGetTopologyCommonAncestor(gpu {a}, {b})") in surfaces
            assert ("nvml", f"nvmlDeviceGetP2PStatus(gpu {a}, {b}, NVML_P2P_CAPS_INDEX_READ)") in surfaces


def test_a_patch_changes_its_field_alone() -> None:
    config = config_space(0x1000, 0xC030, 0x060400, "downstream", full(16, 32.0), buses=(1, 2, 2), acs_capability=0x7F)
    other = patched(config, acs_control=0x1D, link_width=8, max_payload=128)
    assert running(other) == (8, 32.0)
    assert struct.unpack_from("<HH", other, extended(other)[0x0D] + 4) == (0x7F, 0x1D)
    assert [at for at in range(4096) if config[at] != other[at]] == [0x68, 0x72, 0x73, 0x1D6]
    assert patched(other, acs_control=0, link_width=16, max_payload=256) == config
    with pytest.raises(ValueError, match="ACS"):
        patched(config_space(0x10DE, 0x2335, 0x030200, "endpoint", full(16, 32.0)), acs_control=1)


def test_a_narrow_link_is_narrow_at_both_ends() -> None:
    node = load_node("made-hgx-2s.node")
    node = node.with_surfaces(planting.configured(node, "0000:19:00.0", {"link_width": 8}))
    for bus_id in ("0000:19:00.0", "0000:17:01.0"):
        assert text(node, f"{DEVICES}/{bus_id}/current_link_width") == "8"
        assert running(required(node.read(f"{DEVICES}/{bus_id}/config"))) == (8, 32.0)


def test_a_process_moves_with_its_threads_children_and_memory() -> None:
    node = load_node("made-hgx-2s-job.node")
    node = node.with_surfaces(planting.placed(node, 51000, "16-19", 1))
    for task in ("/proc/51000", "/proc/51000/task/51003", "/proc/51001", "/proc/51002/task/51002"):
        status = text(node, f"{task}/status")
        assert "Cpus_allowed_list:\t16-19" in status
        assert "Cpus_allowed:\t00000000,000f0000" in status
        assert 16 <= int(text(node, f"{task}/stat").rpartition(")")[2].split()[36]) <= 19
    maps = text(node, "/proc/51000/numa_maps")
    assert [line for line in maps.splitlines() if "N0=" in line and "mapmax" not in line] == []
    assert "Cpus_allowed_list:\t4-7,36-39" in text(node, "/proc/51100/status")


def test_counters_without_a_second_reading_stand_still() -> None:
    path, call = f"{DEVICES}/0000:19:00.0/aer_dev_fatal", "nvmlDeviceGetPcieReplayCounter(gpu 0)"
    held = {("file", path): b"DLP 0\n", ("nvml", call): 3, ("nvml", f"{call} #1"): 9, ("file", "/proc/stat"): b""}
    assert planting.standing_still(held) == {("file", f"{path} #1"): b"DLP 0\n"}  # type: ignore[arg-type]
