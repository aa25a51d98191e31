"""What is mounted where: /proc/PID/mountinfo.

https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# file systems whose servers are other machines; 9p and virtiofs are a hypervisor's or WSL's view of its own disk
NETWORK = re.compile(
    r"nfs4?|lustre|beegfs|gpfs|ceph|cifs|smb3|smbfs|afs|orangefs|pvfs2|panfs|wekafs|"
    r"fuse\.(juicefs|JuiceFS|s3fs|goofys|geesefs|gcsfuse|mountpoint-s3|blobfuse2?|rclone|sshfs|ceph(-fuse)?|glusterfs|"
    r"dfuse|davfs2?|alluxio\S*|hdfs\S*|moosefs|lizardfs|ossfs2?|cosfs)"
)
MEMORY = frozenset(["tmpfs", "ramfs", "devtmpfs", "hugetlbfs"])
HYPERVISOR = frozenset(["9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse", "prl_fs"])
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    mount_point: str
    device_number: str  # 259:2; 0:N for what is no block device
    file_system: str
    device: str  # /dev/nvme0n1p2, server:/export, tmpfs

    @property
    def is_network(self) -> bool:
        return NETWORK.fullmatch(self.file_system) is not None


def mounts(text: bytes) -> tuple[Mount, ...]:
    """Lines that are not whole are left out."""
    found = (_mount(line) for line in text.decode(errors="replace").split("\n"))
    return tuple(mount for mount in found if mount)


def mount_of(mounted: Sequence[Mount], path: str) -> Mount | None:
    """The one with the longest mount point above the path; of two at the same place the later hides the earlier."""
    best: Mount | None = None
    for mount in mounted:
        point = mount.mount_point
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and (best is None or len(point) >= len(best.mount_point)):
            best = mount
    return best


def _mount(line: str) -> Mount | None:
    """`29 1 259:2 / /mnt/data rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw`: optional fields end with the hyphen."""
    head, hyphen, tail = line.partition(" - ")
    before, behind = head.split(" "), tail.split(" ")
    if not hyphen or len(before) < 6 or len(behind) < 2:
        return None
    return Mount(_unescaped(before[4]), before[2], behind[0], _unescaped(behind[1]))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
