"""A file from a stranger: nothing in it is run, and it takes neither the memory nor the time of the reader."""

from __future__ import annotations

import gzip
import lzma
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from allocator_snapshots import training_step
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpudoctor.allocator import compressed
from gpudoctor.allocator.reader import read_snapshot
from gpudoctor.allocator.snapshot import InvalidSnapshot

MIB = 1 << 20
MUCH = MIB + MIB // 4


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InvalidSnapshot) as refused:
        read_snapshot(path)
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 300
    return said


class Leaves:
    """Unpickled by Python, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    record = {"segments": [Leaves(trap)], "device_traces": [[{"action": Leaves(trap)}]]}
    said = refusal(tmp_path / "it", pickle.dumps(record, protocol))
    assert "mkdir" in said
    assert "plain containers only" in said
    assert not trap.exists()
    pickle.loads(pickle.dumps(Leaves(trap), protocol))
    assert trap.exists(), "this was no trap"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [{1}, frozenset({1}), 1j, bytearray(b"a"), range(3), print, Path, object()])
def test_only_plain_containers(tmp_path: Path, protocol: int, value: Any) -> None:
    refusal(tmp_path / "it", pickle.dumps({"segments": [value]}, protocol))


PLAIN = """
INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT NONE NEWTRUE NEWFALSE UNICODE SHORT_BINUNICODE BINUNICODE
BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
EMPTY_DICT DICT SETITEM SETITEMS MARK GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE PROTO FRAME STOP
"""
REFUSED = [opcode.name for opcode in pickletools.opcodes if opcode.name not in PLAIN.split()]


@pytest.mark.parametrize("name", REFUSED)
def test_each_opcode_that_makes_something_is_refused_by_name(tmp_path: Path, name: str) -> None:
    code = {opcode.name: opcode.code for opcode in pickletools.opcodes}[name].encode("latin-1")
    before = b"\x80\x04}\x8c\x02os\x8c\x06system"
    said = refusal(tmp_path / "it", before + code + b"os\nsystem\n" + bytes(64))
    assert name in said or "os.system" in said or "extension" in said


def test_names_are_shown_harmlessly(tmp_path: Path) -> None:
    said = refusal(tmp_path / "it", b"c\x1b]0;owned\x07" + b"x" * 5000 + b"\nsystem\n.")
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (b"\x80", "middle"),
        (b"hello, world", "middle|no pickle|damaged"),
        (b"{'segments': []}", "no pickle"),
        (b"\x7fELF" + bytes(100), "no pickle"),
        (b"\x80\x04.", "left over"),
        (b"\x80\x04}}.", "left over"),
        (b"\x80\x04u.", "damaged"),
        (b"\x80\x04}(K\x01K\x02u.", "no text"),
        (b"\x80\x04}(\x8c\x01au.", "key without a value"),
        (b"\x80\x04K\x01K\x02a.", "damaged"),
        (b"\x80\x04h\x00.", "damaged"),
        (b"\x80\x04]\x86.", "damaged"),
        (b"\x80\x04]]\x86.", "tuple of containers"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", "number"),
        (b"\x80\x04X\xff\xff\xff\xff.", "text of 4,294,967,295 bytes"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b".", "text of"),
        (b"\x80\x04B\xff\xff\xff\x7f.", "text of"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f" + bytes(100), "number of"),
        (b"\x80\x04\x8a\xff" + bytes(300), "number of"),
        (b"L" + b"9" * 100_000 + b"L\n.", "digits"),
        (b"I" + b"9" * 100_000, "middle"),
        (b"V" + b"\\ud8" + b"\n.", "damaged"),
        (b"\x80\x04\x8c\x02\xff\xff.", "damaged"),
        (b"Fnot a number\n.", "damaged"),
    ],
)
def test_damaged_bytes(tmp_path: Path, content: bytes, part: str) -> None:
    said = refusal(tmp_path / "it", content)
    assert any(each in said for each in part.split("|")), said


@pytest.mark.parametrize(("form", "protocol"), [("python", 0), ("python", 2), ("python", 4), ("torch", 2)])
def test_a_truncation_anywhere_is_said(tmp_path: Path, form: str, protocol: int) -> None:
    whole = training_step("2.12").pickled(form, protocol)
    for length in range(len(whole)):
        said = refusal(tmp_path / "it", whole[:length])
        assert "ends in the middle" in said or "empty" in said


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_or_damaged_compressed_file(tmp_path: Path, pack: Any) -> None:
    packed = pack(training_step(steps=50).pickled())
    for length in range(7, len(packed), 97):
        assert "truncated" in refusal(tmp_path / "it", packed[:length])
    at = len(packed) - 8 if pack is gzip.compress else len(packed) // 2  # gzip ends with a checksum and a length
    assert "damaged" in refusal(tmp_path / "it", packed[:at] + bytes([packed[at] ^ 255]) + packed[at + 1 :])


def test_a_zip_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr("data.pkl", b"")
    assert "torch.save" in refusal(tmp_path / "it", (tmp_path / "it.zip").read_bytes())


def test_a_folder_or_nothing_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        read_snapshot(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_snapshot(tmp_path / "absent")


def looped(protocol: int) -> bytes:
    loop: list[Any] = []
    loop.append(loop)
    record: dict[str, Any] = {"segments": loop, "device_traces": loop, "external_annotations": loop}
    record["self"] = record
    return pickle.dumps(record, protocol)


@pytest.mark.parametrize("protocol", range(6))
def test_containers_that_hold_themselves(tmp_path: Path, protocol: int) -> None:
    refusal(tmp_path / "it", looped(protocol))


def with_frames_in_themselves() -> bytes:
    """frames: a list that is numbered, and then holds itself."""
    return b"\x80\x04}(\x8c\x08segments](}(\x8c\x06frames]\x94(h\x00eueu."


def test_frames_that_hold_themselves(tmp_path: Path) -> None:
    refusal(tmp_path / "it", with_frames_in_themselves())


def distinct_stacks(head: bytes, count: int) -> bytes:
    stacks = (b"\x8c\x06frames](" + b"}(\x8c\x04lineJ" + struct.pack("<i", n) + b"ue" for n in range(count))
    return head + b"(" + b"".join(b"}(" + stack + b"u" for stack in stacks)


def pooled(number: int) -> bytes:
    values = b"\x8c\x06actionK\x01\x8c\x07pool_idJ" + struct.pack("<i", number) + b"K\x01\x86"
    return b"}(" + values + b"u"


def bombs() -> dict[str, bytes]:
    head = b"\x80\x04"
    event = b"}(\x8c\x06actionK\x01u"
    trace = head + b"}(\x8c\x0ddevice_traces](]("
    return {
        "empty dicts": head + b"}" * MUCH,
        "empty lists in a list": head + b"](" + b"]" * MUCH,
        "deep lists": head + b"]" * MUCH + b"a" * MUCH,
        "marks": head + b"(" * MUCH,
        "memo": head + b"]" + b"\x94" * MUCH,
        "numbers in the memo": head + b"(" + b"K\x05\x94" * MUCH,
        "frames never finished": head + b"\x8c\x06frames]\x94" * (MUCH // 4),
        "nested frames": head + b"(" + b"\x8c\x06frames](" * (MUCH // 10),
        "texts": head + b"(" + b"".join(b"\x8c\xff" + b"%08d" % n + b"x" * 247 for n in range(MIB // 7)),
        "tuples": head + b"(" + b")" * MUCH,
        "distinct stacks": distinct_stacks(head, 40_000),
        "distinct pools": trace + b"".join(pooled(n) for n in range(MIB // 4)) + b"eeu.",
        "a number for each": head + b"(" + b"M\x01\x02" * MUCH,
        "tuples in tuples": head + b")" + b"\x85" * MUCH,
        "events of no use": trace + event * (MUCH // len(event)) + b"eeu.",
        "events of ever other shapes": trace
        + b"".join(b"}(\x8c\x06actionK\x01\x8c\x04%04xK\x01u" % (n % 65536) for n in range(MIB // 4)),
    }


IN_A_CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
from gpudoctor.allocator import pickle_pieces
pickle_pieces._MOST_HELD //= 8  # an eighth of the limits, to make the test short
pickle_pieces._MOST_TEXT //= 8
from gpudoctor.allocator.reader import read_snapshot
from gpudoctor.allocator.snapshot import InvalidSnapshot
try:
    read_snapshot(sys.argv[1])
    print("read")
except InvalidSnapshot as error:
    print(error)
"""


@pytest.mark.parametrize("name", sorted(bombs()))
def test_no_file_takes_all_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(bombs()[name])
    command = [sys.executable, "-c", IN_A_CHILD, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-400:]
    expected = ("more than", "over", "deeper", "as no snapshot does", "no memory snapshot", "ends in the middle")
    assert any(part in done.stdout for part in expected), done.stdout


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_what_unpacks_without_end(tmp_path: Path, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "_ANY_SIZE", MIB)
    monkeypatch.setattr(compressed, "_RATIO", 200)
    packed = pack(b"\x80\x04" + b"]q\x00" + b"K\x01a" * (8 * MIB))
    assert "200 times its size" in refusal(tmp_path / "it", packed)


def test_a_huge_xz_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "_XZ_MEMORY", MIB)
    assert "damaged" in refusal(tmp_path / "it", lzma.compress(bytes(100), preset=9))


PIECES = st.sampled_from([bytes([ord(opcode.code)]) for opcode in pickletools.opcodes]) | st.binary(max_size=9)
WHOLE = [
    training_step("2.12").pickled(form, protocol) for form, protocol in (("python", 0), ("python", 4), ("torch", 2))
]


def read_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(InvalidSnapshot):
        read_snapshot(path)


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=60).map(b"".join))
@example(b"\x80\x04]\x94(h\x00h\x00e.")
@example(b"(lp0\n(dp1\ng1\na.")
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    read_or_refused(tmp_path_factory.getbasetemp() / "any", content)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 1 << 16), PIECES, st.booleans()), min_size=1, max_size=4)
)
def test_a_snapshot_with_bytes_changed(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, changes: list[tuple[int, bytes, bool]]
) -> None:
    for place, piece, instead in changes:
        place %= len(whole)
        whole = whole[:place] + piece + whole[place + len(piece) * instead :]
    read_or_refused(tmp_path_factory.getbasetemp() / "changed", whole)
