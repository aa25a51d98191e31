"""CPU models, memory counters and mount tables as kernels print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.parse.cpuinfo import cpu_info
from gpudoctor.parse.meminfo import chosen, counters, full_minute, sizes
from gpudoctor.parse.mountinfo import mount_of, mounts

ARM = b"""processor\t: 0
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp sve sve2 svebf16 i8mm bf16 smef64f64
CPU implementer\t: 0x%s
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0x%s
CPU revision\t: 0

processor\t: 1
"""
MOUNTED = b"""\
31 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
40 31 0:40 / /home rw,relatime shared:9 master:2 propagate_from:1 - nfs4 filer:/export/home rw,hard
41 31 253:0 / /home/local\\040disk rw - xfs /dev/mapper/vg-local rw
42 31 0:41 / /data rw - fuse.gcsfuse bucket rw
43 31 0:42 / /data rw - tmpfs tmpfs rw
broken line
"""


def x86(package: int, flags: str = "fpu lm avx2 avx512f amx_tile smep smap") -> str:
    return (
        f"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Platinum 8480C\n"
        f"physical id\t: {package}\ncpu cores\t: 56\nflags\t\t: {flags}\n\n"
    )


def test_sockets_and_cores_of_all_packages() -> None:
    info = cpu_info("".join(x86(package) for package in (0, 0, 1, 1)).encode())
    assert (info.architecture, info.model) == ("x86_64", "Intel(R) Xeon(R) Platinum 8480C")
    assert (info.sockets, info.cores) == (2, 112)
    assert info.flags == {"avx2", "avx512f", "amx_tile"}


@pytest.mark.parametrize(
    ("implementer", "part", "model"),
    [
        (b"41", b"d4f", "Arm Neoverse-V2"),
        (b"4e", b"010", "NVIDIA Olympus"),
        (b"41", b"fff", "Arm implementer 0x41 part 0xfff"),
    ],
)
def test_arm_has_numbers_for_names(implementer: bytes, part: bytes, model: str) -> None:
    info = cpu_info(ARM % (implementer, part))
    assert (info.architecture, info.model, info.sockets, info.cores) == ("aarch64", model, None, None)
    assert info.flags is not None
    assert {"sve2", "svebf16", "i8mm", "bf16", "smef64f64", "asimddp"} <= info.flags


def test_what_is_not_said_is_none() -> None:
    assert cpu_info(b"cpu\t\t: POWER9, altivec supported\n") == (None, None, None, None, None)


@given(st.binary())
def test_no_text_is_too_strange(text: bytes) -> None:
    for parse in (cpu_info, mounts, sizes, counters, full_minute):
        parse(text)


def test_memory_is_counted_in_bytes() -> None:
    assert sizes(b"MemTotal:       16 kB\nActive(anon):    4 kB\nHugePages_Total:   0\n") == {
        "MemTotal": 16384,
        "Active(anon)": 4096,
    }
    assert counters(b"pswpin 12\npswpout 0\n") == {"pswpin": 12, "pswpout": 0}


def test_pressure_is_that_of_everything_waiting() -> None:
    text = b"some avg10=9.00 avg60=8.00 avg300=7.00 total=1\nfull avg10=0.50 avg60=2.25 avg300=0.10 total=1\n"
    assert full_minute(text) == 2.25
    assert full_minute(b"some avg10=9.00 avg60=8.00 avg300=7.00 total=1\n") is None


def test_a_switch_shows_its_choice() -> None:
    assert chosen("always defer defer+madvise [madvise] never") == "madvise"
    assert chosen("always [defer+madvise] never") == "defer+madvise"
    assert chosen("always never") is None


def test_the_nearest_mount_holds_a_path() -> None:
    mounted = mounts(MOUNTED)
    assert len(mounted) == 5

    def at(path: str) -> tuple[str, bool]:
        mount = mount_of(mounted, path)
        assert mount is not None
        return mount.mount_point, mount.is_network

    assert at("/homework") == ("/", False)
    assert at("/home") == at("/home/someone/.triton") == ("/home", True)
    assert at("/home/local disk/x") == ("/home/local disk", False)
    assert at("/data/x") == ("/data", False), "the later of two mounts hides the earlier"
    assert mounted[3].is_network
    assert mount_of((), "/") is None


@given(st.text(alphabet="/ab", max_size=12))
def test_every_path_lies_on_the_root_or_deeper(path: str) -> None:
    assert mount_of(mounts(MOUNTED), f"/{path}") is not None
