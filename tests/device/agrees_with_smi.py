"""Compare what gpudoctor computes from sysfs and NVML with what nvidia-smi prints on the same machine.

python tests/device/agrees_with_smi.py      # exit 1 where they differ
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

GPUDOCTOR = [sys.executable, "-m", "gpudoctor"]


def printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def smi_matrix() -> dict[tuple[str, str], str]:
    """(row, column) -> NV18, PIX, ... of GPUs and NICs, as `nvidia-smi topo -m` prints it."""
    lines = printed("nvidia-smi", "topo", "-m").splitlines()
    heads = [head for head in lines[0].split("\t") if re.fullmatch(r"\s*(GPU|NIC)\d+\s*", head)]
    cells: dict[tuple[str, str], str] = {}
    for line in lines[1:]:
        name, *values = [part.strip() for part in line.split("\t")]
        if re.fullmatch(r"(GPU|NIC)\d+", name):
            cells |= {(name, head.strip()): value for head, value in zip(heads, values, strict=False)}
    return cells


def smi_affinity() -> dict[str, str]:
    """GPU0 -> its CPU affinity column."""
    lines = printed("nvidia-smi", "topo", "-m").splitlines()
    column = [head.strip() for head in lines[0].split("\t")].index("CPU Affinity")
    rows = [line.split("\t") for line in lines[1:] if line.startswith("GPU")]
    return {row[0].strip(): row[column].strip() for row in rows}


def smi_links() -> dict[int, list[float]]:
    """GPU -> GB/s of each link that is up."""
    found: dict[int, list[float]] = {}
    for line in printed("nvidia-smi", "nvlink", "-s").splitlines():
        if head := re.match(r"GPU (\d+):", line):
            found[int(head[1])] = []
        elif link := re.search(r"Link \d+: ([\d.]+) GB/s", line):
            found[max(found)].append(float(link[1]))
    return found


def own_facts() -> dict[str, Any]:
    done = subprocess.run([*GPUDOCTOR, "facts", "--format", "json"], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> int:
    facts = own_facts()
    topology = facts["Topology"]
    names = {gpu["id"]: f"GPU{number}" for number, gpu in enumerate(topology["gpus"])}
    names |= {nic["id"]: f"NIC{number}" for number, nic in enumerate(topology["nics"])}
    ways = topology["ways"]
    own = {
        (names[a], names[b]): f"NV{way['links']}" if way["level"] == "NV" else way["level"]
        for a, row in ways.items()
        for b, way in row.items()
        if a in names and b in names
    }
    smi = smi_matrix()
    differing = {cell: (own.get(cell), value) for cell, value in smi.items() if own.get(cell) != value}
    print(f"matrix: {len(smi)} cells of nvidia-smi, {len(differing)} differ {differing or ''}")

    links = {
        number: [round(link["speed_mb_per_s"] / 1000, 3) for link in held["links"] if link["up"]]
        for number, held in enumerate(facts["GpuNvLinks"])
        if isinstance(held["links"], list)
    }
    smi_up = {gpu: speeds for gpu, speeds in smi_links().items() if speeds}
    same_links = {gpu: speeds for gpu, speeds in links.items() if speeds} == smi_up
    count = sum(map(len, smi_up.values()))
    print(f"links: {count} up in nvidia-smi, {'the same speeds' if same_links else f'DIFFERENT: {links}'}")

    peers = {(p["first"]["id"], p["second"]["id"]): p["read"] for p in (facts.get("GpuPeers") or {}).get("pairs", [])}
    refused = [pair for pair, status in peers.items() if status != "ok"]
    table = printed("nvidia-smi", "topo", "-p2p", "r").split("Legend")[0]
    smi_refused = sum(word in ("CNS", "GNS", "TNS", "NS", "U", "DR") for word in table.split()) // 2
    print(f"peer reads: {len(peers)} pairs, {len(refused)} refused, in nvidia-smi {smi_refused}")
    print(f"CPU affinity in nvidia-smi: {smi_affinity()}")
    return 1 if differing or not same_links or len(refused) != smi_refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
