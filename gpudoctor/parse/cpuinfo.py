"""/proc/cpuinfo, which every architecture writes in its own words."""

from __future__ import annotations

import re
from typing import NamedTuple

# the kernel prints numbers on Arm: arch/arm64/include/asm/cputype.h, and util-linux's sys-utils/lscpu-arm.c
_ARM_MODELS = {
    ("0x41", "0xd0c"): "Arm Neoverse-N1",
    ("0x41", "0xd40"): "Arm Neoverse-V1",
    ("0x41", "0xd49"): "Arm Neoverse-N2",
    ("0x41", "0xd4f"): "Arm Neoverse-V2",
    ("0x41", "0xd83"): "Arm Neoverse-V3AE",
    ("0x41", "0xd84"): "Arm Neoverse-V3",
    ("0x41", "0xd8e"): "Arm Neoverse-N3",
    ("0x4e", "0x004"): "NVIDIA Carmel",
    ("0x4e", "0x010"): "NVIDIA Olympus",
}
_DECISIVE = re.compile(
    r"avx2?|fma|f16c|avx512\w*|avx10\w*|avx_\w+|amx_\w+|sse4_2|"
    r"sve\w*|sme(2\w*|fa64|[ibf]\d+\w*)?|asimd(dp|hp|fhm)|bf16|i8mm|fphp"
)
_PACKAGE = re.compile(rb"\nphysical id\s*: (\d+)")  # no ^: the literal is found ten times faster in half a megabyte
_CORES = re.compile(rb"\ncpu cores\s*: (\d+)")


class CpuInfo(NamedTuple):
    architecture: str | None
    model: str | None
    flags: frozenset[str] | None
    sockets: int | None  # None: only sysfs tells, as on Arm
    cores: int | None


def cpu_info(text: bytes) -> CpuInfo:
    """Model and flags of the first CPU; sockets and cores of all."""
    block = text.lstrip(b"\n").partition(b"\n\n")[0].decode(errors="replace")
    said = {
        name.strip(): value.strip() for name, colon, value in (x.partition(":") for x in block.split("\n")) if colon
    }
    flags = said.get("flags") or said.get("Features")
    packages, cores = _PACKAGE.findall(text), _CORES.findall(text)
    each = dict(zip(packages, map(int, cores), strict=False))
    return CpuInfo(
        _architecture(said),
        said.get("model name") or _arm_model(said),
        frozenset(flag for flag in flags.split() if _DECISIVE.fullmatch(flag)) if flags is not None else None,
        len(each) or None,
        sum(each.values()) or None,
    )


def _architecture(said: dict[str, str]) -> str | None:
    if "CPU implementer" in said:
        return "aarch64" if said.get("CPU architecture") in ("8", "AArch64") else "arm"
    if "vendor_id" in said and "flags" in said:
        return "x86_64" if " lm " in f" {said['flags']} " else "i686"
    return None


def _arm_model(said: dict[str, str]) -> str | None:
    implementer, part = said.get("CPU implementer"), said.get("CPU part")
    if implementer is None or part is None:
        return None
    return _ARM_MODELS.get((implementer, part), f"Arm implementer {implementer} part {part}")
