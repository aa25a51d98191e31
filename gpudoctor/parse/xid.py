"""Xid lines of NVIDIA's kernel driver.

The forms: github.com/NVIDIA/open-gpu-kernel-modules, src/nvidia/src/kernel/gpu/rc/kernel_rc.c (prefix,
MIG, "caused by previous Xid"), events/gpu/ras (63, 64), NVSwitch and NVLink messages of 74 and 144 to 150.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from gpudoctor.facts.kernel_log import (
    Containment,
    KernelRecord,
    MmuFault,
    Nvlink5Error,
    NvlinkRegisters,
    RecoveryChange,
    Remapping,
    SmFault,
    XidDetail,
    XidEvent,
)
from gpudoctor.parse.bus_id import bus_id_of

_XID = re.compile(
    r"Xid ?\((?:PCI:)?(?:(?P<domain>[0-9a-fA-F]{4,8}):)?(?P<bus>[0-9a-fA-F]{2}):(?P<device>[0-9a-fA-F]{2})"
    r"(?:\.[0-7])?(?: (?P<mig>GPU-I:\d{1,4}(?: GPU-CI:\d{1,4})?))?\): ?(?P<xid>\d{1,5})\b,? ?(?P<rest>.*)",
    re.DOTALL,
)
_PID = re.compile(r"pid=(?P<pid>\d{1,10}|'[^',]*'|<[^>,]*>|[^,\s]*)(?:,\s*|\s+|$)")
_NAME = re.compile(r"name=(?P<name>[^,]*)(?:,\s*|$)")
_PREVIOUS = re.compile(r" ?caused by previous Xid (\d{1,5})\s*$")
_HEX = r"0x[0-9a-fA-F]{1,16}"
_SM = re.compile(
    r"SM (?:Warp |Global )?Exception on \(GPC (\d{1,3}), TPC (\d{1,3})(?:, SM (\d{1,3}))?\)(?:: ?(?P<what>.*))?"
)
_MMU = re.compile(
    r"MMU Fault: ENGINE (?P<engine>.{1,80}?) faulted @ (?P<address>0x[0-9a-fA-F_]{1,24})"
    r"(?:\.? Fault is of type (?P<fault>\w+)(?: (?P<access>\w+))?)?"
)
_CONTAINED = re.compile(
    r"(?P<un>Unc|C)ontain?ed:? ?(?P<unit>.*?)(?:\.\s*RST: (?P<rst>Yes|No), ?D-RST: (?P<drst>Yes|No))?\s*$"
)
_LINK74 = re.compile(rf"[Ll]ink (?P<link>\d{{1,3}}) ?\((?P<words>{_HEX}(?:,? +{_HEX}){{0,9}})\)")
_WORDS74 = re.compile(rf"\(?(?P<words>{_HEX}(?:,? +{_HEX}){{6,7}})\)?")
_NVLINK5 = re.compile(
    r"(?P<unit>[A-Z][A-Z0-9_/]{2,40}) (?P<how>Fatal|Nonfatal|Non-fatal) (?:XC\d+ )?(?:i\d+ )?Link (?P<link>-?\d{1,3})"
    rf"(?: \((?P<words>{_HEX}(?:,? +{_HEX}){{0,9}})\))?"
)
_RECOVERY = re.compile(
    r"GPU recovery action changed from (0x[0-9a-fA-F]{1,8}) \([^)]*\) to (0x[0-9a-fA-F]{1,8}) \(([^)]*)\)"
)


class Process(NamedTuple):
    pid: int | None
    name: str | None


def parse_xid(record: KernelRecord) -> XidEvent | None:
    """None where the line is no Xid."""
    found = _XID.search(record.text)
    if found is None:
        return None
    xid = int(found["xid"])
    process, detail = _process(found["rest"])
    previous = _PREVIOUS.search(detail)
    if previous:
        detail = detail[: previous.start()]
    return XidEvent(
        record=record,
        xid=xid,
        bus_id=bus_id_of(found["domain"] or "0", found["bus"], found["device"]),
        mig=found["mig"],
        pid=process.pid,
        process=process.name,
        detail=detail.strip(),
        says=_says(xid, detail),
        previous=int(previous[1]) if previous else None,
    )


def is_open(text: str) -> bool:
    """An Xid line that somebody's terminal or mailer broke: more of it stands on the next line."""
    start = text.find("Xid")
    if start < 0:
        return False
    found = _XID.search(text, start)
    return (
        found is None
        or text.rstrip().endswith((",", "(", ":", "=", "@"))
        or found["rest"].count("(") > found["rest"].count(")")
    )


def _process(rest: str) -> tuple[Process, str]:
    found = _PID.match(rest)
    if found is None:
        return Process(None, None), rest
    pid = int(found["pid"]) if found["pid"].isdigit() else None
    named = _NAME.match(rest, found.end())
    if named is None:
        return Process(pid, None), rest[found.end() :]
    name = named["name"].strip().strip("'")
    return Process(pid, None if name in ("", "<unknown>") else name), rest[named.end() :]


def _says(xid: int, detail: str) -> XidDetail | None:
    if xid == 13:
        return _sm(detail)
    if xid == 31:
        return _mmu(detail)
    if xid in (63, 64):
        return _remapping(detail)
    if xid in (94, 95):
        return _containment(detail)
    if xid == 74:
        return _registers(detail)
    if 144 <= xid <= 150:
        return _nvlink5(detail)
    if xid == 154 and (found := _RECOVERY.search(detail)):
        return RecoveryChange(int(found[1], 16), int(found[2], 16), found[3])
    return None


def _sm(detail: str) -> SmFault | None:
    found = _SM.search(detail)
    return found and SmFault(int(found[1]), int(found[2]), int(found[3] or 0), (found["what"] or "").strip())


def _mmu(detail: str) -> MmuFault | None:
    found = _MMU.search(detail)
    if found is None:
        return None
    digits = found["address"][2:].replace("_", "")
    return MmuFault(found["engine"], int(digits, 16) if digits else None, found["fault"], found["access"])


def _remapping(detail: str) -> Remapping | None:
    scheme: Literal["row", "page", "other"] = "other"
    if "Row Remapp" in detail:
        scheme = "row"
    elif re.search(r"[Pp]age [Rr]etire", detail):
        scheme = "page"
    if "already pending" in detail or "due to pending" in detail:
        return Remapping("already pending", scheme, detail)
    if re.search(r"marked for|to activate|to take effect|next (?:GPU )?(?:reset|reboot)", detail):
        return Remapping("pending", scheme, detail)
    if re.search(r"[Ee]rror|[Ff]ail", detail):
        return Remapping("failed", scheme, detail)
    return Remapping("recorded", scheme, detail) if detail else None


def _containment(detail: str) -> Containment | None:
    found = _CONTAINED.search(detail)
    if found is None:
        return None
    reset, drain = (None if found[name] is None else found[name] == "Yes" for name in ("rst", "drst"))
    return Containment(found["un"] == "C", found["unit"].strip().rstrip("."), reset, drain)


def _registers(detail: str) -> NvlinkRegisters | None:
    found = _LINK74.search(detail)
    if found:
        return NvlinkRegisters(int(found["link"]), _words(found["words"]))
    found = _WORDS74.search(detail)
    return found and NvlinkRegisters(None, _words(found["words"]))


def _nvlink5(detail: str) -> Nvlink5Error | None:
    found = _NVLINK5.search(detail)
    if found is None:
        return None
    link = int(found["link"])
    words = (*_words(found["words"] or ""), None, None)
    return Nvlink5Error(found["unit"], found["how"] == "Fatal", link if link >= 0 else None, words[0], words[1])


def _words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in re.findall(_HEX, text))
