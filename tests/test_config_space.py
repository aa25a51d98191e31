"""Configuration space: only what is looked at is read, and no bytes break the reader or the parser."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making_config import config_space as made
from making_config import full, header

from gpudoctor.node.config_space import read_config_space
from gpudoctor.node.live import LiveNode
from gpudoctor.parse.config_space import config_space, is_cut, is_gone
from gpudoctor.unread import Gap, Unread

GPU = made(0x10DE, 0x2335, 0x030200, "endpoint", full(16, 32.0), max_payload=256, max_read_request=4096)
PORT = made(
    0x1000, 0xC030, 0x060400, "downstream", full(16, 32.0), buses=(1, 2, 2), acs_capability=0x7F, acs_control=0x1D
)
BUS = Path("/sys/bus/pci/devices")


def kept(tmp_path: Path, content: bytes) -> bytes:
    (tmp_path / "config").write_bytes(content)
    return read_config_space(str(tmp_path / "config"))


def noisy(config: bytes) -> bytes:
    """The same registers, and noise wherever a blind read would reach beside them."""
    return bytes(b or 0xA5 if at >= 0xC0 and not 0x100 <= at < 0x200 else b for at, b in enumerate(config))


@pytest.mark.parametrize("config", [GPU, PORT])
def test_what_is_read_says_the_same_as_the_whole(tmp_path: Path, config: bytes) -> None:
    image = kept(tmp_path, noisy(config))
    assert len(image) == 4096
    assert config_space(image) == config_space(config)
    assert not any(image[0xC0:0x100])
    assert not any(image[0x200:])


def test_registers_come_out_typed() -> None:
    port = config_space(PORT)
    assert port is not None
    assert port.port_type == "switch_downstream"
    assert port.access_control is not None
    assert (port.access_control.request_redirect, port.access_control.completion_redirect) == (True, True)
    gpu: Any = config_space(GPU)
    assert (gpu.port_type, gpu.access_control, gpu.extended) == ("endpoint", None, True)
    assert (gpu.max_payload_bytes, gpu.max_payload_supported_bytes, gpu.max_read_request_bytes) == (256, 512, 4096)


def test_without_root_there_is_the_header_alone(tmp_path: Path) -> None:
    image = kept(tmp_path, GPU[:64])
    assert image == GPU[:64]
    assert is_cut(image)
    assert config_space(image) is None


def test_conventional_pci_has_256_bytes(tmp_path: Path) -> None:
    image = kept(tmp_path, header(0x1A03, 0x2000, 0x030000))
    assert len(image) == 256
    assert not is_cut(image)
    assert config_space(image) is None


def test_a_device_off_the_bus_reads_as_all_ones(tmp_path: Path) -> None:
    image = kept(tmp_path, b"\xff" * 4096)
    assert image[:4] == b"\xff\xff\xff\xff"
    assert len(image) == 64
    assert is_gone(image)
    assert config_space(image) is None


@pytest.mark.parametrize("loop", ["capabilities", "extended"])
def test_a_list_that_runs_in_a_circle_ends(tmp_path: Path, loop: str) -> None:
    config = bytearray(GPU)
    if loop == "capabilities":
        config[0x61] = 0x40
    else:
        struct.pack_into("<I", config, 0x150, 0x0001 | 2 << 16 | 0x100 << 20)
    image = kept(tmp_path, bytes(config))
    assert config_space(image) is not None
    assert config_space(bytes(config)) is not None


@given(st.binary(max_size=4200))
def test_no_bytes_break_it(content: bytes) -> None:
    config_space(content)
    is_cut(content)
    is_gone(content)


@given(st.binary(min_size=64, max_size=400), st.binary(max_size=64))
def test_no_header_breaks_it(start: bytes, extended: bytes) -> None:
    config_space(start[:6] + b"\x10\x00" + start[8:])
    config_space(GPU[:256] + extended + bytes(64))


@given(st.binary(max_size=4200))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    image = kept(tmp_path_factory.mktemp("device"), content)
    assert len(image) <= 4096


def test_a_live_node_reads_it_under_its_root(tmp_path: Path) -> None:
    device = tmp_path / "sys/devices/pci0000:15/0000:15:01.0"
    device.mkdir(parents=True)
    (device / "config").write_bytes(noisy(PORT))
    place = tmp_path / "sys/bus/pci/devices"
    place.mkdir(parents=True)
    (place / "0000:15:01.0").symlink_to("../../../devices/pci0000:15/0000:15:01.0")
    node = LiveNode(str(tmp_path))
    try:
        image = node.read(f"{BUS}/0000:15:01.0/config")
        absent = node.read(f"{BUS}/0000:16:00.0/config")
    finally:
        node.close()
    assert isinstance(image, bytes)
    assert config_space(image) == config_space(PORT)
    assert isinstance(absent, Unread)
    assert absent.gap is Gap.ABSENT


def test_a_real_device_reads_as_its_file_says(tmp_path: Path) -> None:
    devices = sorted(BUS.iterdir()) if BUS.is_dir() else []
    if not devices:
        pytest.skip("this machine has no PCI devices")
    for device in devices:
        image = read_config_space(str(device / "config"))
        assert image[:4] == (device / "config").read_bytes()[:4]
        assert len(image) <= os.stat(device / "config").st_size
