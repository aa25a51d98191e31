"""Who has the pid that a GPU's driver names."""

from __future__ import annotations

from typing import Literal

from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Unread

FIRST_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO: the namespace that sees every process
KFD = "/dev/kfd"  # open in each process that computes on AMD GPUs, and in what it forks
LINKS = 256  # of open files, until one leads to the driver


def alive(node: Node, pid: int) -> Literal["running", "zombie", "gone"] | None:
    stat = node.read(f"/proc/{pid}/stat")
    if isinstance(stat, Unread):
        return "gone" if stat.gap is Gap.ABSENT and node.uid == 0 else None  # hidepid hides others' processes
    state = stat.rpartition(b")")[2].split()[:1]
    return "zombie" if state in ([b"Z"], [b"X"]) else "running"


def has_open(node: Node, pid: int, path: str) -> bool | None:
    """None where this user cannot see, or the process has more files open than are looked at."""
    folder = f"/proc/{pid}/fd"
    names = node.list(folder)
    if isinstance(names, Unread):
        return None
    numbers = sorted(filter(str.isdecimal, names), key=int)
    targets = [node.link(f"{folder}/{name}") for name in numbers[:LINKS]]
    if path in targets:
        return True
    return None if len(numbers) > LINKS or any(isinstance(target, Unread) for target in targets) else False
