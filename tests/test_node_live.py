"""Files, links, devices and commands of a live machine."""

from __future__ import annotations

import errno
import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.node import command, files
from gpudoctor.node.files import Files
from gpudoctor.node.live import LiveNode
from gpudoctor.unread import Gap, Unread


def gap(reading: object) -> Gap:
    assert isinstance(reading, Unread)
    return reading.gap


def test_a_file_a_directory_a_link_a_device(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\0content")
    (tmp_path / "a").symlink_to("b")
    machine = Files()
    assert machine.read(f"{tmp_path}/a") == b"\0content"
    assert machine.list(str(tmp_path)) == ("a", "b")
    assert machine.link(f"{tmp_path}/a") == "b"
    null: Any = machine.stat("/dev/null")
    assert (null.kind, null.major, null.minor, null.readable) == ("char", 1, 3, True)


def test_what_is_missing_or_of_another_kind_is_a_gap(tmp_path: Path) -> None:
    machine = Files()
    (tmp_path / "f").touch()
    assert gap(machine.read(f"{tmp_path}/none")) is Gap.ABSENT
    assert gap(machine.read(f"{tmp_path}/f/below")) is Gap.ABSENT
    assert gap(machine.list(f"{tmp_path}/none")) is Gap.ABSENT
    assert gap(machine.link(f"{tmp_path}/f")) is Gap.ABSENT
    assert gap(machine.stat(f"{tmp_path}/none")) is Gap.ABSENT
    assert gap(machine.read(str(tmp_path))) is Gap.UNSUPPORTED


@pytest.mark.parametrize("path", ["/dev/null", "/dev/tty", "/proc/kmsg"])
def test_devices_and_files_that_are_used_up_by_reading_are_not_opened(path: str) -> None:
    answer = Files().read(path)
    assert gap(answer) in (Gap.UNSUPPORTED, Gap.ABSENT)


def test_a_pipe_without_a_writer_does_not_hold_the_scan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.fifo")
    assert gap(Files().read(f"{tmp_path}/log.fifo")) is Gap.UNSUPPORTED


@given(st.text(max_size=60))
def test_no_path_breaks_it(path: str) -> None:
    machine = Files("/nonexistent")
    for answer in (machine.read(path), machine.list(path), machine.link(path), machine.stat(path)):
        assert isinstance(answer, Unread)


def test_links_stay_inside_of_the_root(tmp_path: Path) -> None:
    host, outside = tmp_path / "host", tmp_path / "outside"
    (host / "etc").mkdir(parents=True)
    (host / "etc" / "real").write_text("inside")
    outside.write_text("outside")
    for name, target in {
        "absolute": "/etc/real",
        "relative": "../etc/real",
        "escape": "../../../../outside",
        "absolute-escape": str(outside),
        "loop": "loop",
        "folder": "/etc",
    }.items():
        (host / "etc" / name).symlink_to(target)
    machine = Files(str(host))
    assert (
        machine.read("/etc/absolute") == machine.read("/etc/relative") == machine.read("/etc/folder/real") == b"inside"
    )
    assert machine.read("/etc/../../etc/real") == b"inside"
    assert [gap(machine.read(f"/etc/{n}")) for n in ("escape", "absolute-escape")] == [Gap.ABSENT, Gap.ABSENT]
    assert gap(machine.read("/etc/loop")) is Gap.MALFORMED
    assert machine.link("/etc/absolute") == "/etc/real"


def test_a_compressed_log_is_read_as_its_text(tmp_path: Path) -> None:
    log = tmp_path / "kern.log.2.gz"
    log.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert Files().read(str(log)) == b"one\ntwo\n"
    log.write_bytes(gzip.compress(os.urandom(100_000))[:50_000])
    torn = Files().read(str(log))
    assert isinstance(torn, bytes)
    assert 0 < len(torn) < 100_000
    log.write_bytes(b"no gzip at all")
    assert gap(Files().read(str(log))) is Gap.MALFORMED


def test_a_log_that_would_unpack_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_UNPACKED", 4 << 20)
    (tmp_path / "kern.log.9.gz").write_bytes(gzip.compress(bytes(16 << 20)))
    assert gap(Files().read(f"{tmp_path}/kern.log.9.gz")) is Gap.MALFORMED


def test_of_a_long_log_the_end_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 1000)
    (tmp_path / "var" / "log").mkdir(parents=True)
    (tmp_path / "var" / "log" / "kern.log").write_text("".join(f"line {i}\n" for i in range(1000)))
    kept = Files(str(tmp_path)).read("/var/log/kern.log")
    assert isinstance(kept, bytes)
    first, second, *_, last = kept.decode().splitlines()
    assert first.startswith("-- the first 7890 bytes")
    assert second.startswith("line ")
    assert last == "line 999"


def test_a_long_file_that_is_no_log_is_not_cut_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 1000)
    (tmp_path / "huge").write_bytes(bytes(3 << 20))
    assert gap(Files().read(f"{tmp_path}/huge")) is Gap.MALFORMED


@pytest.mark.parametrize(
    ("path", "number", "helps"),
    [("/dev/kmsg", errno.EPERM, "CAP_SYSLOG"), ("/etc/shadow", errno.EACCES, "root"), ("/proc/1/environ", 13, "root")],
)
def test_a_denial_says_what_would_help(path: str, number: int, helps: str) -> None:
    answer = Files().unread(path, OSError(number, os.strerror(number)))
    assert answer.gap is Gap.DENIED
    assert "root" in answer.remedy if os.geteuid() == 0 and path != "/dev/kmsg" else helps in answer.remedy


def test_the_kernels_log_is_read_to_its_present_end() -> None:
    start = time.monotonic()
    log = LiveNode().read("/dev/kmsg")
    assert time.monotonic() - start < 30
    if isinstance(log, Unread):
        assert log.gap in (Gap.ABSENT, Gap.DENIED)
        return
    assert not log or log.endswith(b"\n")
    assert all(b";" in line or line.startswith(b" ") for line in log.splitlines()[:100])


def test_files_of_the_driver_are_read_by_the_worker() -> None:
    machine = LiveNode()
    assert machine.read(f"/proc/{os.getpid()}/cmdline") == Path("/proc/self/cmdline").read_bytes()
    missing = machine.read("/proc/999999999/cmdline")
    machine.close()
    assert isinstance(missing, Unread)
    assert (missing.gap, missing.where) == (Gap.ABSENT, "/proc/999999999/cmdline")


def test_a_command_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uname").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    machine = LiveNode()
    ran: Any = machine.run(["uname", "-s"])
    assert (ran.exit, ran.stdout) == (0, b"Linux\n")
    assert gap(machine.run(["./uname"])) is Gap.UNSUPPORTED
    assert gap(machine.run([f"{tmp_path}/uname"])) is Gap.UNSUPPORTED
    assert gap(machine.run(["no-such-program"])) is Gap.ABSENT


def test_a_command_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    assert gap(LiveNode().run(["sleep", "60"], seconds=0.2)) is Gap.TIMED_OUT
    monkeypatch.setattr(command, "MOST", 1 << 20)
    assert gap(LiveNode().run(["yes"], seconds=5)) is Gap.TIMED_OUT
    assert time.monotonic() - start < 30


def test_another_root_runs_no_command_and_asks_no_nvml(tmp_path: Path) -> None:
    from gpudoctor.node.surface import NvmlCall

    machine = LiveNode(root=str(tmp_path))
    assert gap(machine.run(["uname"])) is Gap.UNSUPPORTED
    assert gap(machine.nvml([NvmlCall("nvmlDeviceGetCount")])[0]) is Gap.UNSUPPORTED
