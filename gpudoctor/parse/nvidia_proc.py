"""/proc/driver/nvidia: version and one `information` a GPU."""

from __future__ import annotations

import re
from typing import NamedTuple

_NVRM = re.compile(
    r"^NVRM version:\s*(?P<what>.*?Kernel Module.*?)\s+(?P<version>\d{2,4}\.\d+(?:\.\d+)*)\b", re.MULTILINE
)
_VERSION = re.compile(r"\d{2,4}(?:\.\d{1,4}){1,3}")


class ModuleBanner(NamedTuple):
    version: str
    open_module: bool


def module_banner(text: str) -> ModuleBanner | None:
    """`NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (...)`"""
    found = _NVRM.search(text)
    return ModuleBanner(found["version"], "Open Kernel Module" in found["what"]) if found else None


def information(text: str) -> dict[str, str]:
    """`Device Minor: \\t 0` a line."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def version_in_name(file: str) -> str | None:
    """`/usr/lib64/libcuda.so.580.159.04` -> `580.159.04`; None for `libcuda.so.1` and `libcuda.so.1.1`."""
    version = file.rpartition(".so.")[2]
    return version if _VERSION.fullmatch(version) else None
