"""Takes out of a recording what tells whose machine it is, and leaves what a check looks at.

Bus ids, pids, versions, model names and private addresses stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from gpudoctor.node.archive import Archive, Key
from gpudoctor.node.identity import HOME, UUID, Identities
from gpudoctor.node.surface import Output
from gpudoctor.unread import Gap, Reading, Unread

REDACTED = "redacted"
ENVIRON = re.compile(r"/proc/[^/]+/environ")
# files that hold an identity and nothing else
SERIALS = re.compile(
    r".*/(\w*serial(_number)?|unique_id|\w*asset_tag|product_uuid|machine-id|\w*_guid|iccid|wwid|wwn|eui|nguid)"
)
HOST_FILES = ("/proc/sys/kernel/hostname", "/etc/hostname", "/proc/sys/kernel/domainname")
LEFT_OUT = re.compile(r".*/vpd|/etc/(shadow|gshadow|passwd|group)")
LOGS = ("/dev/kmsg", "/var/log/", "/run/log/")
WITH_ADDRESSES = (*LOGS, "/etc/", "/proc/net/", "/proc/cmdline")
LOG_LINE_HOST = re.compile(
    r"^((?:<\d+>1? ?)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ][\d:.,+-]+Z?) )"
    r"([A-Za-z0-9._-]+)(?= (?:kernel(?:: | - )|[\w./()-]+\[\d+\]:))",
    re.MULTILINE,
)
# the rest of the environment is the business of whoever set it
HARMLESS = re.compile(
    r"(CUDA|NVIDIA|NCCL|NVSHMEM|NVTE|PYTORCH|TORCH|TORCHINDUCTOR|TRITON|XLA|JAX|TF|OMP|KMP|MKL|OPENBLAS|VLLM|SGLANG|SGL|"
    r"FLASHINFER|CUDNN|CUBLAS|CUBLASLT|TRANSFORMERS|HF_HUB|ACCELERATE|DEEPSPEED|MEGATRON|UCX|OMPI_COMM|PMIX|PMI|HSA|HIP|ROCR|"
    r"GPU|RAY|SLURM|LC|MALLOC|GLOO|FI|MASTER_PORT|RANK|WORLD_SIZE|LOCAL|GROUP|ROLE|TORCHELASTIC|NUMEXPR)(_\w+)?|"
    r"(PATH|LD_LIBRARY_PATH|LD_PRELOAD|PYTHONPATH|PYTHON\w+|VIRTUAL_ENV|CONDA_\w+|LANG|TZ|SHELL|TERM|HOME|PWD|"
    r"HF_HOME|XDG_CACHE_HOME|TMPDIR|container)"
)
TELLING = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CRED|AUTH|COOKIE|SESSION|ADDR(?!_FAMILY)|HOST|NODELIST|NODENAME|NODE_NAME|URL|URI|USER|ACCOUNT|COMMENT|MAIL|"
    r"JOB_NAME|SUBMIT|PROXY",
    re.IGNORECASE,
)
PLAIN = re.compile(r"|\d{1,6}|true|false|on|off|yes|no|none|all", re.IGNORECASE)
RANDOM = re.compile(r"(?<==)(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9+/=]{32,}(?=\s|$)")
NVML_SERIALS = ("nvmlDeviceGetSerial", "nvmlDeviceGetPdi", "nvmlDeviceGetHandleBySerial")
NVML_FIELDS = ("ibGuid", "rackGuid", "chassisSerialNumber", "serial")
DEVICE_SERIAL = 0x0003  # extended capability of PCIe; on a NIC it is its MAC address


def redact(archive: Archive, names: Iterable[str] = ()) -> Archive:
    """The archive without identities. `names`: users or hosts to take out besides those that it shows."""
    surfaces = archive.surfaces
    hosts, users, serials = (sorted(set(learn(surfaces))) for learn in (_hosts, _users, _serials))
    identities = Identities(hosts, users, serials, sorted(names))
    redacted: dict[Key, Reading[Any]] = {}
    for (verb, key), reading in surfaces.items():
        redacted[verb, identities.text(key)] = _reading(verb, key, reading, identities)
    return replace(archive, redacted=True, surfaces=dict(sorted(redacted.items())))


def _reading(verb: str, key: str, reading: Reading[Any], identities: Identities) -> Reading[Any]:
    if isinstance(reading, Unread):
        where, detail, remedy = (identities.text(str(part)) for part in (reading.where, reading.detail, reading.remedy))
        return Unread(reading.gap, where, detail, remedy)
    if verb == "file":
        return _file(key, reading, identities)
    if verb == "dir":
        return tuple(identities.text(name) for name in reading)
    if verb == "link":
        return identities.text(reading)
    if verb == "run":
        return Output(reading.exit, _log(reading.stdout, identities), _log(reading.stderr, identities))
    if verb == "nvml":
        return _nvml(key.partition("(")[0], reading, identities)
    return reading


def _file(path: str, data: bytes, identities: Identities) -> Reading[bytes]:
    if LEFT_OUT.fullmatch(path):
        return Unread(Gap.NOT_RECORDED, path, "was left out of the recording, for it tells whose machine it is")
    if ENVIRON.fullmatch(path):
        return b"\0".join(_variable(entry, identities) for entry in data.split(b"\0"))
    if path.endswith("/config") and len(data) > 256:
        return _without_device_serial(data)
    if b"\0" in data and not path.endswith("/cmdline"):
        return data  # its offsets would be wrong
    text = _decoded(data)
    if path in HOST_FILES:
        name = text.strip()
        return text.replace(name, identities.host(name)).encode() if name not in ("", "(none)", "localhost") else data
    if SERIALS.fullmatch(path):
        value = text.strip()
        return text.replace(value, identities.serial(value)).encode() if _tells(value) else data
    if path.startswith(LOGS):
        return _log(data, identities)
    text = identities.text(text, addresses=path.startswith(WITH_ADDRESSES) or path.endswith("/cmdline"))
    return _encoded(RANDOM.sub(REDACTED, text) if path == "/proc/cmdline" else text)


def _log(data: bytes, identities: Identities) -> bytes:
    text = LOG_LINE_HOST.sub(lambda m: m[1] + identities.host(m[2]), _decoded(data))
    return _encoded(identities.text(text, addresses=True))


def _variable(entry: bytes, identities: Identities) -> bytes:
    name, equals, value = entry.partition(b"=")
    if not equals:
        return entry and REDACTED.encode()
    shown = _decoded(name)
    text = _decoded(value)
    if not value or (HARMLESS.fullmatch(shown) and (PLAIN.fullmatch(text) or not TELLING.search(shown))):
        return _encoded(f"{shown}={identities.text(text, addresses=True)}")
    return name + b"=" + REDACTED.encode()


def _nvml(function: str, value: Any, identities: Identities, field: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _nvml(function, held, identities, name) for name, held in value.items()}
    if field == "clusterUuid" and isinstance(value, list):
        return [*value[:4], *[0] * (len(value) - 4)]
    if isinstance(value, list):
        return [_nvml(function, held, identities, field) for held in value]
    if function in NVML_SERIALS or field in NVML_FIELDS:
        stand_in = identities.serial(str(value)) if _tells(str(value)) else str(value)
        return stand_in if isinstance(value, str) else int(stand_in.rpartition("-")[2])
    return identities.text(value) if isinstance(value, str) else value


def _tells(value: str) -> bool:
    """Whether a serial number is one: firmware fills the field with zeros, dots or words too."""
    return len(set(value) - set(" 0.-:xX")) > 1 and any(c.isdigit() for c in value)


def _hosts(surfaces: dict[Key, Reading[Any]]) -> Iterator[str]:
    for path in HOST_FILES:
        held = surfaces.get(("file", path))
        name = _decoded(held).strip() if isinstance(held, bytes) else ""
        if name and name != "(none)":
            yield name
            yield name.partition(".")[0]
    for line in _lines(surfaces, "/etc/resolv.conf"):
        word, *domains = line.split() or [""]
        if word in ("search", "domain"):
            yield from (d for d in domains if "." in d)


def _users(surfaces: dict[Key, Reading[Any]]) -> Iterator[str]:
    for (verb, key), reading in surfaces.items():
        texts = [key]
        if verb == "file" and isinstance(reading, bytes):
            texts.append(_decoded(reading))
        elif verb == "link" and isinstance(reading, str):
            texts.append(reading)
        for text in texts:
            yield from (m["name"] for m in HOME.finditer(text))
        if verb == "file" and ENVIRON.fullmatch(key) and isinstance(reading, bytes):
            for entry in texts[-1].split("\0"):
                name, _, value = entry.partition("=")
                if name in ("USER", "LOGNAME", "SUDO_USER", "USERNAME") and re.fullmatch(r"[\w.-]+", value):
                    yield value


def _serials(surfaces: dict[Key, Reading[Any]]) -> Iterator[str]:
    for (verb, key), reading in surfaces.items():
        if verb == "nvml" and key.startswith(NVML_SERIALS) and isinstance(reading, (str, int)):
            yield str(reading)
        if verb == "nvml" and isinstance(reading, dict):
            yield from (v for name, v in reading.items() if name in NVML_FIELDS and isinstance(v, str) and _tells(v))
        if verb == "file" and SERIALS.fullmatch(key) and isinstance(reading, bytes):
            value = _decoded(reading).strip()
            if _tells(value) and not UUID.fullmatch(value):
                yield value


def _lines(surfaces: dict[Key, Reading[Any]], path: str) -> list[str]:
    held = surfaces.get(("file", path))
    return _decoded(held).splitlines() if isinstance(held, bytes) else []


def _without_device_serial(data: bytes) -> bytes:
    out, at = bytearray(data), 0x100
    seen: set[int] = set()
    while at >= 0x100 and at + 12 <= len(out) and at not in seen:
        seen.add(at)
        head = int.from_bytes(out[at : at + 4], "little")
        if head & 0xFFFF == DEVICE_SERIAL:
            out[at + 4 : at + 12] = bytes(8)
        at = head >> 20
    return bytes(out)


def _decoded(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
