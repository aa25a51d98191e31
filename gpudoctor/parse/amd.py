"""The files of amdgpu that hold more than one value.

Formats: drivers/gpu/drm/amd/amdgpu/amdgpu_ras.c, drivers/gpu/drm/amd/include/kgd_pp_interface.h,
https://docs.kernel.org/gpu/amdgpu/ras.html and thermal.html
"""

from __future__ import annotations

import re
import struct
from collections import Counter

from gpudoctor.facts.amd import GpuMetrics, RasCount
from gpudoctor.unread import Gap, Reading, Unread

ABSENT_VALUE = 0xFFFF  # what the firmware does not fill in
_COUNT = re.compile(r"^(?P<kind>ue|ce|de): (?P<count>\d{1,18})$", re.MULTILINE)
_BAD_PAGE = re.compile(r"^0x[0-9a-f]{1,16} : 0x[0-9a-f]{1,16} : (?P<flag>[RPF])$", re.MULTILINE)
_LEVEL = re.compile(r"^\d{1,3}: (?P<mhz>\d{1,6})Mhz \*$", re.MULTILINE | re.IGNORECASE)
# Offsets of hotspot and memory temperature, power, gfx and memory activity.
_HEADS = {3: (6, 8, 22, 16, 18), 4: (4, 6, 10, 12, 14)}
_HEADS.update(dict.fromkeys((5, 6, 7), _HEADS[4]))


def parse_ras_count(block: str, text: str) -> RasCount | None:
    held = {found["kind"]: int(found["count"]) for found in _COUNT.finditer(text)}
    if "ue" not in held or "ce" not in held:
        return None
    return RasCount(block, held["ue"], held["ce"], held.get("de"))


def parse_bad_pages(text: str) -> dict[str, int]:
    """R: reserved, no longer used. P: waits to be reserved. F: could not be reserved, and is still in use."""
    return dict(Counter(found["flag"] for found in _BAD_PAGE.finditer(text)))


def parse_current_level(text: str) -> int | None:
    found = _LEVEL.search(text)
    return int(found["mhz"]) if found else None


def parse_gpu_metrics(data: bytes, where: str) -> Reading[GpuMetrics]:
    if len(data) < 4:
        return Unread(Gap.MALFORMED, where, f"has {len(data)} bytes, less than its header")
    size, major, minor = struct.unpack_from("<HBB", data)
    version = f"{major}.{minor}"
    if size > len(data):
        return Unread(Gap.MALFORMED, where, f"says that it has {size} bytes and has {len(data)}")
    offsets = _HEADS.get(minor) if major == 1 else None
    if offsets is None:
        return Unread(Gap.UNSUPPORTED, where, f"is of version {version}, whose layout is not known here")
    if size < max(offsets) + 2:
        return Unread(Gap.MALFORMED, where, f"is of version {version} and has only {size} bytes")
    raw = [struct.unpack_from("<H", data, offset)[0] for offset in offsets]
    return GpuMetrics(version, *(None if value == ABSENT_VALUE else value for value in raw))
