"""What tells one machine, board or person from another in text, and what is written in its place.

The same thing always becomes the same text, different things different ones, so that what is
compared with each other still compares the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

UUID = re.compile(
    r"(?<![0-9A-Fa-f])([0-9A-Fa-f]{8})(-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-)([0-9A-Fa-f]{12})\b"
)
PART_OF_UUID = re.compile(r"\b((?:GPU|MIG)-[0-9A-Fa-f]{8})-(?!0000-0000-0000-)[0-9A-Fa-f-]{1,26}(?![0-9A-Fa-f-])")
MAC = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{2}:){5}(?:(?:[0-9A-Fa-f]{2}:){2,14})?[0-9A-Fa-f]{2}(?![\w:.])")
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{3,35}(?![\w:.])")
IPV4 = re.compile(
    r"(?<![\w.])(?P<label>(?:(?:version|ver|firmware|fw|bios|rev(?:ision)?|release)[:= ]*)?)"
    r"(?P<address>(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))(?![\w]|\.\d)",
    re.IGNORECASE,
)
SERIAL = re.compile(
    r"(?P<label>\b(?:serial(?:[ _-]?(?:number|no|num))?|S/?N|GPU PDI|PDI|asset[ _]tag)\b\s*[:=]\s*\"?)"
    r"(?P<value>(?=[A-Za-z0-9-]*\d)[A-Za-z0-9-]{6,})(?![\w/])",
    re.IGNORECASE,
)
# not max_tokens=8192, not tokenizer=...
_TELLTALE = r"[\w.-]*(?:api[_-]?key|access[_-]?key|token(?![a-z])|secret|passw(?:or)?d|passphrase|credential)[\w.-]*"
SECRET = re.compile(
    rf"(?P<label>(?<![\w.-])(?:{_TELLTALE}(?:=|:[ ]?|\"[ ]?:[ ]?\")|--{_TELLTALE}[ \0]))"
    r"(?P<value>(?!\d+\b)[^\s\0\"]{4,})",
    re.IGNORECASE,
)
CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s:@\0]+(?::[^/\s@\0]*)?@")
HOME = re.compile(r"(?P<home>/(?:home|Users|data/home|export/home)/)(?P<name>[A-Za-z0-9._-]+)")

DOMAIN = re.compile(r"(redacted-host(?:-\d+)?)(?:\.[A-Za-z][A-Za-z0-9-]*)+")

# words that are a host's or user's name somewhere, and mean something else nearly everywhere
COMMON = re.compile(
    r"localhost|localdomain|none|root|users?|admin|nobody|daemon|docker|containerd|kubelet|ubuntu|debian|fedora|centos|"
    r"rocky|linux|kernel|nvidia|cuda|gpus?|nodes?|host|server|master|worker|test|data|home|local|slurm|python|torch|vllm|"
    r"triton|intel|system|driver|memory|error|warning|device|bridge|pcieport|fabric|switch",
    re.IGNORECASE,
)


class Identities:
    """Stands in for names, serial numbers and addresses."""

    def __init__(
        self,
        hosts: Iterable[str] = (),
        users: Iterable[str] = (),
        serials: Iterable[str] = (),
        names: Iterable[str] = (),
    ) -> None:
        self._stand_ins: dict[str, dict[str, str]] = {}
        words = {name: self._stand_in("name", name) for name in names if name}
        words |= {name: self.host(name) for name in hosts if _is_rare(name)}
        words |= {serial: self.serial(serial) for serial in serials if len(serial) >= 8}
        self._words = words
        # Slurm puts a node's name into its cgroups: /slurm_gpu-a17/uid_1001, /system.slice/gpu-a17_slurmstepd.scope
        self._named = _any_of(words, r"(?:(?<![\w-])|(?<=/slurm_))", r"(?:(?![\w-])|(?=_slurmstepd\.scope))")
        # a user may be called max: not every max is that user
        self._users = _any_of(filter(_is_rare, users), r"(?:(?<=/)|(?<==))", r"(?=[/\s:\0@]|$)")

    def text(self, text: str, *, addresses: bool = False) -> str:
        """`addresses`: IPv4 too, which elsewhere may as well be a version of four numbers."""
        if self._named is not None:
            text = self._named.sub(lambda m: self._words[m[0]], text)
        if self._users is not None:
            text = self._users.sub(lambda m: self.user(m[0]), text)
        if "-" in text:
            text = UUID.sub(lambda m: self.uuid(m), text)
            text = PART_OF_UUID.sub(r"\1", text)
        if ":" in text:
            text = MAC.sub(lambda m: self.mac(m[0]), text)
            text = IPV6.sub(lambda m: self.ipv6(m[0]), text)
        if "://" in text:
            text = CREDENTIALS.sub(r"\g<scheme>redacted@", text)
        text = HOME.sub(self._home, text)
        text = SERIAL.sub(lambda m: m["label"] + self.serial(m["value"]), text)
        text = SECRET.sub(r"\g<label>redacted", text)
        text = DOMAIN.sub(r"\1", text)
        return IPV4.sub(self._ipv4, text) if addresses else text

    def uuid(self, match: re.Match[str]) -> str:
        head = match[1]
        other = self._number(f"uuid {head.lower()}", match[0].lower())
        return f"{head}-0000-0000-0000-{other:012x}"

    def mac(self, address: str) -> str:
        parts = address.split(":")
        tail = f"{self._number('mac', address.lower()) + 1:06x}"
        return ":".join([*parts[:3], *["00"] * (len(parts) - 6), tail[:2], tail[2:4], tail[4:]])

    def ipv6(self, address: str) -> str:
        try:
            if not ipaddress.IPv6Address(address).is_global:
                return address
        except ValueError:
            return address
        return f"2001:db8::{self._number('ipv6', address.lower()) + 1:x}"

    def serial(self, value: str) -> str:
        known = self._stand_ins.setdefault("serial", {})
        if value not in known:
            known[value] = f"redacted-serial-{len(known) + 1}" if value not in known.values() else value
        return known[value]

    def host(self, name: str) -> str:
        return self._stand_in("host", name)

    def user(self, name: str) -> str:
        return name if name == "root" else self._stand_in("user", name)

    def _home(self, match: re.Match[str]) -> str:
        return match["home"] + self.user(match["name"])

    def _ipv4(self, match: re.Match[str]) -> str:
        address = match["address"]
        if match["label"] or any(p != "0" and p.startswith("0") for p in address.split(".")):
            return match[0]
        if not ipaddress.IPv4Address(address).is_global or address.startswith("203.0.113."):
            return match[0]
        return f"203.0.113.{self._number('ipv4', address) % 254 + 1}"

    def _stand_in(self, kind: str, name: str) -> str:
        known = self._stand_ins.setdefault(kind, {})
        if name in known.values():
            return name
        return known.setdefault(name, f"redacted-{kind}" if not known else f"redacted-{kind}-{len(known) + 1}")

    def _number(self, kind: str, thing: str) -> int:
        known = self._stand_ins.setdefault(kind, {})
        return int(known.setdefault(thing, str(len(known))))


def _is_rare(name: str) -> bool:
    """Whether a host's name is not likely to stand in a text for something else."""
    if COMMON.fullmatch(name) or name.isdigit():
        return False
    return len(name) > 5 or (len(name) > 3 and bool(re.search(r"[\d.-]", name)))


def _any_of(names: Iterable[str], before: str, after: str) -> re.Pattern[str] | None:
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(f"{before}(?:{'|'.join(longest_first)}){after}", re.MULTILINE) if longest_first else None
