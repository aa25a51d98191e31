"""Processes on AMD GPUs, as amdkfd lists them."""

from __future__ import annotations

from typing import Any

import pytest
from casebook import load_node
from gpudoctor_checks.topology.host import jobs

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import collect
from gpudoctor.examine import examine
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.process import GpuProcess
from gpudoctor.node.archive import Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.unread import Gap, Unread

JOB, IDLE, NVIDIA = "made-mi300x8-job.node", "mi300x8.node", "made-l40s.node"
KFD = "/sys/class/kfd/kfd"
FIFTH, FIFTH_ID, RANK = "0000:85:00.0", 26004, 61400
OWN = 151397597184
ASK_FOR_JOBS = {"swapping", "stalls", "misplaced", "oversubscribed", "swapped"}


def machine(changed: dict[Key, Any], name: str = JOB, uid: int = 0) -> RecordedNode:
    node = load_node(name).with_surfaces(changed)
    node.uid = uid
    return node


def uses(changed: dict[Key, Any], name: str = JOB, uid: int = 0) -> dict[str, GpuMemoryUse]:
    found = collect(machine(changed, name, uid), [GpuMemoryUse], seconds=30).all(GpuMemoryUse)
    assert isinstance(found, tuple)
    return {use.subject.id: use for use in found}


def holders(changed: dict[Key, Any], of: str = FIFTH, uid: int = 0) -> dict[int, tuple[str, int | None]]:
    return {h.pid: (h.kind, h.used_bytes) for h in uses(changed, uid=uid)[of].holders}


def processes(changed: dict[Key, Any]) -> dict[int, GpuProcess]:
    found = collect(machine(changed), [GpuProcess], seconds=30).all(GpuProcess)
    assert isinstance(found, tuple)
    return {each.pid: each for each in found}


def outcomes(changed: dict[Key, Any]) -> dict[str, set[str]]:
    catalog = Catalog.installed()
    wanted = {kind for check in catalog.checks() for kind in check.facts}
    examined = examine(collect(machine(changed), wanted, seconds=30), catalog.checks(), catalog.knowledge)
    names: dict[str, set[str]] = {}
    for each in examined.outcomes:
        names.setdefault(each.check, set()).add(each.outcome)
    return names


def absent(verb: str, path: str) -> dict[Key, Any]:
    return {(verb, path): Unread(Gap.ABSENT, path, "No such file or directory")}  # type: ignore[dict-item]


def test_memory_and_who_holds_it() -> None:
    use = uses({})[FIFTH]
    assert (use.total_bytes, use.used_bytes) == (206141652992, 151709351936)
    assert use.lacks("reserved_bytes")
    held = holders({})
    assert held[RANK] == ("compute", OWN)
    assert {held[pid] for pid in held if pid != RANK} == {("memory", 2097152)}


def test_a_process_computes_where_it_has_queues() -> None:
    found = processes({})
    assert [gpu.id for gpu in found[RANK].gpus] == [FIFTH]
    assert len(found) == 8
    other: dict[Key, Any] = {("file", f"{KFD}/proc/{RANK}/queues/3/gpuid"): b"10000"}
    assert [gpu.id for gpu in processes(other)[RANK].gpus] == ["0000:05:00.0", FIFTH]


def test_without_queues_memory_tells() -> None:
    none: dict[Key, Any] = {("dir", f"{KFD}/proc/{RANK}/queues"): ()}
    assert len(processes(none)[RANK].gpus) == 8


def test_memory_counted_down_below_zero_is_no_memory() -> None:
    wrapped = {("file", f"{KFD}/proc/61000/vram_{FIFTH_ID}"): b"18446744073707454464\n"}
    assert 61000 not in holders(wrapped)  # type: ignore[arg-type]


def test_contexts_of_one_process_are_added_up() -> None:
    folder = f"{KFD}/proc/{RANK}"
    names = load_node(JOB).list(folder)
    assert isinstance(names, tuple)
    second: dict[Key, Any] = {
        ("dir", folder): (*names, "context_1"),
        ("dir", f"{folder}/context_1/queues"): ("0",),
        ("file", f"{folder}/context_1/queues/0/gpuid"): b"10000",
        ("file", f"{folder}/context_1/vram_{FIFTH_ID}"): b"4096\n",
        **{k: v for id in range(10000, 38008, 4001) if id != FIFTH_ID for k, v in _no_memory(folder, id).items()},
    }
    assert holders(second)[RANK] == ("compute", OWN + 4096)
    assert holders(second, "0000:05:00.0")[RANK][0] == "compute"


def _no_memory(folder: str, gpu_id: int) -> dict[Key, Any]:
    return absent("file", f"{folder}/context_1/vram_{gpu_id}")


def test_partitions_of_a_gpu_are_added_up() -> None:
    """Node 7 is a second partition of the fifth GPU, its number in the function's place."""
    path = f"{KFD}/topology/nodes/7/properties"
    told = load_node(JOB).read(path)
    assert isinstance(told, bytes)
    place = b"location_id %d\n"
    partition: dict[Key, Any] = {("file", path): told.replace(place % (0xA6 << 8), place % ((0x85 << 8) + 1))}
    assert holders(partition)[RANK] == ("compute", OWN + 2097152)
    assert [gpu.id for gpu in processes(partition)[61500].gpus] == [FIFTH]


def test_what_has_ended_is_left_out() -> None:
    assert RANK not in holders(absent("file", f"/proc/{RANK}/stat"))
    zombie = b"61400 (python) Z 1 1 1 0 -1 0" + b" 0" * 45 + b"\n"
    assert RANK not in holders({("file", f"/proc/{RANK}/stat"): zombie})
    editor: dict[Key, Any] = {("dir", f"/proc/{RANK}/fd"): ("0", "1")}
    assert RANK not in holders(editor)
    assert RANK not in holders(absent("dir", f"{KFD}/proc/{RANK}"))  # gone since the list was read


def test_a_process_whose_files_this_user_may_not_see_stays() -> None:
    hidden: dict[Key, Any] = {("dir", f"/proc/{RANK}/fd"): Unread(Gap.DENIED, f"/proc/{RANK}/fd", "Permission denied")}
    assert holders(hidden, uid=1000)[RANK] == ("compute", OWN)
    assert holders(absent("file", f"/proc/{RANK}/stat"), uid=1000)[RANK] == ("compute", OWN)  # hidepid


def test_in_a_container_the_pids_are_the_hosts() -> None:
    inside: dict[Key, Any] = {("link", "/proc/self/ns/pid"): "pid:[4026532801]"}
    assert processes(inside)[RANK].command == "python train.py"  # it has /dev/kfd open
    gap = processes({**inside, ("dir", f"/proc/{RANK}/fd"): ("0", "1")})[RANK].reading("cpus_allowed")
    assert "another process" in gap.detail
    elsewhere = {**inside, **absent("file", f"/proc/{RANK}/stat")}
    assert "outside of this container" in processes(elsewhere)[RANK].reading("cpus_allowed").detail


def test_gpus_that_a_container_may_not_use_are_not_seen() -> None:
    denied: dict[Key, Any] = {}
    for node in (2, 3, 4, 5, 7, 8, 9):
        for name in ("properties", "gpu_id"):
            path = f"{KFD}/topology/nodes/{node}/{name}"
            denied["file", path] = Unread(Gap.DENIED, path, "Operation not permitted")
    found = uses(denied)
    assert [h.pid for h in found[FIFTH].holders if h.kind == "compute"] == [RANK]
    assert found["0000:05:00.0"].reading("holders").gap is Gap.DENIED
    assert jobs(tuple(found.values())) == [RANK]
    idle = {**denied, ("dir", f"{KFD}/proc"): ()}
    with pytest.raises(Unread, match="not permitted"):
        jobs(tuple(uses(idle).values()))


UNSEEN: dict[str, dict[Key, Any]] = {
    "no amdkfd": absent("dir", f"{KFD}/topology/nodes"),
    "no list of processes": absent("dir", f"{KFD}/proc"),
    "a list of pids alone": {("dir", f"{KFD}/proc/{RANK}"): ("pasid",)},
}


@pytest.mark.parametrize("why", UNSEEN)
def test_what_cannot_be_seen_is_never_clear(why: str) -> None:
    use = uses(UNSEEN[why])[FIFTH]
    assert use.lacks("holders")
    assert use.used_bytes
    found = outcomes(UNSEEN[why])
    asked = [name for name in ("HOST_SWAPPING", "HOST_MEMORY_STALLS", "NUMA_MISPLACED_PROCESS") if name in found]
    assert len(asked) == 3
    assert [name for name in asked if found[name] != {"could_not_tell"}] == []


def test_an_idle_node_was_looked_at() -> None:
    assert all(use.holders == () for use in uses({}, IDLE).values())


def test_one_without_amdkfd_beside_gpus_that_compute_only_draws() -> None:
    path = f"{KFD}/topology/nodes/6/properties"
    told = load_node(IDLE).read(path)
    assert isinstance(told, bytes)
    unserved: dict[Key, Any] = {("file", path): told.replace(b"simd_count 1216", b"simd_count 0")}
    assert FIFTH not in uses(unserved, IDLE)
    assert len(uses(unserved, IDLE)) == 7


def test_one_handed_to_a_guest_is_the_guests() -> None:
    where = f"/sys/bus/pci/devices/{FIFTH}"
    text = b"DRIVER=vfio-pci\nPCI_CLASS=120000\nPCI_ID=1002:74A1\nPCI_SLOT_NAME=0000:85:00.0\n"
    assert FIFTH not in uses({("file", f"{where}/uevent"): text}, IDLE)


def test_amd_graphics_beside_nvidia_are_no_gap() -> None:
    where = "/sys/bus/pci/devices/0000:02:00.0/uevent"
    text = b"DRIVER=amdgpu\nPCI_CLASS=38000\nPCI_ID=1002:164E\nPCI_SLOT_NAME=0000:02:00.0\n"
    assert "0000:02:00.0" not in uses({("file", where): text, **absent("dir", f"{KFD}/topology/nodes")}, NVIDIA)
