"""Daemons that NVIDIA systems lean on, by pid file first and by name in /proc second."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute, exists
from gpudoctor.collect.collector import collector
from gpudoctor.facts.driver import NvidiaDriver
from gpudoctor.facts.gpu_health import GpuFabric
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.services import FabricManager, Imex, Persistence
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold, known

COMM_LENGTH = 15  # the kernel cuts names there: nv-fabricmanage
LOG = "/var/log/fabricmanager.log"
OUTSIDE = Unread(Gap.ABSENT, "/proc", "a container does not see the node's processes", "scan on the node itself")
HIDDEN = Unread(Gap.DENIED, "/proc", "is mounted with hidepid: other users' processes do not show", "scan as root")
_PACKAGE = re.compile(rb"^[a-z]i. nvidia-fabricmanager\S* (\d+\.\d+(?:\.\d+)?)\S*$", re.MULTILINE)  # rc: was removed
_REFUSAL = re.compile(
    rb"driver interface version (?P<own>[\d.]+\d) do(?:n't|es ?n't) match with driver version [\d.]+\d"
)


@collector
def fabric_manager(
    node: Node,
    driver: NvidiaDriver,
    machine: Machine,
    inventory: Inventory,
    fabrics: tuple[GpuFabric, ...] | Unread | None,
) -> FabricManager | None:
    devices = inventory.get("devices", {}).values()
    switches = tuple(d.bus_id for d in devices if d.kind == "nvswitch")
    if not switches and not _fabric_gpus(fabrics):
        return None
    running = _runs(node, machine, "nv-fabricmanager", "/run/nvidia-fabricmanager/nv-fabricmanager.pid")
    log = node.read(LOG) if switches and running is not True else Unread(Gap.ABSENT, LOG)  # one that runs got over it
    refusals = [] if isinstance(log, Unread) else list(_REFUSAL.finditer(log))
    return FabricManager(
        switches=switches,
        running=hold(running),
        installed=hold(exists(node, "/usr/bin/nv-fabricmanager")),
        version=hold(OUTSIDE if machine.container else _manager_version(node, refusals)),
        complaint=refusals[-1][0].decode() if refusals else None,
    )


@collector
def imex(
    node: Node, machine: Machine, manager: FabricManager, fabrics: tuple[GpuFabric, ...] | Unread | None
) -> Imex | None:
    clusters = {fabric.get("cluster_uuid") or "" for fabric in _fabric_gpus(fabrics)}
    if manager.switches or not any(cluster.strip("0-") for cluster in clusters):
        return None  # switches on this very machine, or no cluster: no fabric beyond it
    channels = node.list("/dev/nvidia-caps-imex-channels")
    return Imex(
        running=hold(_runs(node, machine, "nvidia-imex", "/run/nvidia-imex/nvidia-imex.pid")),
        configured=hold(exists(node, "/etc/nvidia-imex/nodes_config.cfg")),
        channels=hold(() if isinstance(channels, Unread) and channels.gap is Gap.ABSENT else channels),
    )


@collector
def persistence(node: Node, driver: NvidiaDriver) -> Persistence:
    return Persistence(daemon=hold(exists(node, "/run/nvidia-persistenced/nvidia-persistenced.pid")))


def _fabric_gpus(fabrics: tuple[GpuFabric, ...] | Unread | None) -> list[GpuFabric]:
    held = () if fabrics is None or isinstance(fabrics, Unread) else fabrics
    return [fabric for fabric in held if fabric.get("state", "not_supported") != "not_supported"]


def _runs(node: Node, machine: Machine, name: str, pid_file: str) -> Reading[bool]:
    """Whether a process of this name runs. A container's /proc does not show the node's daemons."""
    pid = attribute(node, pid_file)
    if isinstance(pid, str) and attribute(node, f"/proc/{pid}/comm") == name[:COMM_LENGTH]:
        return True
    names = node.list("/proc")
    if isinstance(names, Unread):
        return names
    comms = [attribute(node, f"/proc/{pid}/comm") for pid in names if pid.isdecimal()]
    if name[:COMM_LENGTH] in comms:
        return True
    if known(machine.reading("container"), False):
        return OUTSIDE
    refused = any(isinstance(comm, Unread) and comm.gap is Gap.DENIED for comm in comms)
    return HIDDEN if "1" not in names or refused else False


def _manager_version(node: Node, refusals: list[re.Match[bytes]]) -> Reading[str]:
    packages = node.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\\n", "nvidia-fabricmanager*"]
    )
    found = [] if isinstance(packages, Unread) else _PACKAGE.findall(packages.stdout)
    if found:
        return str(found[0].decode())
    if refusals:
        return refusals[-1]["own"].decode()
    return Unread(
        Gap.ABSENT, "nv-fabricmanager", "no package database that can be read without a lock names its version"
    )
