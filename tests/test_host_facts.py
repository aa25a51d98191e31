"""The host's facts out of made nodes: CPUs, clocks, memory, media, folders."""

from __future__ import annotations

from typing import Any

import pytest
from casebook import load_node

from gpudoctor.collect.collector import collect
from gpudoctor.facts.fact import Fact
from gpudoctor.facts.host import Cpu, CpuFrequency, Folder, HostMemory, JobStorage, Storage, Swapping
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.redact import redact
from gpudoctor.render.facts import render
from gpudoctor.render.screen import Screen
from gpudoctor.unread import Gap, Unread

CPUS = "/sys/devices/system/cpu"


def gathered(kind: type[Fact], node: RecordedNode) -> Any:
    return collect(node, [kind], seconds=10).one(kind)


@pytest.mark.parametrize(
    ("node", "model", "sockets", "cores", "threads", "smt"),
    [
        ("made-hgx-2s.node", "Intel(R) Xeon(R) Gold 6444Y", 2, 32, 64, True),
        ("made-ws-4gpu.node", "AMD Ryzen Threadripper PRO 5965WX 24-Cores", 1, 24, 48, True),
        ("made-vm-qemu.node", "Intel(R) Xeon(R) Platinum 8480+", 2, 48, 48, False),
        ("made-gh200.node", "Arm Neoverse-V2", 1, 72, 72, False),
    ],
)
def test_cpus_are_counted(node: str, model: str, sockets: int, cores: int, threads: int, smt: bool) -> None:
    cpu = gathered(Cpu, load_node(node))
    assert (cpu.model, cpu.sockets, cpu.cores, cpu.threads, cpu.smt) == (model, sockets, cores, threads, smt)
    assert cpu.isolated == frozenset()


def test_a_machine_that_answers_nothing_has_unread_cpus() -> None:
    cpu = gathered(Cpu, RecordedNode(Archive(), "nothing"))
    assert all(isinstance(reading, Unread) for _, reading in cpu.readings())


def test_clocks_are_told_by_few_files() -> None:
    frequency = gathered(CpuFrequency, load_node("made-hgx-2s.node"))
    assert frequency.driver == "intel_pstate"
    assert frequency.governors == {"performance": 64}
    assert frequency.energy_preferences == {"performance"}


@pytest.mark.parametrize("answer", [(), Unread(Gap.ABSENT, f"{CPUS}/cpufreq", "No such file or directory")])
def test_without_policies_there_are_no_clocks_to_judge(answer: Any) -> None:
    node = load_node("made-hgx-2s.node").with_surfaces({("dir", f"{CPUS}/cpufreq"): answer})
    assert gathered(CpuFrequency, node) is None


def test_a_driver_without_preferences() -> None:
    assert gathered(CpuFrequency, load_node("made-ws-4gpu.node")).energy_preferences == frozenset()


@pytest.mark.parametrize("gap", [Gap.ABSENT, Gap.UNSUPPORTED])
def test_a_kernel_that_measures_no_pressure(gap: Gap) -> None:
    path = "/proc/pressure/memory"
    memory = gathered(HostMemory, load_node("made-hgx-2s.node").with_surfaces({("file", path): Unread(gap, path)}))
    assert memory.lacks("stalled_percent")
    assert memory.available_bytes <= memory.total_bytes


def test_swap_is_weighed_over_a_sample_or_since_boot() -> None:
    once = load_node("made-hgx-2s.node")
    assert gathered(Swapping, once).pages_in.since == "boot"
    twice = once.with_surfaces({("file", "/proc/vmstat"): b"pswpin 5\n", ("file", "/proc/vmstat #1"): b"pswpin 605\n"})
    twice.sample_seconds = 2.0
    swapping = gathered(Swapping, twice)
    assert (swapping.pages_in.per_minute, swapping.pages_in.since) == (18000, "sample")
    assert swapping.pages_out.count == 0


def working_directory(line: str, surfaces: dict[Any, Any], node: str = "made-hgx-2s.node") -> Folder:
    table = f"31 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n{line}\n".encode()
    path = ("link", "/proc/self/cwd")
    changed = {("file", "/proc/self/mountinfo"): table, path: "/w/x", **surfaces}
    folders = gathered(Storage, load_node(node).with_surfaces(changed)).folders
    return next(folder for folder in folders if folder.purpose == "working directory")


def disk(number: str, place: str) -> dict[Any, Any]:
    return {("link", f"/sys/dev/block/{number}"): f"../../devices/{place}"}


MIXED = {("dir", "/sys/block/dm-0/slaves"): ("sda", "nvme1n1")}
ON_ARRAY = {("dir", "/sys/block/dm-0/slaves"): ("md0",), ("dir", "/sys/block/md0/slaves"): ("nvme1n1", "nvme2n1")}
MEMBERS = {
    ("link", "/sys/class/block/sda"): "../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda",
    ("link", "/sys/class/block/md0"): "../../devices/virtual/block/md0",
    ("link", "/sys/class/block/nvme1n1"): "../../devices/pci0000:00/0000:00:1d.0/nvme/nvme1/nvme1n1",
    ("link", "/sys/class/block/nvme2n1"): "../../devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1",
    ("file", "/sys/block/sda/queue/rotational"): b"1\n",
}
DM = disk("253:0", "virtual/block/dm-0")
SDA = disk("8:1", "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1")
EBS = {("file", "/sys/block/nvme1n1/device/model"): b"Amazon Elastic Block Store              \n"}


@pytest.mark.parametrize(
    ("line", "surfaces", "medium"),
    [
        ("40 31 0:40 / /w rw - nfs4 filer:/export rw", {}, "network"),
        ("40 31 0:40 / /w rw - fuse.juicefs JuiceFS:scratch rw", {}, "network"),
        ("40 31 0:40 / /w rw - tmpfs tmpfs rw", {}, "memory"),
        ("40 31 0:40 / /w rw - virtiofs share rw", {}, "virtual"),
        ("40 31 0:40 / /w rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/x/diff", {}, "unknown"),
        ("40 31 8:1 / /w rw - xfs /dev/sda1 rw", {**SDA, **MEMBERS}, "rotational"),
        ("40 31 8:1 / /w rw - xfs /dev/sda1 rw", {**SDA, ("file", "/sys/block/sda/queue/rotational"): b"0\n"}, "ssd"),
        ("40 31 253:0 / /w rw - xfs /dev/mapper/a rw", {**DM, **MEMBERS, **ON_ARRAY}, "nvme"),
        ("40 31 253:0 / /w rw - xfs /dev/mapper/a rw", {**DM, **MEMBERS, **MIXED}, "unknown"),
        ("40 31 0:44 /@ /w rw - btrfs /dev/nvme1n1 rw", MEMBERS, "nvme"),
        ("40 31 0:44 / /w rw - zfs tank/home rw", {}, "unknown"),
    ],
)
def test_media(line: str, surfaces: dict[Any, Any], medium: str) -> None:
    folder = working_directory(line, surfaces)
    assert (folder.medium, folder.mount_point, folder.path) == (medium, "/w", "/w/x")


@pytest.mark.parametrize(
    ("line", "surfaces"),
    [
        ("40 31 254:1 / /w rw - ext4 /dev/vda1 rw", disk("254:1", "pci0000:00/0000:00:01.0/virtio0/block/vda/vda1")),
        ("40 31 8:1 / /w rw - xfs /dev/sda1 rw", {**SDA, **MEMBERS}),
        ("40 31 259:9 / /w rw - xfs /dev/nvme1n1 rw", {**disk("259:9", "pci0/nvme/nvme1/nvme1n1"), **EBS}),
    ],
)
def test_a_virtual_disk_is_not_said_to_spin(line: str, surfaces: dict[Any, Any]) -> None:
    assert working_directory(line, surfaces, "made-vm-qemu.node").medium == "virtual"


def places(environment: str) -> dict[str, str]:
    changed: dict[Any, Any] = {("file", "/proc/self/environ"): environment.encode()}
    folders = gathered(Storage, load_node("made-hgx-2s.node").with_surfaces(changed)).folders
    return {folder.purpose: folder.path for folder in folders if folder.purpose != "working directory"}


def test_caches_are_where_each_program_looks() -> None:
    assert places("HOME=/root\0USER=root\0") == {
        "CUDA cache": "/root/.nv/ComputeCache",
        "Triton cache": "/root/.triton/cache",
        "Inductor cache": "/tmp/torchinductor_root",
        "Hugging Face": "/root/.cache/huggingface",
        "PyTorch hub": "/root/.cache/torch",
    }
    assert places(
        "HOME=/root\0USER=root\0CUDA_CACHE_PATH=/a\0TRITON_HOME=/b\0TMPDIR=/c\0XDG_CACHE_HOME=/d\0TORCH_HOME=/e\0"
    ) == {
        "CUDA cache": "/a",
        "Triton cache": "/b/.triton/cache",
        "Inductor cache": "/c/torchinductor_root",
        "Hugging Face": "/d/huggingface",
        "PyTorch hub": "/e",
    }


def test_what_a_recording_leaves_out_is_not_guessed() -> None:
    told = places("HOME=redacted\0TMPDIR=redacted\0CUDA_CACHE_DISABLE=1\0")
    assert told == {}


def test_redaction_keeps_where_caches_lie() -> None:
    environ = b"HOME=/home/alice.smith\0XDG_CACHE_HOME=/home/alice.smith/c\0HF_HOME=/data/hf\0API_KEY=abc\0"
    held = redact(Archive(surfaces={("file", "/proc/self/environ"): environ})).surfaces["file", "/proc/self/environ"]
    assert isinstance(held, bytes)
    assert held.split(b"\0") == [
        b"HOME=/home/redacted-user",
        b"XDG_CACHE_HOME=/home/redacted-user/c",
        b"HF_HOME=/data/hf",
        b"API_KEY=redacted",
        b"",
    ]


def test_links_in_a_circle_end() -> None:
    changed: dict[Any, Any] = {("link", "/root"): "/root2", ("link", "/root2"): "/root"}
    node = load_node("made-hgx-2s.node").with_surfaces(changed)
    assert gathered(Storage, node).folders[0].path == "/root"


def test_nothing_on_a_network_file_system_is_touched() -> None:
    asked: list[str] = []

    class Watched(RecordedNode):
        def link(self, path: str) -> Any:
            asked.append(path)
            return super().link(path)

    changed: dict[Any, Any] = {
        ("file", "/proc/self/mountinfo"): b"31 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n"
        b"40 31 0:40 / /home rw - nfs4 filer:/export/home rw\n",
        ("file", "/proc/self/environ"): b"HOME=/home/someone\0USER=someone\0",
        ("link", "/proc/self/cwd"): "/home/someone/run",
    }
    base = load_node("made-hgx-2s.node").with_surfaces(changed)
    folders = gathered(Storage, Watched(Archive(time=base.time, surfaces=base._surfaces), "watched")).folders
    assert [f.medium for f in folders if f.purpose == "Triton cache"] == ["network"]
    assert not [path for path in asked if path.startswith("/home")]


def test_folders_of_processes_that_cannot_be_read_are_unread() -> None:
    node = load_node("made-hgx-2s-job.node")
    changed: dict[Any, Any] = {}
    for pid in range(51000, 52000, 100):
        changed["file", f"/proc/{pid}/environ"] = Unread(Gap.DENIED, f"/proc/{pid}/environ")
        changed["file", f"/proc/{pid}/mountinfo"] = node._surfaces["file", "/proc/self/mountinfo"]
    storage = gathered(JobStorage, node.with_surfaces(changed))
    assert storage.reading("folders").gap is Gap.DENIED


def test_processes_of_another_pid_namespace_have_no_folders() -> None:
    node = load_node("made-hgx-2s-job.node")
    gone: dict[Any, Any] = {
        ("file", f"/proc/{pid}/{name}"): Unread(Gap.ABSENT, f"/proc/{pid}/{name}")
        for pid in range(51000, 52000, 100)
        for name in ("environ", "mountinfo")
    }
    assert gathered(JobStorage, node.with_surfaces(gone)) is None


def test_processes_that_nvml_does_not_tell_of_may_have_some() -> None:
    call = "nvmlDeviceGetComputeRunningProcesses_v3(gpu 0)"
    node = load_node("made-hgx-2s.node").with_surfaces({("nvml", call): Unread(Gap.DENIED, call)})
    assert gathered(JobStorage, node).reading("folders").gap is Gap.DENIED


def test_nobody_computes_nobodys_folders() -> None:
    assert gathered(JobStorage, load_node("made-hgx-2s.node")) is None


def test_facts_are_shown_in_words_and_in_order() -> None:
    facts = collect(load_node("made-hgx-2s.node"), [Cpu, HostMemory, Storage, Swapping], seconds=10)
    page = render(facts, Screen(width=120))
    assert "amx_bf16; amx_int8; amx_tile; avx; avx2;" in page
    assert "CUDA cache of this shell /root/.nv/ComputeCache on ext4 /dev/nvme0n1p2 (nvme)" in " ".join(page.split())
    assert "0 of 0 pages of 2 MiB free" in page
    assert "0 in 216.0 h since boot" in page
