"""What a file system is kept on, as far as the kernel tells: a disk's kind, the network, memory."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute
from gpudoctor.facts.host import Medium
from gpudoctor.node.surface import Node
from gpudoctor.parse.mountinfo import HYPERVISOR, MEMORY, Mount
from gpudoctor.unread import Unread

DEEPEST = 3  # a logical volume on an array of partitions
EBS = "Amazon Elastic Block Store"
_NAMESPACE = re.compile(r"nvme\d+n\d+")


def medium(node: Node, mount: Mount, in_vm: bool) -> Medium:
    if mount.is_network:
        return "network"
    if mount.file_system in MEMORY:
        return "memory"
    if mount.file_system in HYPERVISOR:
        return "virtual"
    if not mount.device_number.startswith("0:"):
        path = f"/sys/dev/block/{mount.device_number}"
    elif mount.device.startswith("/dev/") and mount.device.count("/") == 2:  # btrfs has a number of its own making
        path = f"/sys/class/block/{mount.device[5:]}"
    else:
        return "unknown"
    place = node.link(path)
    return _of_disk(node, mount.device if isinstance(place, Unread) else place, in_vm, 0)


def _of_disk(node: Node, place: str, in_vm: bool, depth: int) -> Medium:
    """`place`: ../../devices/pci0000:00/0000:00:1d.0/0000:3d:00.0/nvme/nvme0/nvme0n1/nvme0n1p2"""
    disk = _disk(place)
    if "/nvme-fabrics/" in place or "/session" in place or disk.startswith(("rbd", "nbd")):
        return "network"
    if disk.startswith("nvme"):
        remote = in_vm and attribute(node, f"/sys/block/{disk}/device/model") == EBS
        return "virtual" if remote else "nvme"
    if disk.startswith(("zram", "ram", "pmem")):
        return "memory"
    if disk.startswith(("dm-", "md")):
        return _beneath(node, disk, in_vm, depth)
    # a virtual disk says rotational unless its host says otherwise
    if disk.startswith(("vd", "xvd")) or "/virtio" in place or (in_vm and disk.startswith("sd")):
        return "virtual"
    if not disk.startswith(("sd", "mmcblk", "hd")):
        return "unknown"
    rotational = attribute(node, f"/sys/block/{disk}/queue/rotational")
    return "ssd" if rotational == "0" else "rotational" if rotational == "1" else "unknown"


def _beneath(node: Node, disk: str, in_vm: bool, depth: int) -> Medium:
    """Of what a volume or array is made; unknown where it is mixed, as behind a cache."""
    members = node.list(f"/sys/block/{disk}/slaves")
    if isinstance(members, Unread) or depth >= DEEPEST:
        return "unknown"
    kinds: set[Medium] = set()
    for member in members:
        place = node.link(f"/sys/class/block/{member}")
        kinds.add("unknown" if isinstance(place, Unread) else _of_disk(node, place, in_vm, depth + 1))
    return kinds.pop() if len(kinds) == 1 else "unknown"


def _disk(place: str) -> str:
    """The whole disk of a partition. Disks of SCSI and virtio stand under `block`, NVMe's under their controller."""
    parts = place.split("/")
    if "block" in parts[:-1]:
        return parts[parts.index("block") + 1]
    return next((part for part in parts if _NAMESPACE.fullmatch(part)), parts[-1])
