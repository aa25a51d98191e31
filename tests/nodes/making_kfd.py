"""amdkfd: /sys/class/kfd/kfd/topology, one node for each socket and each GPU, the links between them, and processes.

kfd_topology.c prints the properties, kfd_crat.c fills them: weight 15 for a hop over xGMI, 20 for PCIe, and between
sockets the firmware's distance. Bandwidths are in MB/s: of one link of xGMI, of PCIe from Gen1 x1 to all it can.
kfd_process.c shows the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from making import Machine

NODES = "/sys/class/kfd/kfd/topology/nodes"
PROCESSES = "/sys/class/kfd/kfd/proc"
HYPERTRANSPORT, PCIE, XGMI = 1, 2, 11  # CRAT_IOLINK_TYPE_*


def kfd_topology(machine: Machine, cores: Sequence[int], gpu_buses: Sequence[int]) -> None:
    """Nodes 0 and 1 are the sockets, the others the GPUs in the order of their buses."""
    sockets = len(cores)
    gpus = {sockets + i: bus for i, bus in enumerate(gpu_buses)}
    machine.directory(NODES)
    machine.directory(PROCESSES)
    machine.file("/sys/class/kfd/kfd/topology/generation_id", 2)
    for number, count in enumerate(cores):
        near = [gpu for i, gpu in enumerate(gpus) if i * sockets // len(gpus) == number]
        links = [(n, HYPERTRANSPORT, 32, 0, 0) for n in range(sockets) if n != number]
        links += [(gpu, PCIE, 20, 312, 64000) for gpu in near]
        _node(machine, number, 0, "", _cpu(count, len(links)), links)
    for i, (number, bus) in enumerate(gpus.items()):
        links = [(i * sockets // len(gpus), PCIE, 20, 312, 64000)]
        links += [(other, XGMI, 15, 50000, 50000) for other in gpus if other != number]
        _node(machine, number, gpu_id(i), "ip discovery", _gpu(i, bus, len(links)), links)


def gpu_id(index: int) -> int:
    return 10000 + 4001 * index


def kfd_process(machine: Machine, pid: int, used: Sequence[int], queues: Sequence[int]) -> None:
    """A process that may use all GPUs: the bytes that it holds on each, and the index of the GPU of each queue."""
    where = f"{PROCESSES}/{pid}"
    machine.directory(where)
    machine.file(f"{where}/pasid", 32768 + pid % 1000)
    for index, held in enumerate(used):
        machine.file(f"{where}/vram_{gpu_id(index)}", held)
    machine.directory(f"{where}/queues")
    for queue, index in enumerate(queues):
        shown = {"gpuid": str(gpu_id(index)).encode(), "size": b"1048576", "type": b"0"}  # without a line break
        machine.files(f"{where}/queues/{queue}", shown)


def _node(
    machine: Machine,
    number: int,
    gpu_id: int,
    name: str,
    properties: dict[str, int],
    links: Sequence[tuple[int, int, int, int, int]],
) -> None:
    where = f"{NODES}/{number}"
    shown = "\n".join(f"{key} {value}" for key, value in properties.items())
    machine.files(where, {"gpu_id": gpu_id, "name": name, "properties": shown})
    machine.directory(f"{where}/io_links")
    machine.directory(f"{where}/p2p_links")
    for n, (target, kind, weight, slowest, fastest) in enumerate(links):
        told = {"type": kind, "version_major": 0, "version_minor": 0, "node_from": number, "node_to": target}
        told |= {"weight": weight, "min_latency": 0, "max_latency": 0}
        told |= {"min_bandwidth": slowest, "max_bandwidth": fastest}
        told |= {"recommended_transfer_size": 0, "recommended_sdma_engine_id_mask": 0, "flags": 1}
        machine.file(f"{where}/io_links/{n}/properties", "\n".join(f"{key} {value}" for key, value in told.items()))


NAMES = (
    "cpu_cores_count simd_count mem_banks_count caches_count io_links_count p2p_links_count cpu_core_id_base "
    "simd_id_base max_waves_per_simd lds_size_in_kb gds_size_in_kb num_gws wave_front_size array_count "
    "simd_arrays_per_engine cu_per_simd_array simd_per_cu max_slots_scratch_cu gfx_target_version vendor_id device_id "
    "location_id domain drm_render_minor hive_id num_sdma_engines num_sdma_xgmi_engines num_sdma_queues_per_engine "
    "num_cp_queues"
)


def _cpu(cores: int, links: int) -> dict[str, int]:
    told = dict.fromkeys(NAMES.split(), 0)
    return {**told, "cpu_cores_count": cores, "mem_banks_count": 1, "io_links_count": links, **_last(4050)}


def _last(megahertz: int) -> dict[str, int]:
    return {"max_engine_clk_ccompute": megahertz}


def _gpu(index: int, bus: int, links: int) -> dict[str, int]:
    return {
        **dict.fromkeys(NAMES.split(), 0),
        "simd_count": 1216,
        "mem_banks_count": 1,
        "caches_count": 626,
        "io_links_count": links,
        "simd_id_base": 2147487744 + 24 * index,
        "max_waves_per_simd": 8,
        "lds_size_in_kb": 64,
        "num_gws": 64,
        "wave_front_size": 64,
        "array_count": 32,
        "simd_arrays_per_engine": 1,
        "cu_per_simd_array": 10,
        "simd_per_cu": 4,
        "max_slots_scratch_cu": 32,
        "gfx_target_version": 90402,
        "vendor_id": 0x1002,
        "device_id": 0x74A1,
        "location_id": bus << 8,
        "drm_render_minor": 128 + 8 * index,
        "hive_id": 10631624818852212319,
        "num_sdma_engines": 2,
        "num_sdma_xgmi_engines": 14,
        "num_sdma_queues_per_engine": 8,
        "num_cp_queues": 24,
        "max_engine_clk_fcompute": 2100,
        "local_mem_size": 0,
        "fw_version": 166,
        "capability": 746037888,
        "debug_prop": 1511,
        "sdma_fw_version": 22,
        "unique_id": 0xA1B2C3D400000000 + index,
        "num_xcc": 8,
        **_last(4050),
    }
