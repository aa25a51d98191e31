"""Bus ids, the loader's cache, /proc/driver/nvidia and library names: right on true forms, calm on anything."""

from __future__ import annotations

import struct

import pytest
from gpudoctor_checks.gpu_models import decode_gpu_name, generation_of
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.parse.bus_id import bus_ids_on_path, normal_bus_id
from gpudoctor.parse.ld_cache import MAGIC, cached_libraries
from gpudoctor.parse.nvidia_proc import information, module_banner, version_in_name


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("PCI:0000:3b:00", "0000:3b:00.0"),
        ("3b:00.1", "0000:3b:00.1"),
        ("00010000:E1:00.0", "10000:e1:00.0"),
        ("0000:3b:00.9", None),
        ("0000:3b:3f.0", None),
        ("pci0000:00", None),
        ("", None),
    ],
)
def test_a_bus_id_has_one_form(written: str, normal: str | None) -> None:
    assert normal_bus_id(written) == normal


def test_the_path_runs_from_the_root_port_down() -> None:
    target = "../../../devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0"
    assert bus_ids_on_path(target) == ("0000:15:01.0", "0000:16:00.0", "0000:17:00.0")
    assert bus_ids_on_path("../../../devices/pci0000:00/0000:00:06.0") == ("0000:00:06.0",)


@pytest.mark.parametrize(
    ("line", "version", "is_open"),
    [
        ("NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24 22:53:00 UTC 2024", "535.161.08", False),
        ("NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (nixbld@)", "580.159.04", True),
        ("NVIDIA UNIX Open Kernel Module for aarch64  570.133.20  Release Build", "570.133.20", True),
        ("NVIDIA UNIX aarch64 Kernel Module  460.106.00  Tue Sep 28 12:05:58 UTC 2021", "460.106.00", False),
        ("NVIDIA UNIX x86_64 Kernel Module  390.157  Wed Oct 12 09:19:07 UTC 2022", "390.157", False),
    ],
)
def test_every_form_of_the_banner(line: str, version: str, is_open: bool) -> None:
    assert module_banner(f"NVRM version: {line}\nGCC version:  gcc version 13.3.0\n") == (version, is_open)


@pytest.mark.parametrize(
    ("file", "version"),
    [
        ("/usr/lib64/libcuda.so.580.159.04", "580.159.04"),
        ("/usr/lib/libcuda.so.390.157", "390.157"),
        ("/usr/lib/wsl/lib/libcuda.so.1.1", None),
        ("/usr/lib/libcuda.so.1", None),
        ("/usr/local/cuda/lib64/stubs/libcuda.so", None),
    ],
)
def test_a_file_name_tells_its_version(file: str, version: str | None) -> None:
    assert version_in_name(file) == version


def cache_of(entries: list[tuple[int, str, str]], before: bytes = b"") -> bytes:
    """A cache of glibc's present form, with keys stored as the tails of their paths as glibc does."""
    strings, rows = b"", b""
    start = 48 + 24 * len(entries)
    for flags, name, path in entries:
        value = start + len(strings)
        key = value + len(path) - len(name)
        rows += struct.pack("<iIIIQ", flags, key, value, 0, 0)
        strings += path.encode() + b"\0"
    header = struct.pack("<20sIIB3xI12x", MAGIC, len(entries), len(strings), 2, 0)
    return before + header + rows + strings


def test_the_cache_names_64_bit_files_in_order() -> None:
    entries = [
        (0x0303, "libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
        (0x0003, "libcuda.so.1", "/usr/lib/i386-linux-gnu/libcuda.so.1"),
        (0x0303, "libcuda.so.1", "/opt/old/libcuda.so.1"),
        (0x0303, "libz.so.1", "/lib/libz.so.1"),
    ]
    found = {"libcuda.so.1": ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/opt/old/libcuda.so.1")}
    assert cached_libraries(cache_of(entries), ["libcuda.so.1"]) == found
    assert cached_libraries(cache_of(entries, b"ld.so-1.7.0\0" + bytes(12)), ["libcuda.so.1"]) == found


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_cache_breaks_the_reader(noise: bytes, cut: int) -> None:
    whole = cache_of([(0x0303, "libcuda.so.1", "/usr/lib/libcuda.so.1")])
    for cache in (noise, MAGIC + noise, whole[:cut] + noise, noise + whole[:cut]):
        assert isinstance(cached_libraries(cache, ["libcuda.so.1"]), dict)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text: str) -> None:
    normal = normal_bus_id(text)
    assert normal is None or normal_bus_id(normal) == normal
    assert all(normal_bus_id(each) == each for each in bus_ids_on_path(text))
    assert module_banner(text) is None or module_banner(text)
    assert isinstance(information(text), dict)
    assert (version_in_name(text) or "0").replace(".", "").isdecimal()
    assert decode_gpu_name(text) is None or text.strip()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2"),
        ("NVIDIA H200", "H200 SXM"),
        ("AMD Instinct MI300X", "AMD Instinct MI300X"),
        ("NVIDIA A1000", None),
        ("XID_79", None),
    ],
)
def test_a_gpus_name_decodes(name: str, model: str | None) -> None:
    decoded = decode_gpu_name(name)
    assert (decoded.name if decoded else None) == model


@pytest.mark.parametrize(
    ("device_id", "generation"),
    [(0x1DB6, "Volta"), (0x2335, "Hopper"), (0x2342, "Grace Hopper"), (0x2901, "Blackwell"), (0x22A3, None), (0, None)],
)
def test_a_device_id_tells_the_generation(device_id: int, generation: str | None) -> None:
    assert generation_of(device_id) == generation
