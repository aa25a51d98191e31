"""Who sets up NVLink through NVSwitches: the fabric manager on this node or elsewhere, and IMEX between nodes."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.driver import NvidiaDriver
from gpudoctor.facts.gpu_health import GpuFabric
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.services import FabricManager, Imex
from gpudoctor.finding import NODE, Confidence, Evidence, Finding
from gpudoctor.knowledge import table
from gpudoctor.unread import Unread
from gpudoctor_checks.gpu_models import PACK
from gpudoctor_checks.passthrough import PASSED_THROUGH

A100_SWITCH = 0x1AF1
STARTING_SECONDS = 300.0  # after boot it may still be training links
NOT_READY = ("not_started", "in_progress")


@check("FABRIC_MANAGER_NOT_RUNNING")
def fabric_not_set_up(
    manager: FabricManager, fabrics: tuple[GpuFabric, ...], inventory: Inventory, machine: Machine
) -> Iterator[Finding]:
    """GPUs wait for a fabric manager and none runs. A fabric that is completed proves one, wherever it runs."""
    waiting = [fabric for fabric in fabrics if fabric.get("state") in NOT_READY]
    if not waiting and not _needed_unseen(manager, fabrics, inventory):
        return
    elsewhere = not manager.switches
    if not elsewhere and manager.running:
        return
    if elsewhere and manager.get("running"):
        return
    early = machine.now - machine.get("booted", 0.0) < STARTING_SECONDS
    yield Finding(
        NODE,
        confidence=Confidence.LIKELY if elsewhere or early else Confidence.CERTAIN,
        evidence=[
            *(e for fabric in waiting for e in fabric.seen("state")),
            *manager.seen("switches", "running", "installed"),
            *_complaint(manager),
        ],
        gpus=[fabric.subject.id for fabric in waiting],
        switches=len(manager.switches),
        action=_where(manager, machine),
    )


def _needed_unseen(manager: FabricManager, fabrics: tuple[GpuFabric, ...], inventory: Inventory) -> bool:
    """A100 knows no fabric state: there the switches alone say that a fabric manager is needed."""
    switches = [inventory.devices[bus_id] for bus_id in manager.switches if bus_id in inventory.devices]
    ours = [s for s in switches if s.get("driver") not in PASSED_THROUGH]
    unknown = [f for f in fabrics if isinstance(f.reading("state"), Unread) or f.state == "not_supported"]
    return any(switch.device_id == A100_SWITCH for switch in ours) and len(unknown) == len(fabrics)


def _complaint(manager: FabricManager) -> list[Evidence]:
    said = manager.get("complaint")
    return [Evidence(manager.source("complaint"), said)] if said else []


def _where(manager: FabricManager, machine: Machine) -> str:
    if not manager.switches:
        return "hypervisor" if machine.get("virtualization") == "vm" else "switch_tray"
    installed = manager.reading("installed")
    return "start" if isinstance(installed, Unread) or installed else "install"


@check("FABRIC_MANAGER_VERSION_MISMATCH")
def other_version_than_the_driver(manager: FabricManager, driver: NvidiaDriver) -> Iterator[Finding]:
    """The fabric manager refuses any driver but its own exact version."""
    if not manager.switches or not driver.loaded or manager.version == driver.version:
        return
    on_disk = {library.version for library in driver.get("libraries", ())}
    yield Finding(
        NODE,
        evidence=[
            *manager.seen("version"),
            *driver.seen("version"),
            *_complaint(manager),
        ],
        manager_version=manager.version,
        driver_version=driver.version,
        running=manager.get("running"),
        action="reload" if manager.version in on_disk else "install",
    )


@check("IMEX_NOT_RUNNING")
def no_export_between_nodes(imex: Imex, inventory: Inventory) -> Iterator[Finding]:
    """These GPUs can share memory across nodes, and the daemon that arranges it is not there."""
    kinds = table(PACK, "device_ids")["multi_node"]
    if any(d.kind == "gpu" and d.get("device_id") in kinds for d in inventory.devices.values()) and not imex.running:
        yield Finding(
            NODE, evidence=imex.seen("running", "configured", "channels"), configured=imex.get("configured", False)
        )


@check("FABRIC_NOT_READY")
def fabric_stuck(fabric: GpuFabric, manager: FabricManager, machine: Machine) -> Iterator[Finding]:
    """A fabric manager runs, or its work is done, and this GPU still has no fabric."""
    failed = fabric.state == "completed" and fabric.status != 0
    early = machine.now - machine.get("booted", 0.0) < STARTING_SECONDS
    unseen = isinstance(manager.reading("running"), Unread)  # a container, or a user who sees no daemons
    stuck = fabric.state in NOT_READY and (unseen or manager.running) and not early
    if failed or stuck:
        yield Finding(
            fabric.subject,
            confidence=Confidence.LIKELY if unseen and not failed else Confidence.CERTAIN,
            evidence=fabric.seen("state", "status"),
            state=fabric.state,
            status=fabric.get("status"),
        )
