"""What to do about an Xid, how grave it is, and on whose word.

Order of authority: NVML's recovery action, Xid 154's text, RST and D-RST flags, the NVLink 5 decode, the NVLink
registers, NVIDIA's catalogue, unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gpudoctor.facts.kernel_log import Containment, Nvlink5Error, NvlinkRegisters
from gpudoctor.finding import Confidence, Severity
from gpudoctor.knowledge import table
from gpudoctor_checks.kernel.xid_history import History, Seen, xid_table

RECOVERY = {  # nvmlDeviceGpuRecoveryAction_t, which Xid 154 prints
    1: "reset_gpu",
    2: "reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex",
    6: "reset_bus",
    7: "reboot",
}
ASKED = {  # the same enum as NVML names it
    "reset_gpu": "reset_gpu",
    "reboot_node": "reboot",
    "drain_p2p": "drain_p2p",
    "drain_and_reset": "drain_and_reset",
    "recover_imex_domain": "recover_imex",
    "reset_bus": "reset_bus",
    "reboot_system": "reboot",
}
BUCKETS = {
    "RESTART_APP": "restart_app",
    "RESET_GPU": "reset_gpu",
    "RESTART_BM": "reboot",
    "RESTART_VM": "restart_vm",
    "CONTACT_SUPPORT": "contact_support",
    "CHECK_MECHANICALS": "check_mechanicals",
    "UPDATE_SWFW": "update_software",
    "WORKFLOW_XID_45": "restart_app",
    "WORKFLOW_XID_48": "reset_gpu",
    "WORKFLOW_NVLINK_ERR": "reset_gpu",
    "CHECK_UVM": "contact_support",
    "IGNORE": "none",
    "XID_154": "unknown",
}
GRAVITY = {
    "none": Severity.INFO,
    "restart_app": Severity.WARNING,
    "unknown": Severity.WARNING,
    "drain_and_reset": Severity.WARNING,  # the GPU still works, at reduced capacity
    "drain_p2p": Severity.ERROR,
    "recover_imex": Severity.ERROR,
    "check_mechanicals": Severity.ERROR,
    "update_software": Severity.ERROR,
    "contact_support": Severity.ERROR,
    "reset_gpu": Severity.CRITICAL,
    "reset_bus": Severity.CRITICAL,
    "restart_vm": Severity.CRITICAL,
    "reboot": Severity.CRITICAL,
}
VERDICT_SECONDS = 60.0  # Xids 94 and 95 come with the 48 that they judge
ECC_REPEATS = 2  # NVIDIA's workflow for Xid 74: parity errors count against the link when seen more often


class Decision(msgspec.Struct, frozen=True):
    action: str
    severity: Severity
    confidence: Confidence
    by: str
    decoded: tuple[str, ...] = ()  # what the line's registers mean


def decide(group: Sequence[Seen], past: History, driver_version: str | None) -> Decision:
    xid, bus_id = group[0].event.xid, group[0].event.bus_id
    entry = xid_table().get(xid)
    stated = _asked(xid, bus_id, past) or _stated(xid, bus_id, past)
    if stated is not None:
        return stated
    if entry is None:
        return Decision("unknown", Severity.WARNING, Confidence.POSSIBLE, "no published table has this number")
    decided = _flags(group) or _nvlink5(group, driver_version) or _registers(group, past) or _contained(group, past)
    return decided or by_bucket(entry)


def _asked(xid: int, bus_id: str, past: History) -> Decision | None:
    """What the GPU asks for now settles the Xids that feed its recovery action: those that Xid 154 speaks of."""
    asked = past.asked.get(bus_id)
    if asked is None or xid not in (154, *xid_table()[154]["follows"]):
        return None
    by = f"NVML's recovery action: {asked.replace('_', ' ')}"
    if asked == "none":  # it was reset since, or the error was dealt with; that it happened stays worth a look
        severity = Severity.INFO if xid == 154 else Severity.WARNING
        return Decision("settled", severity, Confidence.CERTAIN, by)
    severity = max(GRAVITY[ASKED[asked]], _least(xid))
    return Decision(ASKED[asked], severity, Confidence.CERTAIN, by)


def _least(xid: int) -> Severity:
    """Whatever is to be done with the GPU, data in its memory was lost."""
    entry = xid_table()[xid]
    if own := entry.get("severity"):
        return Severity[own.upper()]
    return Severity.ERROR if entry["class"] == "memory" and entry.get("action") != "IGNORE" else Severity.INFO


def _stated(xid: int, bus_id: str, past: History) -> Decision | None:
    change = past.recovery.get(bus_id)
    if change is None or (xid != 154 and xid not in xid_table()[154]["follows"]):
        return None
    bus = change.after == 5 and "bus" in change.text.lower()  # R580 has the bus reset where R600 has IMEX
    action = "reset_bus" if bus else RECOVERY.get(change.after, "unknown")
    severity = GRAVITY[action] if xid == 154 else max(GRAVITY[action], _least(xid))
    return Decision(action, severity, Confidence.CERTAIN, f"Xid 154: {change.text}")


def _flags(group: Sequence[Seen]) -> Decision | None:
    said = [s.event.says for s in group if isinstance(s.event.says, Containment)]
    if any(s.reset for s in said):
        return Decision("reset_gpu", Severity.CRITICAL, Confidence.CERTAIN, "RST: Yes on the line")
    if any(s.drain_and_reset for s in said):
        return Decision("drain_and_reset", Severity.ERROR, Confidence.CERTAIN, "D-RST: Yes on the line")
    if said and all(s.contained and s.reset is False for s in said):
        return Decision("restart_app", Severity.ERROR, Confidence.CERTAIN, "RST: No, D-RST: No on the line")
    return None


def _nvlink5(group: Sequence[Seen], driver_version: str | None) -> Decision | None:
    errors = [(s.event.xid, s.event.says) for s in group if isinstance(s.event.says, Nvlink5Error)]
    if not errors:
        return None
    decisions = [_decoded5(xid, error, driver_version) for xid, error in dict.fromkeys(errors)]
    return max(decisions, key=lambda d: d.severity)


def _decoded5(xid: int, error: Nvlink5Error, driver_version: str | None) -> Decision:
    units = (error.unit,)
    rules = [r for r in table("gpudoctor_checks", "xid")["nvlink5"]["rules"] if _fits(r, xid, error, driver_version)]
    actions = {r["action"] for r in rules}
    if actions == {"RESET_GPU"}:
        return Decision("reset_gpu", Severity.CRITICAL, Confidence.CERTAIN, "the catalogue's NVLink 5 decode", units)
    if actions == {"IGNORE"}:
        grave = Severity.WARNING if error.fatal else Severity.INFO
        return Decision("none", grave, Confidence.CERTAIN, "the catalogue's NVLink 5 decode", units)
    if actions == {"XID_154_EVAL"}:  # "do what Xid 154 says", and the log holds no Xid 154 of this GPU
        return Decision("unknown", Severity.WARNING, Confidence.LIKELY, "the catalogue defers to Xid 154", units)
    if error.fatal:
        return Decision("reset_gpu", Severity.CRITICAL, Confidence.LIKELY, "the word Fatal on the line", units)
    return Decision("none", Severity.WARNING, Confidence.LIKELY, "the word Nonfatal on the line", units)


def _fits(rule: Mapping[str, Any], xid: int, error: Nvlink5Error, driver_version: str | None) -> bool:
    if rule["xid"] != xid or error.interrupt is None or rule["status"] != error.error_status:
        return False
    if error.unit not in rule["unit"].split("/"):
        return False
    major = int(driver_version.split(".")[0]) if driver_version else None
    patterns = [rule["v1"], rule["v2"]] if major is None else [rule["v2" if major >= 575 else "v1"]]
    bits = f"{error.interrupt & 0xFFFFFFFF:032b}"
    return any(all(want in ("-", bit) for want, bit in zip(p, bits, strict=True)) for p in patterns)


def _registers(group: Sequence[Seen], past: History) -> Decision | None:
    said = [s.event.says for s in group if isinstance(s.event.says, NvlinkRegisters)]
    if not said:
        return None
    links = Counter(s.link for s in said)
    kinds = {kind for s in said for kind in _kinds(s)}
    by, how = "the registers, read as on Hopper", tuple(sorted(kinds))
    error, likely = Severity.ERROR, Confidence.LIKELY
    if not kinds:
        return None
    if kinds <= {"ignored", "corrected"}:
        return Decision("none", Severity.INFO, likely, by, how)
    if kinds <= {"ignored", "corrected", "secondary"}:  # of another fault; alone, a case for NVIDIA
        alone = not past.xids - {74, 45, 43, 154}
        return Decision("contact_support" if alone else "none", error if alone else Severity.WARNING, likely, by, how)
    if kinds & {"mechanical", "signal"}:
        return Decision("check_mechanicals", error, likely, by, how)
    repeats = max(links.values())
    if kinds & {"unexpected", "undocumented"} or (kinds & {"parity", "repeated"} and repeats > ECC_REPEATS):
        return Decision("contact_support", error, likely, by, how)
    return Decision("reset_gpu", error, likely, by, how)


def _kinds(said: NvlinkRegisters) -> set[str]:
    defined: Mapping[int, Mapping[str, Sequence[int]]] = table("gpudoctor_checks", "xid")["nvlink74"]["bits"]
    kinds: set[str] = set()
    for register, meanings in defined.items():
        word = said.registers[register] if register < len(said.registers) else 0
        for bit in range(word.bit_length()):
            if word >> bit & 1:
                kinds.add(next((kind for kind, bits in meanings.items() if bit in bits), "undocumented"))
    return kinds


def _contained(group: Sequence[Seen], past: History) -> Decision | None:
    """Uncorrectable errors each of which the GPU contained (94), and none of which it failed to contain (95)."""
    bus_id = group[0].event.bus_id
    if group[0].event.xid != 48 or (bus_id, 95) in past.by_code:
        return None
    verdicts = [seen.at for seen in past.by_code.get((bus_id, 94), ())]
    if not all(any(abs(at - seen.at) <= VERDICT_SECONDS for at in verdicts) for seen in group):
        return None
    return Decision("drain_and_reset", Severity.ERROR, Confidence.LIKELY, "Xid 94 says that the error was contained")


def by_bucket(entry: Mapping[str, Any]) -> Decision:
    bucket = entry.get("action")
    action = BUCKETS.get(str(bucket), "unknown")
    application = entry["class"] == "application"
    if application and action == "none":
        action = "restart_app"
    severity = Severity.ERROR if action == "restart_app" and entry["class"] == "memory" else GRAVITY[action]
    if own := entry.get("severity"):
        severity = Severity[own.upper()]
    if bucket is None:
        return Decision(action, severity, Confidence.POSSIBLE, "no action is published for this Xid")
    return Decision(action, severity, Confidence.CERTAIN, f"NVIDIA's catalogue: {bucket}")
