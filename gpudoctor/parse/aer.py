"""PCIe errors, containment, link loss and BAR assignment in the kernel log (drivers/pci).

Formats: drivers/pci/pcie/aer.c and dpc.c, drivers/pci/hotplug/pciehp_ctrl.c, drivers/pci/setup-res.c,
drivers/firmware/efi/cper.c (errors that the firmware handled first).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from gpudoctor.facts.kernel_events import AerEvent, AerSeverity, BarAssignment, LinkEvent
from gpudoctor.facts.kernel_log import KernelRecord
from gpudoctor.parse.bus_id import normal_bus_id

ANCHORS = (
    "PCIe Bus Error",
    "error received",
    "error message received",
    "error status/mask=",
    "device recovery",
    "aer_status",
    "aer_layer",
    "[Hardware Error]",
    "DPC: ",
    "pciehp: Slot",
    ": BAR ",
    "] type 0",
)
DETAIL_LINES = 12  # a detailed error prints its status, its bits and perhaps a TLP header after itself

_BUS = r"(?P<bus_id>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_DEVICE = rf"(?:(?P<driver>[\w-]+) {_BUS}: )?"
_SEVERITY = r"(?P<severity>Correct(?:ed|able)|Uncorrect(?:ed|able) \((?:Non-)?Fatal\))"
_ANNOUNCED = re.compile(
    rf"{_DEVICE}(?:AER: )?(?:Multiple )?{_SEVERITY} error (?:message )?received(?: from|:)? "
    r"(?P<source>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|id=[0-9a-f]{4})",
    re.IGNORECASE,
)
_DETAIL = re.compile(
    rf"{_DEVICE}(?:AER: )?PCIe Bus Error: severity={_SEVERITY}, type=(?P<layer>[\w ]+?)(?: Layer)?, "
    r"(?:id=(?P<id>[0-9a-f]{4}) ?)?\((?P<agent>[\w ]+?)(?: ID)?\)",
    re.IGNORECASE,
)
_DETAIL_CUT = re.compile(
    rf"{_DEVICE}(?:AER: )?PCIe Bus Error: severity={_SEVERITY}(?:, type=(?P<layer>\w[\w ]*))?", re.I
)
_STATUS = re.compile(r"device \[(?P<vendor>[0-9a-f]{4}):[0-9a-f]{4}\] error status/mask=", re.IGNORECASE)
_BIT = re.compile(r"\[ ?\d{1,2}\] (?P<name>[A-Z]\w+)")
_RECOVERY = re.compile(rf"{_DEVICE}(?:AER: )?[Dd]evice recovery (?P<how>successful|failed)")
_DPC = re.compile(rf"{_DEVICE}DPC: containment event, status:(?P<status>0x[0-9a-f]+)(?:[:,]? (?P<reason>.{{1,120}}))?")
_SLOT = re.compile(rf"{_DEVICE}pciehp: Slot\([^)]{{0,32}}\): (?P<what>Link Down|Link Up|Card not present)")
_BAR = re.compile(
    rf"{_DEVICE}BAR (?P<bar>\d{{1,2}})(?::| \[[^]]{{1,80}}\]:) (?P<how>no space|can't assign|failed to assign|assigned)"
)
_LISTED = re.compile(
    rf"{_DEVICE}\[(?P<vendor>[0-9a-f]{{4}}):[0-9a-f]{{4}}\] type 0\d class 0x(?P<class>[0-9a-f]{{6}})", re.I
)
_FIRMWARE = re.compile(r"\[Hardware Error\]:\s+(?:Error \d+, type: (?P<type>\w+)|device_id: (?P<device>[0-9a-f:.]+))")


def aer_events(records: Sequence[KernelRecord]) -> Iterator[AerEvent]:
    """Announcements are joined to the details that follow them; a lone one stands for its error."""
    announced: dict[str, _Announcement] = {}
    made: list[AerEvent] = []
    for i, record in enumerate(records):
        if "error" not in record.text and "Error" not in record.text and "recovery" not in record.text:
            continue
        if found := _ANNOUNCED.search(record.text):
            each = _Announcement.of(record, found)
            made += [e.event() for e in [announced.pop(each.source, None)] if e]
            announced[each.source] = each
        elif detail := _DETAIL.search(record.text) or _DETAIL_CUT.search(record.text):
            event = _detailed(record, detail, records[i + 1 : i + 1 + DETAIL_LINES])
            before = announced.pop(event.bus_id, None)
            made.append(replace(event, port=before.port) if before else event)
        elif recovery := _RECOVERY.search(record.text):
            made = _recovered(made, normal_bus_id(recovery["bus_id"] or ""), recovery["how"] == "successful")
    made += [each.event() for each in announced.values()]
    made += _firmware_first(records)
    return iter(sorted(made, key=lambda e: e.record.line))


class _Announcement(msgspec.Struct, frozen=True):
    record: KernelRecord
    port: str | None
    source: str
    severity: AerSeverity

    @classmethod
    def of(cls, record: KernelRecord, found: re.Match[str]) -> _Announcement:
        port = normal_bus_id(found["bus_id"] or "")
        source = found["source"]
        if source.startswith("id="):
            domain = port[:4] if port else "0000"
            source = _of_requester(domain, int(source[3:], 16))
        return cls(record, port, normal_bus_id(source) or source, _severity(found["severity"]))

    def event(self) -> AerEvent:
        return AerEvent(self.record, self.source, self.port, self.severity, None, None, (), None, None, None)


def _of_requester(domain: str, number: int) -> str:
    return f"{domain}:{number >> 8:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"


def _severity(text: str) -> AerSeverity:
    lower = text.lower()
    if lower.startswith("correct"):
        return "corrected"
    return "nonfatal" if "non-fatal" in lower else "fatal"


def _detailed(record: KernelRecord, found: re.Match[str], after: Sequence[KernelRecord]) -> AerEvent:
    groups = found.groupdict()
    errors: list[str] = []
    vendor = None
    for line in after:
        if status := _STATUS.search(line.text):
            vendor = int(status["vendor"], 16)
        elif bit := _BIT.search(line.text):
            errors.append(bit["name"])
        elif "TLP Header" not in line.text and "reported first" not in line.text:
            break
    return AerEvent(
        record,
        normal_bus_id(groups["bus_id"] or "") or "",
        None,
        _severity(groups["severity"]),
        groups.get("layer"),
        groups.get("agent"),
        tuple(dict.fromkeys(errors)),
        groups["driver"],
        vendor,
        None,
    )


def _recovered(made: list[AerEvent], port: str | None, how: bool) -> list[AerEvent]:
    """A recovery is reported at the port, right after the errors it recovers from."""
    for i in range(len(made) - 1, -1, -1):
        event = made[i]
        if event.severity != "corrected" and event.recovered is None and port in (None, event.port, event.bus_id):
            return [*made[:i], replace(event, recovered=how), *made[i + 1 :]]
    return made


def _firmware_first(records: Iterable[KernelRecord]) -> Iterator[AerEvent]:
    """Errors that the platform's firmware reports through APEI: severity first, the device lines later."""
    names: dict[str, AerSeverity] = {"corrected": "corrected", "recoverable": "nonfatal", "fatal": "fatal"}
    severity: AerSeverity | None = None
    for record in records:
        found = _FIRMWARE.search(record.text) if "[Hardware Error]" in record.text else None
        if found is None:
            continue
        if found["type"]:
            severity = names.get(found["type"].lower())
        elif severity and (bus_id := normal_bus_id(found["device"])):
            yield AerEvent(record, bus_id, None, severity, None, None, (), None, None, None)
            severity = None


def link_events(records: Iterable[KernelRecord]) -> Iterator[LinkEvent]:
    for record in records:
        if "DPC: containment" in record.text and (found := _DPC.search(record.text)):
            yield LinkEvent(record, normal_bus_id(found["bus_id"] or "") or "", "contained", found["reason"])
        elif "pciehp: Slot" in record.text and (found := _SLOT.search(record.text)):
            bus_id = normal_bus_id(found["bus_id"] or "") or ""
            what = found["what"]
            if what == "Link Down":
                yield LinkEvent(record, bus_id, "link down", None)
            elif what == "Link Up":
                yield LinkEvent(record, bus_id, "link up", None)
            else:
                yield LinkEvent(record, bus_id, "card not present", None)


def bar_assignments(records: Iterable[KernelRecord]) -> Iterator[BarAssignment]:
    for record in records:
        if ": BAR " in record.text and (found := _BAR.search(record.text)):
            bus_id = normal_bus_id(found["bus_id"] or "")
            if bus_id:
                yield BarAssignment(record, bus_id, int(found["bar"]), found["how"] == "assigned")


def listed_devices(records: Iterable[KernelRecord]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Bus id, vendor and class, as the kernel lists each device at boot."""
    for record in records:
        if "] type 0" in record.text and (found := _LISTED.search(record.text)):
            bus_id = normal_bus_id(found["bus_id"] or "")
            if bus_id:
                yield bus_id, (int(found["vendor"], 16), int(found["class"], 16))
