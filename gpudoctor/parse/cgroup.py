"""/proc/PID/cgroup: who placed a process, and where its cpuset is."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.facts.process import Manager

ROOT = "/sys/fs/cgroup"
_SLURM = re.compile(r"/(?:[\w.-]*_)?slurmstepd\.scope(?:/|$)|/slurm(?:_[\w.-]+)?/uid_\d+/")
_KUBERNETES = re.compile(r"kubepods|kubelet")
_CONTAINER = re.compile(
    r"/docker/|docker-|/libpod-|/crio-|cri-containerd-|/containerd/|/lxc[./]|/lxc\.payload\.|/actions_job/"
)
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
_UNIT = re.compile(r"([^/]+\.(?:service|scope|slice))(?:/|$)")


class Cgroup(msgspec.Struct, frozen=True):
    path: str
    manager: Manager | None
    unit: str  # the systemd unit, or the first 12 digits of the container's id
    cpusets: tuple[str, ...]  # files that may hold the CPUs it is left, nearest first


def parse_cgroup(text: str) -> Cgroup:
    """Raises ValueError. Lines are `number:controllers:path`; version 2 has number 0 and names no controllers.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html
    """
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    if not paths:
        raise ValueError("is empty")
    telling = max(paths.values(), key=lambda path: (_manager(path) is not None, len(path)))
    return Cgroup(telling, _manager(telling), _unit(telling), tuple(_cpusets(paths)))


def _manager(path: str) -> Manager | None:
    if _SLURM.search(path):
        return "slurm"
    if _KUBERNETES.search(path):
        return "kubernetes"
    if _CONTAINER.search(path) or _CONTAINER_ID.search(path):
        return "container"
    return "systemd" if _UNIT.search(path) and path != "/init.scope" else None


def _unit(path: str) -> str:
    container = _CONTAINER_ID.search(path)
    if container:
        return container[1]
    units = _UNIT.findall(path)
    return str(units[-1]) if units else ""


def _cpusets(paths: dict[str, str]) -> list[str]:
    """A folder without the file inherits from the one above. In a container the path may be the host's: absent."""
    first = "cpuset" in paths
    path = paths["cpuset"] if first else paths.get("", "/")
    if "/.." in path:  # outside of what this cgroup namespace shows
        return []
    root = f"{ROOT}/cpuset" if first else ROOT
    name = "cpuset.effective_cpus" if first else "cpuset.cpus.effective"
    parts = [part for part in path.split("/") if part]
    return ["/".join([root, *parts[:depth], name]) for depth in range(len(parts), -1, -1)]
