"""One line of a log: what stands before the message, in every form in which people keep kernel logs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import msgspec

DAY = 86400.0
LONGEST = 16384  # a kernel message ends after about 1000 characters; what is longer is no kernel log
PREFIXES = 8  # container time, syslog, kernel time, thread, level: no writer stacks more

_MONTHS = {name: i + 1 for i, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())}  # noqa: SIM905
_MONTH = f"(?:{'|'.join(_MONTHS)})"
_DAYNAME = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d\d:\d\d:\d\d"

_ISO = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:[.,]\d{{1,9}})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_FACILITY = r"kern|user|mail|daemon|auth|syslog|lpr|news|local\d"
_LEVEL = "emerg|alert|crit|err|warn(?:ing)?|notice|info|debug"

_PREFIX = re.compile(
    r"[\s>*`]*(?:"
    r"(?P<kmsg>\d{1,4}),\d+,(?P<usec>\d+),[^;\s]{1,40};"
    rf"|\[(?P<ctime>{_DAYNAME} {_MONTH} +\d{{1,2}} {_CLOCK} \d{{4}})\] ?"
    r"|\[ *(?P<mono>\d{1,10}\.\d{1,9})(?:@\d+)?\] ?"
    r"|\[ *[TC]\d{1,9}\] ?"
    rf"|\[(?: *\+\d{{1,7}}\.\d{{1,9}}|{_MONTH} ?\d{{1,2}} \d\d:\d\d)\] ?"  # dmesg -H: its clock needs the lines between
    r"|\d{1,3}(?:\.\d{1,3}){3}: (?=kern *:)"  # talosctl dmesg
    rf"|(?:{_DAYNAME},? )?\[?(?P<iso>{_ISO})\]?(?=[ \t:]|$)[ \t:]?"
    rf"|(?P<bsd>(?:{_DAYNAME} )?{_MONTH} {{1,2}}\d{{1,2}} (?:\d{{4}} )?{_CLOCK}(?:\.\d{{1,9}})?) "
    r"|(?P<unix>1\d{9}\.\d{1,9}) "
    r"|<\d{1,3}>(?:1 (?=\d{4}-|- ))?"
    rf"|(?:{_FACILITY}) *: ?(?:{_LEVEL}) *: ?"
    r"|(?:stdout|stderr) [FP] "
    r")"
)
_PLAIN = re.compile(r"\[ *(?P<mono>\d{1,10}\.\d{1,9})\] (?P<message>[A-Za-z][^\x1b&*`]*)")  # what dmesg prints
_TAG = re.compile(r"(?P<host>[^\s:\[\]]{1,255}) (?:kernel|kern)(?:\[\d+\])?(?P<colon>:)? ?")
_TAG_5424 = re.compile(r"(?P<host>\S{1,255}) (?:kernel|kern) \S{1,128} \S{1,128} (?:-|\[[^\]]{0,1024}\]) ?")
_OTHER_TAG = re.compile(r"(?P<host>[^\s:\[\]]{1,255}) (?=[\w./@-]{1,128}\[\d+\]: )")
_BARE_TAG = re.compile(r"(?:kernel|kern)(?:\[\d+\])?: ?")
_EMBEDDED = re.compile(rf"{_MONTH} +\d{{1,2}} {_CLOCK} \S+ kernel: |\d{{4}}-\d\d-\d\dT{_CLOCK}\S* \S+ kernel: ")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_BSD = re.compile(
    rf"(?:{_DAYNAME} )?(?P<month>{_MONTH}) +(?P<day>\d+) (?:(?P<year>\d{{4}}) )?"
    r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)(?P<fraction>\.\d+)?"
)


class LogLine(msgspec.Struct, frozen=True):
    message: str
    time: str | None  # as printed
    at: float | None  # seconds: of the epoch where `dated`, else since the boot
    dated: bool
    host: str | None
    monotonic: float | None  # seconds since the boot, where the line has them


class LineReader:
    """Reads the lines of one log in order: syslog's dates have no year, so the order gives it.

    Dates without a zone are taken as UTC: order and distance are right, the instant may be off by
    the machine's zone.
    """

    def __init__(self, *, booted: float | None = None, now: float | None = None) -> None:
        self._booted = booted
        self._now = now
        self._year: int | None = None
        self._latest = float("-inf")
        self._date: tuple[str | None, float | None] = None, None

    def read(self, raw: str) -> LogLine:
        text = raw[:LONGEST].rstrip("\r\n")
        if text.startswith("{"):
            journal = self._journal(text)
            if journal is not None:
                return journal
        plain = _PLAIN.fullmatch(text)
        if plain and " kernel" not in text[:300]:
            monotonic = float(plain["mono"])
            at = monotonic if self._booted is None else self._booted + monotonic
            return LogLine(plain["message"].rstrip(), plain["mono"], at, self._booted is not None, None, monotonic)
        if "\x1b" in text:
            text = _ANSI.sub("", text)
        if "&" in text and _ENTITY.search(text):
            text = html.unescape(text).replace("\xa0", " ")
        return self._prefixed(text)

    def _prefixed(self, text: str) -> LogLine:
        time, at, monotonic, host, kmsg = None, None, None, None, False
        position = 0
        for _ in range(PREFIXES):
            found = _PREFIX.match(text, position)
            if found is None:
                tag = self._tag(text, position, dated=at is not None or monotonic is not None)
                if tag is None:
                    break
                position, host = tag[0], host or tag[1]
                continue
            position = found.end()
            seen, seconds = self._clock(found)
            if found["kmsg"] is not None or found["mono"] is not None:
                kmsg = kmsg or found["kmsg"] is not None
                monotonic = seconds if monotonic is None else monotonic
                time = time or seen
            elif seconds is not None and at is None:
                time, at = seen, seconds
        if position == 0 and (embedded := _EMBEDDED.search(text, 0, 400)):
            return self._prefixed(text[embedded.start() :])
        message = text[position:].strip()
        if "*" in message or "`" in message:
            message = message.removesuffix("```").strip("`").removesuffix("**").strip()
        if kmsg:
            message = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), message)
        if at is None and monotonic is not None and self._booted is not None:
            return LogLine(message, time, self._booted + monotonic, True, host, monotonic)
        return LogLine(message, time, at if at is not None else monotonic, at is not None, host, monotonic)

    def _tag(self, text: str, position: int, *, dated: bool) -> tuple[int, str | None] | None:
        bare = _BARE_TAG.match(text, position)
        if bare:
            return bare.end(), None
        if not dated:
            return None
        for pattern in (_TAG_5424, _TAG, _OTHER_TAG):
            found = pattern.match(text, position)
            if found and (pattern is not _TAG or found["colon"] or text.startswith("[", found.end())):
                return found.end(), found["host"]
        return None

    def _clock(self, found: re.Match[str]) -> tuple[str | None, float | None]:
        if found["usec"] is not None:
            seconds = int(found["usec"][:18]) / 1e6
            return f"{seconds:.6f}", seconds
        if found["mono"] is not None:
            return found["mono"], float(found["mono"])
        if found["unix"] is not None:
            return found["unix"], float(found["unix"])
        date = found["ctime"] or found["iso"] or found["bsd"]
        if date is None:
            return None, None
        if date != self._date[0]:  # many lines share their second
            self._date = date, self._instant(found)
        return self._date

    def _instant(self, found: re.Match[str]) -> float | None:
        if found["ctime"] is not None:
            return self._bsd(found["ctime"][:-5].rstrip(), int(found["ctime"][-4:]))
        return _iso(found["iso"]) if found["iso"] is not None else self._bsd(found["bsd"], None)

    def _bsd(self, text: str, year: int | None) -> float | None:
        parts = _BSD.match(text)
        if parts is None:
            return None
        given = year if year is not None else int(parts["year"]) if parts["year"] else None

        def instant(of: int) -> float | None:
            clock = (int(parts["h"]), int(parts["m"]), min(int(parts["s"]), 59))
            try:
                moment = datetime(of, _MONTHS[parts["month"]], int(parts["day"]), *clock, tzinfo=timezone.utc)
            except ValueError:
                return None
            return moment.timestamp() + float(parts["fraction"] or 0)

        if given is not None:
            return instant(given)
        return self._placed(instant)

    def _placed(self, instant: Callable[[int], float | None]) -> float | None:
        """The year is the latest that is not in the future; without a clock, the first line's is the year 2000."""
        if self._year is None:
            self._year = self._first_year(instant)
        at = instant(self._year)
        if at is None:
            return None
        if at < self._latest - 180 * DAY:
            later = instant(self._year + 1)
            if later is not None and (self._now is None or later <= self._now + DAY):
                self._year += 1
                at = later
        elif at > self._latest + 180 * DAY and self._latest > 0 and (earlier := instant(self._year - 1)) is not None:
            at = earlier  # a straggler of the old year
        self._latest = max(self._latest, at)
        return at

    def _first_year(self, instant: Callable[[int], float | None]) -> int:
        if self._now is None:
            return 2000
        year = datetime.fromtimestamp(self._now, timezone.utc).year
        first = instant(year)
        return year - 1 if first is not None and first > self._now + DAY else year

    def _journal(self, text: str) -> LogLine | None:
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            return None
        message = entry.get("MESSAGE") if isinstance(entry, dict) else None
        if isinstance(message, list):  # journald prints what is not UTF-8 as numbers
            message = bytes(b for b in message if isinstance(b, int) and 0 <= b < 256).decode(errors="replace")
        if not isinstance(message, str):
            return None
        monotonic = _micros(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry.get("__MONOTONIC_TIMESTAMP"))
        at = _micros(entry.get("__REALTIME_TIMESTAMP") or entry.get("_SOURCE_REALTIME_TIMESTAMP"))
        host = entry.get("_HOSTNAME")
        time = _shown(at) if at is not None else None if monotonic is None else f"{monotonic:.6f}"
        host = host if isinstance(host, str) else None
        return LogLine(message.strip(), time, at if at is not None else monotonic, at is not None, host, monotonic)


def _micros(value: object) -> float | None:
    text = str(value)
    return int(text) / 1e6 if text.isascii() and text.isdigit() and len(text) < 20 else None


def _shown(at: float) -> str | None:
    try:
        return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=at)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def _iso(text: str) -> float | None:
    fraction = re.search(r"[.,](\d+)", text)
    plain = re.sub(r"[.,]\d+", "", text).replace("UTC", "+00:00").replace("Z", "+00:00").replace(" +", "+")
    plain = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", plain)
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() + (float(f"0.{fraction[1]}") if fraction else 0.0)
