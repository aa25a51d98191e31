"""The NVIDIA driver's modules, libraries, firmware, GPUs and device nodes."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute, exists
from gpudoctor.collect.collector import collector
from gpudoctor.collect.driver_library import libraries
from gpudoctor.facts.driver import DeviceNode, DeviceNodes, DriverGpu, Module, NvidiaDriver
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory
from gpudoctor.node.surface import Node
from gpudoctor.parse.bus_id import normal_bus_id
from gpudoctor.parse.nvidia_proc import information, module_banner
from gpudoctor.unread import Gap, Reading, Unread, hold, known

PROC = "/proc/driver/nvidia"
MODULES = (
    "nvidia",
    "nvidia_uvm",
    "nvidia_modeset",
    "nvidia_drm",
    "nvidia_peermem",
    "nv_peer_mem",
    "gdrdrv",
    "nvidia_vgpu_vfio",
    "nouveau",
)
FIRMWARE = ("/lib/firmware/updates/nvidia", "/lib/firmware/nvidia", "/usr/lib/firmware/nvidia")
LOADERS = ("/usr/bin/nvidia-modprobe", "/usr/local/bin/nvidia-modprobe", "/run/current-system/sw/bin/nvidia-modprobe")
_VERSION = re.compile(r"\d+(?:\.\w+)+")
_MODULE_FILE = re.compile(r"^(\S*/nvidia(?:-current)?\.ko(?:\.\w+)?):", re.MULTILINE)


@collector
def nvidia_driver(node: Node, machine: Machine, inventory: Inventory) -> NvidiaDriver | None:
    if machine.platform != "linux" or str(machine.get("virtualization", "")).startswith("wsl"):
        return None
    modules = _modules(node)
    banner = attribute(node, f"{PROC}/version")
    loaded = _loaded(modules, banner)
    bus_seen = not isinstance(inventory.reading("devices"), Unread)
    if loaded is not True and bus_seen and not inventory.nvidia_gpus():
        return None
    said = banner if isinstance(banner, Unread) else module_banner(banner)
    unknown = Unread(Gap.MALFORMED, f"{PROC}/version", "names no version")
    version = said.version if said and not isinstance(said, Unread) else _sysfs_version(modules, said or unknown)
    if isinstance(version, str) and not _VERSION.fullmatch(version):
        version = Unread(Gap.MALFORMED, f"{PROC}/version", f"names {version[:40]!r}, which is no version")
    return NvidiaDriver(
        loaded=hold(loaded),
        version=hold(version),
        open_module=hold(said if isinstance(said, Unread) else said.open_module if said else unknown),
        modules=hold(modules),
        module_files=hold(_module_files(node, loaded, machine.reading("kernel_release"))),
        kernel_release=hold(machine.reading("kernel_release")),
        libraries=hold(libraries(node)),
        firmware=hold(_firmware(node, version)),
        loader=hold(_any_exists(node, LOADERS)),
    )


@collector
def driver_gpus(node: Node, driver: NvidiaDriver, inventory: Inventory) -> tuple[DriverGpu, ...] | Unread:
    if not driver.loaded:
        return ()
    names = node.list(f"{PROC}/gpus")
    if isinstance(names, Unread):
        return () if names.gap is Gap.ABSENT else names
    return tuple(_driver_gpu(node, name, bus_id, inventory) for name in names if (bus_id := normal_bus_id(name)))


@collector
def device_nodes(node: Node, driver: NvidiaDriver, gpus: tuple[DriverGpu, ...] | Unread) -> DeviceNodes | None:
    if not driver.loaded:
        return None
    minors = [gpu.reading("minor") for gpu in known(gpus, ())]
    paths = ["/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{m}" for m in minors if isinstance(m, int))]
    return DeviceNodes(nodes={path: _node_at(node, path) for path in paths})


def _modules(node: Node) -> Reading[dict[str, Module]]:
    names = node.list("/sys/module")
    if isinstance(names, Unread):
        return names
    return {name: _module(node, name) for name in MODULES if name in names}


def _module(node: Node, name: str) -> Module:
    version, state, taint = (
        known(attribute(node, f"/sys/module/{name}/{each}"), None) for each in ("version", "initstate", "taint")
    )
    return Module(name, version, state, taint)


def _loaded(modules: Reading[dict[str, Module]], banner: Reading[str]) -> Reading[bool]:
    if isinstance(banner, str):
        return True
    return modules if isinstance(modules, Unread) else "nvidia" in modules


def _sysfs_version(modules: Reading[dict[str, Module]], otherwise: Unread) -> Reading[str]:
    module = known(modules, {}).get("nvidia")
    return module.version if module and module.version else otherwise


def _module_files(node: Node, loaded: Reading[bool], release: Reading[str]) -> Reading[tuple[str, ...]]:
    if isinstance(loaded, Unread):
        return loaded
    if isinstance(release, Unread):
        return release
    if loaded:
        return ()  # modules.dep is half a megabyte, and of use only to say why nothing is loaded
    listed = attribute(node, f"/lib/modules/{release}/modules.dep")
    if isinstance(listed, Unread):
        return listed
    return tuple(f"/lib/modules/{release}/{path}" for path in _MODULE_FILE.findall(listed))


def _firmware(node: Node, version: Reading[str]) -> Reading[dict[str, tuple[str, ...]]]:
    if isinstance(version, Unread):
        return version
    custom = known(attribute(node, "/sys/module/firmware_class/parameters/path"), "")
    places = [*([f"{custom}/nvidia"] if custom else []), *FIRMWARE]
    found = {f"{place}/{version}": node.list(f"{place}/{version}") for place in places}
    gap = next((g for g in found.values() if isinstance(g, Unread) and g.gap is not Gap.ABSENT), None)
    held = {d: tuple(n for n in names if n.startswith("gsp")) for d, names in found.items() if isinstance(names, tuple)}
    return gap if gap and not held else held


def _any_exists(node: Node, paths: tuple[str, ...]) -> Reading[bool]:
    said = [exists(node, path) for path in paths]
    return True if True in said else next((each for each in said if isinstance(each, Unread)), False)


def _driver_gpu(node: Node, name: str, bus_id: str, inventory: Inventory) -> DriverGpu:
    where = f"{PROC}/gpus/{name}/information"
    text = attribute(node, where)
    said: Reading[dict[str, str]] = text if isinstance(text, Unread) else information(text)

    def value(field: str) -> Reading[str]:
        if isinstance(said, Unread):
            return said
        return said.get(field) or Unread(Gap.ABSENT, where, f"has no line {field!r}")

    minor, firmware, excluded = value("Device Minor"), value("GPU Firmware"), value("GPU Excluded")
    return DriverGpu(
        subject=inventory.subject(bus_id),
        bus_id=bus_id,
        model=hold(value("Model")),
        minor=hold(int(minor) if isinstance(minor, str) and minor.isdecimal() else _malformed(minor, where)),
        firmware=hold(firmware if isinstance(firmware, Unread) else None if firmware == "N/A" else firmware),
        excluded=hold(excluded if isinstance(excluded, Unread) else excluded.lower() == "yes"),
    )


def _malformed(reading: Reading[str], where: str) -> Unread:
    return reading if isinstance(reading, Unread) else Unread(Gap.MALFORMED, where, f"holds {reading[:40]!r}")


def _node_at(node: Node, path: str) -> DeviceNode | Unread | None:
    entry = node.stat(path)
    if isinstance(entry, Unread):
        return None if entry.gap is Gap.ABSENT else entry
    return DeviceNode(path, entry.mode, entry.uid, entry.gid, entry.readable, entry.writable)
