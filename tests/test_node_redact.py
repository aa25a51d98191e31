"""What a redacted recording no longer holds, what it still holds, and that it always loads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.node.archive import Archive, Key, dump, load
from gpudoctor.node.identity import Identities
from gpudoctor.node.redact import redact
from gpudoctor.node.surface import Output, Stat
from gpudoctor.unread import Gap, Unread

UUID = "GPU-fa154744-dd7d-4dd6-1a08-d2cf4bf68864"
OTHER = "GPU-fa154744-dd7d-4dd6-1a08-d2cf4bf68865"
KERNEL_LOG = b"""\
Nov 21 03:20:01 gpu-a17 kernel: NVRM: Xid (PCI:0000:18:00): 79, pid=4242, name=python3, GPU has fallen off the bus.
Nov 21 03:20:02 gpu-a17 kernel: NVRM: GPU 0000:18:00.0: GPU serial number is 1654923004711.
Nov 21 03:20:02 gpu-a17 kernel: nvidia 0000:18:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer
Nov 21 03:20:03 gpu-a17 kernel: Serial: 8250/16550 driver, 32 ports, IRQ sharing enabled
Nov 21 03:20:04 gpu-a17 kernel: mlx5_core 0000:1a:00.0: firmware version: 28.39.1002.7
Nov 21 03:20:05 gpu-a17 kernel: nfs: server 171.66.8.14 not responding, timed out
Nov 21 03:20:06 gpu-a17 kernel: nfs: server 10.0.3.14 OK
Nov 21 03:20:07 gpu-a17 kernel: igb 0000:01:00.0 eno1: ac:1f:6b:12:34:56 link up
"""
ENVIRON = b"\0".join(
    [
        b"NCCL_DEBUG=INFO",
        b"CUDA_VISIBLE_DEVICES=" + UUID.encode(),
        b"HF_TOKEN=hf_abcdef",
        b"VLLM_API_KEY=sk-123",
        b"WANDB_NAME=secret-merger",
        b"LD_LIBRARY_PATH=/home/alice/lib:/usr/local/cuda/lib64",
        b"MASTER_ADDR=gpu-a17",
        b"USER=alice",
        b"noequals",
        b"",
    ]
)


def recorded() -> dict[Key, Any]:
    return {
        ("file", "/proc/sys/kernel/hostname"): b"gpu-a17\n",
        ("file", "/var/log/kern.log"): KERNEL_LOG,
        ("file", "/proc/4242/environ"): ENVIRON,
        ("file", "/proc/4242/cmdline"): b"python\0serve.py\0--api-key\0sk-9876543\0--max-num-batched-tokens=8192\0",
        ("file", "/proc/4242/maps"): b"7f00-7f01 r-xp 0 08:01 9 /home/alice/.venv/lib/libcudnn.so.9.1.0.70\n",
        ("file", "/proc/cmdline"): b"root=UUID=0c8ec3a1-7d0e-4a2b-9f0e-1234567890ab iommu=pt pci=realloc\n",
        ("file", "/sys/class/dmi/id/board_serial"): b"ZM22AS012345\n",
        ("file", "/sys/class/dmi/id/board_name"): b"X12DGO-6\n",
        ("dir", "/home/alice/.venv/lib"): ("libcudnn.so.9.1.0.70",),
        ("link", "/proc/4242/cwd"): "/home/alice/runs",
        ("stat", "/dev/nvidia0"): Stat("char", 0o666, 0, 0, 195, 0, True, True),
        ("run", "nvidia-smi -q"): Output(0, b"Serial Number : 1654923004711\nHost gpu-a17.corp.example.com\n", b""),
        ("nvml", "nvmlDeviceGetSerial(gpu 0)"): "1654923004711",
        ("nvml", "nvmlDeviceGetPdi(gpu 0)"): 11223344556677889900,
        ("nvml", "nvmlDeviceGetUUID(gpu 0)"): UUID,
        ("nvml", "nvmlDeviceGetUUID(gpu 1)"): OTHER,
        ("nvml", "nvmlDeviceGetPlatformInfo(gpu 0)"): {"chassisSerialNumber": "1820325000013", "slotNumber": 3},
        ("nvml", "nvmlSystemGetDriverVersion()"): "580.159.04",
        ("file", "/home/alice/x"): Unread(Gap.DENIED, "/home/alice/x", "Permission denied", "run as root"),
    }


@pytest.fixture
def archive() -> Archive:
    return redact(Archive(surfaces=recorded()))


@pytest.mark.parametrize(
    "secret",
    [
        "gpu-a17", "alice", "1654923004711", "d2cf4bf68864", "hf_abcdef", "sk-123", "sk-9876543", "secret-merger",
        "171.66.8.14", "12:34:56", "1234567890ab", "ZM22AS012345", "corp.example", "1820325000013", "noequals",
        "11223344556677889900",
    ],
)  # fmt: skip
def test_it_is_gone(archive: Archive, secret: str) -> None:
    held = repr(archive.surfaces)
    assert secret not in held
    assert secret not in dump(archive)


@pytest.mark.parametrize(
    "needed",
    [
        "kernel: NVRM: Xid (PCI:0000:18:00): 79, pid=4242, name=python3, GPU has fallen off the bus.",
        "nvidia 0000:18:00.0: AER: PCIe Bus Error: severity=Corrected, type=Data Link Layer",
        "Serial: 8250/16550 driver", "28.39.1002.7", "10.0.3.14", "ac:1f:6b:", "GPU-fa154744-", "NCCL_DEBUG=INFO",
        "HF_TOKEN=", "--max-num-batched-tokens=8192", "libcudnn.so.9.1.0.70", "iommu=pt pci=realloc", "X12DGO-6",
        "580.159.04", "/usr/local/cuda/lib64",
    ],
)  # fmt: skip
def test_it_is_still_there(archive: Archive, needed: str) -> None:
    assert needed in repr(archive.surfaces)


def test_different_gpus_stay_different_and_the_same_stays_the_same(archive: Archive) -> None:
    first: Any = archive.surfaces["nvml", "nvmlDeviceGetUUID(gpu 0)"]
    assert first != archive.surfaces["nvml", "nvmlDeviceGetUUID(gpu 1)"]
    environ: Any = archive.surfaces["file", "/proc/4242/environ"]
    assert first.encode() in environ


def test_a_path_is_found_by_what_leads_to_it(archive: Archive) -> None:
    maps: Any = archive.surfaces["file", "/proc/4242/maps"]
    folder = maps.decode().split()[-1].rpartition("/")[0]
    assert archive.surfaces["dir", folder] == ("libcudnn.so.9.1.0.70",)


def test_a_host_called_like_a_word_is_taken_out_where_it_is_a_host() -> None:
    held: dict[Key, Any] = {
        ("file", "/etc/hostname"): b"nvidia\n",
        ("file", "/var/log/kern.log"): (
            b"Nov 21 03:20:01 nvidia kernel: nvidia 0000:18:00.0: enabling device\n"
            b"2025-11-21T03:20:01Z nvidia 0000:18:00.0: x\n"
        ),
    }
    log: Any = redact(Archive(surfaces=held)).surfaces["file", "/var/log/kern.log"]
    after = log.decode()
    assert "redacted-host kernel: nvidia 0000:18:00.0: enabling device" in after
    assert "Z nvidia 0000:18:00.0: x" in after


def test_the_serial_capability_of_a_device_is_cleared_and_nothing_else() -> None:
    space = bytearray(range(256)) * 16
    space[0x100:0x104] = (0x140_1_0001).to_bytes(4, "little")  # AER, next at 0x140
    space[0x140:0x144] = (0x000_1_0003).to_bytes(4, "little")
    path = "/sys/bus/pci/devices/0000:18:00.0/config"
    after: Any = redact(Archive(surfaces={("file", path): bytes(space)})).surfaces["file", path]
    changed = {i for i, (a, b) in enumerate(zip(space, after, strict=True)) if a != b}
    assert changed == set(range(0x144, 0x14C))


texts = st.text(max_size=80)
keys = st.from_regex(r"\A/[a-z]{1,8}(/[a-z0-9:.]{1,8}){0,3}\Z")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
sections = st.one_of(
    st.tuples(
        st.tuples(st.just("file"), keys), st.binary(max_size=200) | texts.map(lambda t: t.encode(errors="replace"))
    ),
    st.tuples(st.tuples(st.just("dir"), keys), st.lists(texts, max_size=4).map(tuple)),
    st.tuples(st.tuples(st.just("link"), keys), texts),
    st.tuples(st.tuples(st.just("run"), st.just("dmesg")), st.binary(max_size=80).map(lambda b: Output(1, b, b""))),
    st.tuples(st.tuples(st.just("nvml"), st.just("nvmlDeviceGetName(gpu 0)")), json_values),
    st.tuples(st.tuples(st.just("stat"), keys), st.just(Stat("file", 0o644, 0, 0, 0, 0, True, False))),
    st.tuples(st.tuples(st.just("file"), keys), st.builds(Unread, st.sampled_from(Gap), texts, texts, texts)),
)


@given(st.lists(sections, max_size=6))
def test_whatever_was_read_the_redacted_recording_loads(held: list[Any]) -> None:
    after = redact(Archive(surfaces=dict(held)), names=["ann"])
    again = load(dump(after))
    assert again.redacted
    assert set(again.surfaces) == set(after.surfaces)


@given(texts)
def test_no_text_breaks_it(text: str) -> None:
    identities = Identities(["gpu-a17"], ["alice"], ["1654923004711"], ["corp"])
    once = identities.text(text, addresses=True)
    assert identities.text(once, addresses=True) == once
