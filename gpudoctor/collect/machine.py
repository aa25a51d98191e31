"""The machine as a whole: what it is, and what it runs in."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute, exists
from gpudoctor.collect.collector import collector
from gpudoctor.facts.machine import Machine
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold

DMI = "/sys/class/dmi/id"
CLOCKSOURCES = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
_HYPERVISOR_VENDORS = re.compile(
    r"QEMU|KVM|VMware|VirtualBox|innotek|Xen|Bochs|Parallels|Red Hat|OpenStack|Virtual Machine|Google|"
    r"Alibaba Cloud|Nutanix|Bhyve|Firecracker|Cloud Hypervisor",
    re.IGNORECASE,
)
_CONTAINER_CGROUP = re.compile(rb"docker|kubepods|containerd|libpod|crio|lxc|/garden/|buildkit")
_CONTAINER_ROOT = re.compile(
    rb" / / \S+ (?:.* )?- overlay \S+ \S*(?:docker|container|kubelet|podman|crio|buildkit|apptainer|singularity|enroot)"
)


@collector
def machine(node: Node) -> Machine:
    elsewhere = Unread(Gap.UNSUPPORTED, "/proc", f"{node.platform} has no /proc")
    if node.platform != "linux":
        return Machine(
            platform=node.platform,
            hostname=hold(elsewhere),
            kernel_release=hold(elsewhere),
            virtualization=hold(elsewhere),
            container=False,
            uid=node.uid,
            now=node.time,
            booted=hold(elsewhere),
        )
    release = attribute(node, "/proc/sys/kernel/osrelease")
    return Machine(
        platform="linux",
        hostname=hold(attribute(node, "/proc/sys/kernel/hostname")),
        kernel_release=hold(release),
        virtualization=hold(_virtualization(node, release)),
        container=hold(_container(node)),
        uid=node.uid,
        now=node.time,
        booted=hold(_booted(node)),
    )


def _virtualization(node: Node, release: Reading[str]) -> Reading[str | None]:
    if isinstance(release, str) and "microsoft" in release.lower():
        return "wsl2" if "WSL2" in release or "microsoft-standard" in release else "wsl1"
    product = attribute(node, f"{DMI}/product_name")
    if isinstance(product, str) and product.endswith(".metal"):  # EC2 bare metal: p5.48xlarge is a VM, *.metal is not
        return None
    vendor = attribute(node, f"{DMI}/sys_vendor")
    if vendor == "Amazon EC2":  # on Arm nothing else tells: neither a flag of the CPU nor a clock
        return "vm"
    if any(isinstance(text, str) and _HYPERVISOR_VENDORS.search(text) for text in (vendor, product)):
        return "vm"
    clocks = attribute(node, CLOCKSOURCES)
    if isinstance(clocks, str) and any(name in clocks for name in ("kvm-clock", "hyperv", "xen")):
        return "vm"
    cpus = node.read("/proc/cpuinfo")
    if isinstance(cpus, Unread):
        return cpus
    flags = re.search(rb"^flags\s*:.*$", cpus, re.MULTILINE)
    return "vm" if flags and b" hypervisor" in flags[0] else None


def _container(node: Node) -> Reading[bool]:
    marks = [exists(node, "/.dockerenv"), exists(node, "/run/.containerenv")]
    texts = [(node.read("/proc/1/cgroup"), _CONTAINER_CGROUP), (node.read("/proc/self/mountinfo"), _CONTAINER_ROOT)]
    said = [*marks, *(text if isinstance(text, Unread) else bool(sign.search(text)) for text, sign in texts)]
    if True in said:
        return True
    return False if False in said else next(gap for gap in said if isinstance(gap, Unread))


def _booted(node: Node) -> Reading[float]:
    stat = node.read("/proc/stat")
    if isinstance(stat, Unread):
        return stat
    found = re.search(rb"^btime (\d+)", stat, re.MULTILINE)
    return float(found[1]) if found else Unread(Gap.MALFORMED, "/proc/stat", "has no btime")
