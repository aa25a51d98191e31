"""How each GPU is set up, and its firmware versions."""

from __future__ import annotations

import re

from gpudoctor.collect.answers import Answers, ask, flag, integer, item, malformed, text
from gpudoctor.collect.collector import collector
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import ComputeMode, GpuSettings, Virtualization
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread, hold

SETTINGS = {
    "persistence": ("nvmlDeviceGetPersistenceMode",),
    "display": ("nvmlDeviceGetDisplayActive",),
    "compute": ("nvmlDeviceGetComputeMode",),
    "mig": ("nvmlDeviceGetMigMode",),
    "virtualization": ("nvmlDeviceGetVirtualizationMode",),
    "vbios": ("nvmlDeviceGetVbiosVersion",),
    "inforom": ("nvmlDeviceGetInforomImageVersion",),
    "gsp": ("nvmlDeviceGetGspFirmwareVersion",),
}
MODES: dict[int, ComputeMode] = {
    0: "default",
    1: "exclusive_thread",
    2: "prohibited",
    3: "exclusive_process",
}
VIRTUALIZATION: dict[int, Virtualization] = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host_vgpu", 4: "host_vsga"}
MIG_DEVICES = 7  # the most instances that any GPU can be cut into

_SERVER = re.compile(
    r"\b(Tesla|HGX|Server Edition|A(2|10|10G|10M|16|30|30X|40|100|100X|800)|L(2|4|20|40|40S|40G)|H(20|100|200|800)"
    r"|B(100|200|300)|G[BH][23]00|P(4|40|100)|T4|V100)\b"
)
_DESK = re.compile(r"GeForce|Quadro|TITAN|RTX A?\d|Laptop|Workstation|Max-Q")


@collector
def gpu_settings(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuSettings, ...]:
    asked = ask(node, gpus, SETTINGS)
    cut = [gpu for gpu, answers in asked if item(answers["mig"], 0) == 1]
    instances = _instances(node, cut)
    return tuple(_settings(gpu, answers, instances.get(gpu.bus_id, 0)) for gpu, answers in asked)


def _settings(gpu: Gpu, answers: Answers, mig_devices: Reading[int]) -> GpuSettings:
    mode, virtualization = integer(answers["compute"]), integer(answers["virtualization"])
    return GpuSettings(
        gpu.subject,
        data_centre=hold(server_gpu(gpu.reading("name"))),
        persistence=hold(flag(answers["persistence"])),
        display_active=hold(flag(answers["display"])),
        compute_mode=hold(mode if isinstance(mode, Unread) else MODES.get(mode) or malformed(f"compute mode {mode}")),
        mig=hold(flag(item(answers["mig"], 0))),
        mig_pending=hold(flag(item(answers["mig"], 1))),
        mig_devices=hold(mig_devices),
        virtualization=hold(
            virtualization
            if isinstance(virtualization, Unread)
            else VIRTUALIZATION.get(virtualization) or malformed(f"virtualization {virtualization}")
        ),
        vbios_version=hold(text(answers["vbios"])),
        inforom_version=hold(text(answers["inforom"])),
        gsp_version=hold(text(answers["gsp"])),
    )


def server_gpu(name: Reading[str]) -> Reading[bool]:
    """By name: since Ampere NVML gives most server and workstation GPUs one brand."""
    if isinstance(name, Unread):
        return name
    return bool(_SERVER.search(name)) and (not _DESK.search(name) or "Server Edition" in name)


def _instances(node: Node, gpus: list[Gpu]) -> dict[str, Reading[int]]:
    """How many MIG devices exist: indices are asked one by one, an absent one is not found."""
    calls = [NvmlCall("nvmlDeviceGetMigDeviceHandleByIndex", g.index, (i,)) for g in gpus for i in range(MIG_DEVICES)]
    answers = node.nvml(calls) if calls else ()
    return {gpu.bus_id: _present(answers[at * MIG_DEVICES : (at + 1) * MIG_DEVICES]) for at, gpu in enumerate(gpus)}


def _present(answers: tuple[Reading[object], ...]) -> Reading[int]:
    gone = [a for a in answers if isinstance(a, Unread) and not _not_found(a)]
    return gone[0] if gone else sum(not isinstance(a, Unread) for a in answers)


def _not_found(gap: Unread) -> bool:
    return gap.gap is Gap.ABSENT or "not found" in gap.detail.lower().replace("_", " ")
