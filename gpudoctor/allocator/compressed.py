"""A file's content, unpacked where it is compressed: what it is, is told by its first bytes and not by its name.

https://www.rfc-editor.org/rfc/rfc1952, https://tukaani.org/xz/xz-file-format.txt, https://www.rfc-editor.org/rfc/rfc8878
"""

from __future__ import annotations

import gzip
import importlib
import lzma
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, cast

from gpudoctor.allocator.snapshot import InvalidSnapshot

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_HEAD = 6
_XZ_MEMORY = 1 << 30  # bytes that an xz dictionary may take; xz -9 takes 65 MiB
_ZSTD_WINDOW = 1 << 27
_ANY_SIZE = 256 << 20  # bytes: below this, any ratio will do
_PAST_THE_END = 1 << 20
_RATIO = 1000  # bytes out of one; snapshots have stayed below 100


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Counted:
    """The file as it is on disk: how much of it was read, with its first bytes given again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = self._unread = file.read(_HEAD)
        self.count = len(self.head)

    def read(self, size: int = -1, /) -> bytes:
        if self._unread and size:
            size = len(self._unread) if size < 0 else size
            given, self._unread = self._unread[:size], self._unread[size:]
            return given
        given = self._file.read(size)
        self.count += len(given)
        return given


class _Xz:
    """lzma.LZMAFile with a limit on memory."""

    def __init__(self, file: _Counted) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            given = b""
            if self._decompressor.eof:
                given = self._decompressor.unused_data or self._file.read(size)
                given = given.lstrip(b"\0")  # stream padding
                if not given:
                    return b""
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            elif self._decompressor.needs_input:
                given = self._file.read(size)
                if not given:
                    raise EOFError
            unpacked = self._decompressor.decompress(given, size)
            if unpacked:
                return unpacked


def _zstd(file: _Counted) -> tuple[_Readable, type[Exception]]:
    """Python 3.14 has a module for it; before, there is a package that may be installed."""
    with suppress(ImportError):
        module = importlib.import_module("compression.zstd")
        return cast(_Readable, module.ZstdFile(file)), module.ZstdError
    with suppress(ImportError):
        module = importlib.import_module("zstandard")
        unpacker = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return cast(_Readable, unpacker.stream_reader(file, read_across_frames=True)), module.ZstdError
    raise InvalidSnapshot(
        "is compressed with zstd, which this Python cannot read: unpack it first (zstd -d), "
        "or install the package zstandard"
    )


class Unpacked:
    """Reads the content in pieces, and says how far into the file that is."""

    def __init__(self, path: str | Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Raises OSError where the file cannot be opened or read, InvalidSnapshot where it cannot be unpacked."""
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._on_disk = _Counted(self._file)
            self.bytes_total = os.fstat(self._file.fileno()).st_size
            self._progress = progress
            self._given = 0
            self._broken: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
            self._content = self._opened(self._on_disk)
        except BaseException:
            self._file.close()
            raise

    def _opened(self, file: _Counted) -> _Readable:
        self._form = next((form for magic, form in _MAGIC.items() if file.head.startswith(magic)), "")
        if self._form == "zip":
            raise InvalidSnapshot("is a ZIP archive, as torch.save writes it; a snapshot is a plain pickle")
        if self._form == "gzip":
            return cast(_Readable, gzip.GzipFile(fileobj=cast(BinaryIO, file)))
        if self._form == "xz":
            return _Xz(file)
        if self._form == "zstd":
            content, error = _zstd(file)
            self._broken += (error,)
            return content
        return file

    @property
    def bytes_read(self) -> int:
        """Of the file on disk."""
        return self._on_disk.count

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            content = self._content.read(size)
        except EOFError:
            raise InvalidSnapshot(f"is a truncated {self._form} file") from None
        except self._broken as error:
            raise InvalidSnapshot(f"is a damaged {self._form} file: {str(error).rstrip('.')}") from None
        if self._form and not content and not self._given:
            raise InvalidSnapshot(f"is a {self._form} file of which nothing can be unpacked; it is empty or truncated")
        self._given += len(content)
        if self._given > max(_ANY_SIZE, _RATIO * self.bytes_read):
            raise InvalidSnapshot(f"unpacks to more than {_RATIO} times its size, as no snapshot does")
        if self._progress is not None:
            self._progress(min(self.bytes_read, self.bytes_total), self.bytes_total)
        return content

    def finish(self) -> None:
        """Read what is left, a checksum mostly, as far as it is of a size to read."""
        left = _PAST_THE_END
        while left > 0 and (content := self.read(left)):
            left -= len(content)

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
