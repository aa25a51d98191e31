"""Daemons that NVIDIA systems lean on."""

from __future__ import annotations

from gpudoctor.facts.fact import Fact, fact, source


@fact
class FabricManager(Fact):
    """None where no NVSwitch is in sight and no GPU is meant for a fabric."""

    switches: tuple[str, ...] = source("/sys/bus/pci/devices")  # bus ids of NVSwitches on this machine
    running: bool = source("/proc/*/comm")
    installed: bool = source("/usr/bin/nv-fabricmanager")
    version: str = source("dpkg-query -W nvidia-fabricmanager*, /var/log/fabricmanager.log")
    complaint: str | None = source("/var/log/fabricmanager.log")  # its last refusal to start


@fact
class Imex(Fact):
    """Memory export between nodes. None where no GPU has joined a fabric that reaches beyond this node."""

    running: bool = source("/proc/*/comm")
    configured: bool = source("/etc/nvidia-imex/nodes_config.cfg")
    channels: tuple[str, ...] = source("/dev/nvidia-caps-imex-channels")


@fact
class Persistence(Fact):
    """None without the NVIDIA driver."""

    daemon: bool = source("/run/nvidia-persistenced")
