"""Daemons that NVIDIA systems lean on, by pid file first and by name in /proc second."""

from __future__ import annotations

import re
from typing import Any

from gpudoctor.collect.attribute import attribute, exists
from gpudoctor.collect.collector import collector
from gpudoctor.facts.driver import NvidiaDriver
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.services import FabricManager, Imex, Persistence
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread, hold, known

COMM_LENGTH = 15  # the kernel cuts names there: nv-fabricmanage
FABRIC_STATES = {1: "not started", 2: "in progress", 3: "completed"}  # 0: the GPU is in no fabric
LOG = "/var/log/fabricmanager.log"
_PACKAGE = re.compile(rb"^nvidia-fabricmanager\S* (\d+\.\d+(?:\.\d+)?)\S*$", re.MULTILINE)
_REFUSAL = re.compile(
    rb"driver interface version (?P<own>[\d.]+\d) do(?:n't|es ?n't) match with driver version [\d.]+\d"
)


@collector
def fabric_manager(
    node: Node, driver: NvidiaDriver, machine: Machine, inventory: Inventory, nvml: Nvml | Unread | None
) -> FabricManager | None:
    devices = inventory.get("devices", {}).values()
    switches = tuple(d.bus_id for d in devices if d.kind == "nvswitch")
    answers = _fabric(node, nvml)
    states = {bus_id: FABRIC_STATES[a["state"]] for bus_id, a in answers.items() if a.get("state") in FABRIC_STATES}
    if not switches and not states:
        return None
    log = node.read(LOG) if switches else Unread(Gap.ABSENT, LOG)
    refusals = [] if isinstance(log, Unread) else list(_REFUSAL.finditer(log))
    return FabricManager(
        switches=switches,
        states=states,
        statuses={b: a["status"] for b, a in answers.items() if b in states and isinstance(a.get("status"), int)},
        running=hold(_runs(node, machine, "nv-fabricmanager", "/run/nvidia-fabricmanager/nv-fabricmanager.pid")),
        installed=hold(exists(node, "/usr/bin/nv-fabricmanager")),
        version=hold(_manager_version(node, refusals)),
        complaint=refusals[-1][0].decode() if refusals else None,
    )


@collector
def imex(node: Node, driver: NvidiaDriver, machine: Machine, manager: FabricManager) -> Imex | None:
    if manager.switches or not manager.states:  # switches on this very machine: no fabric beyond it
        return None
    channels = node.list("/dev/nvidia-caps-imex-channels")
    return Imex(
        running=hold(_runs(node, machine, "nvidia-imex", "/run/nvidia-imex/nvidia-imex.pid")),
        configured=hold(exists(node, "/etc/nvidia-imex/nodes_config.cfg")),
        channels=hold(() if isinstance(channels, Unread) and channels.gap is Gap.ABSENT else channels),
    )


@collector
def persistence(node: Node, driver: NvidiaDriver) -> Persistence:
    return Persistence(daemon=hold(exists(node, "/run/nvidia-persistenced/nvidia-persistenced.pid")))


def _fabric(node: Node, nvml: Nvml | Unread | None) -> dict[str, dict[str, Any]]:
    """GPU bus id -> nvmlGpuFabricInfo, of those that answer."""
    bus_ids = nvml.get("bus_ids", {}) if isinstance(nvml, Nvml) else {}
    answers = node.nvml([NvmlCall("nvmlDeviceGetGpuFabricInfoV", index) for index in bus_ids])
    said = zip(bus_ids.values(), answers, strict=True)
    return {bus_id: answer for bus_id, answer in said if isinstance(answer, dict)}


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
        return Unread(Gap.ABSENT, "/proc", "a container does not see the node's processes", "scan on the node itself")
    return False


def _manager_version(node: Node, refusals: list[re.Match[bytes]]) -> Reading[str]:
    packages = node.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", "nvidia-fabricmanager*"])
    found = [] if isinstance(packages, Unread) else _PACKAGE.findall(packages.stdout)
    if found:
        return str(found[0].decode())
    if refusals:
        return refusals[-1]["own"].decode()
    return Unread(
        Gap.ABSENT, "nv-fabricmanager", "no package database that can be read without a lock names its version"
    )
