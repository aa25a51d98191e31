"""What a GPU's name or device id says: its generation, memory, bandwidth, peaks and links."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gpudoctor.knowledge import Description, load_yaml, table, table_items

PACK = "gpudoctor_checks"
_NAMED = re.compile(rb"- name: (?P<name>.*)\n  match: (?P<match>.*)")


class GpuModel(msgspec.Struct, frozen=True):
    name: str
    vendor: str
    generation: str
    memory_gb: tuple[float, ...]  # several where one name was sold in several sizes
    bandwidth_gb_per_s: float | None
    dense_tflops: dict[str, float]  # int8 in TOP/s
    facts: dict[str, Any]  # the whole row of the table

    @property
    def sure(self) -> bool:
        return not self.facts.get("low", False)


def decode_gpu_name(name: str) -> GpuModel | None:
    """`NVIDIA A100-SXM4-80GB`, also without NVIDIA and in any case; a model's plain name works too."""
    bare = re.sub(r"^NVIDIA\s+", "", name.strip(), flags=re.IGNORECASE)
    for item in table_items(PACK, "gpus"):
        named = _NAMED.match(item)
        if named and (_fits(named["match"], bare) or named["name"].decode().strip("'").lower() == bare.lower()):
            return _model(load_yaml(item)[0])
    return None


def _fits(match: bytes, bare: str) -> bool:
    return re.fullmatch(match.decode(), bare, re.IGNORECASE) is not None


def generation_of(device_id: int) -> str | None:
    """Of an NVIDIA device id; Grace Hopper apart from Hopper, since it takes only the open module."""
    generations = table(PACK, "device_ids")["generations"]
    if device_id in generations["grace_hopper"]:
        return "Grace Hopper"
    blocks = generations["blocks"].items()
    return next((name for name, held in blocks if any(low <= device_id <= high for low, high in held)), None)


def describe(text: str) -> Description | None:
    model = decode_gpu_name(text)
    if model is None:
        return None
    shown = {label: value for label, value in _shown(model.facts).items() if value}
    if not model.sure:
        shown["confidence"] = "low: some figures rest on one source"
    return Description(model.name, tuple(shown.items()), tuple(model.facts["sources"]))


def _shown(row: dict[str, Any]) -> dict[str, str]:
    sizes = " or ".join(f"{size:g} GB" for size in row.get("memory_gb", ()))
    bandwidth = row.get("bandwidth_gb_per_s")
    peaks = [f"{kind} {value:g}" for kind, value in row["dense_tflops"].items()]
    pcie = row.get("pcie")
    return {
        "architecture": row["architecture"],
        "compute capability": row.get("capability", ""),
        "target": row.get("gfx", ""),
        "memory": f"{sizes} {row.get('memory_type', '')}".strip(),
        "bandwidth": f"{bandwidth:g} GB/s" if bandwidth else "",
        "dense peaks": f"{', '.join(peaks)} (TFLOP/s; int8 TOP/s)" if peaks else "",
        "link": _link(row.get("link") or {}),
        "PCIe": f"Gen{pcie['gen']} x{pcie['width']}" if pcie else "",
        "power": f"{row['tdp_w']} W" if "tdp_w" in row else "",
        "PCI device ids": ", ".join(f"0x{i:04x}" for i in row["device_ids"]),
    }


def _link(link: dict[str, Any]) -> str:
    if not link:
        return ""
    generation = f" {link['generation']}" if "generation" in link else ""
    count = f"{link['links']} links, " if "links" in link else ""
    total = f"{link['gb_per_s_both_ways']:g} GB/s both ways" if "gb_per_s_both_ways" in link else ""
    return f"{link['type']}{generation}: {count}{total}{', by bridge only' if link.get('bridge') else ''}"


def _model(row: dict[str, Any]) -> GpuModel:
    return GpuModel(
        row["name"],
        row["vendor"],
        row["architecture"],
        tuple(row.get("memory_gb", ())),
        row.get("bandwidth_gb_per_s"),
        row["dense_tflops"],
        row,
    )
