"""The bytes of a pickle, read in pieces, and what is said where they are wrong."""

from __future__ import annotations

import pickletools
from typing import NoReturn, Protocol

from gpudoctor.allocator.snapshot import InvalidSnapshot

MARGIN = 32  # bytes that the longest opcode with its number may take
_PIECE = 256 << 10  # bytes read at a time
_LONGEST_TEXT = 16 << 20
_LONGEST_NUMBER = 16
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class Source(Protocol):
    def read(self, size: int) -> bytes: ...


class PickleBytes:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = b""
        self._base = 0  # where in the content self._data starts
        self._position = 0  # in self._data
        self._end = 0  # where the content ends in self._data, once the source has no more
        self._ended = False

    def more(self, needed: int = MARGIN) -> None:
        """Have `needed` bytes at the position; past the end they are zeros, which no opcode is."""
        data = self._data[self._position :]
        self._base += self._position
        self._end -= self._position
        self._position = 0
        pieces = [data]
        have = len(data)
        while have < needed and not self._ended:
            piece = self._source.read(max(_PIECE, min(needed - have, 16 * _PIECE)))
            have += len(piece)
            if piece:
                pieces.append(piece)
            else:
                self._ended = True
                self._end = have
                pieces.append(bytes(max(needed - have, 0) + 2 * MARGIN))
        self._data = b"".join(pieces)

    def truncated(self) -> NoReturn:
        total = self._base + self._end
        raise InvalidSnapshot(f"ends in the middle, after {total:,} bytes; was it still being written?")

    def take(self, size: int) -> bytes:
        if size > _LONGEST_TEXT:
            raise InvalidSnapshot(f"has a text of {size:,} bytes, as no snapshot does")
        if self._position + size > len(self._data) - MARGIN:
            self.more(size + MARGIN)
        if self._ended and self._position + size > self._end:
            self.truncated()
        taken = self._data[self._position : self._position + size]
        self._position += size
        return taken

    def line(self) -> bytes:
        needed = MARGIN
        while (found := self._data.find(b"\n", self._position)) < 0:
            if self._ended:
                self.truncated()
            if needed > _LONGEST_TEXT:
                raise InvalidSnapshot(f"has a line of more than {_LONGEST_TEXT:,} bytes, as no snapshot does")
            needed = max(2 * needed, _PIECE)
            self.more(needed)
        line = self._data[self._position : found]
        self._position = found + 1
        return line

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        if size > _LONGEST_NUMBER:
            raise InvalidSnapshot(f"has a number of {size:,} bytes, as no snapshot does")
        return int.from_bytes(self.take(size), "little", signed=True)

    def text(self, size: int) -> str:
        return self.take(size).decode("utf-8", "surrogatepass")

    def refuse(self, opcode: int) -> NoReturn:
        at = self._base + self._position - 1
        if self._ended and self._position > self._end:
            self.truncated()
        name = _NAMES.get(opcode)
        if name is None:
            raise InvalidSnapshot(f"is no pickle: byte {opcode:#04x} at {at:,} is no opcode")
        if name in ("GLOBAL", "INST"):
            self._refuse_to_call((self.line() + b"." + self.line()).decode("latin-1"))
        if name == "STACK_GLOBAL":
            self._refuse_to_call(self._named())
        if name in ("EXT1", "EXT2", "EXT4"):
            self._refuse_to_call(f"a registered extension ({name})")
        raise InvalidSnapshot(f"holds the opcode {name} at byte {at:,}; a snapshot holds plain containers only")

    def _named(self) -> str:
        """What STACK_GLOBAL asks for."""
        raise NotImplementedError

    def _refuse_to_call(self, what: str) -> NoReturn:
        shown = "".join(letter if letter.isprintable() else "?" for letter in what[:100])
        raise InvalidSnapshot(f"asks for {shown}; a snapshot holds plain containers only")
