"""Where a command's text goes: whole, or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from gpudoctor.cli.refusal import Refusal

UNPRINTED = 4


def require_writable(target: str | None) -> None:
    """Raises Refusal before the work is done for nothing."""
    if target in (None, "-"):
        return
    if not target:
        raise Refusal("the name of the file to write is empty")
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise Refusal(f"cannot write {target}: it is a directory")
    if not path.parent.is_dir():
        raise Refusal(f"cannot write {target}: there is no directory {path.parent}")
    place = path if _is_special(path) else path.parent
    if not os.access(place, os.W_OK):
        raise Refusal(f"cannot write {target}: no permission for {place}")


def deliver(text: str, target: str | None) -> None:
    """To stdout, or to a file that appears only when it is whole. Raises Refusal."""
    if target in (None, "-"):
        _print(text)
        return
    path = Path(os.path.realpath(str(target)))
    try:
        if _is_special(path):
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path, text)
    except OSError as error:
        raise Refusal(f"cannot write {target}: {error.strerror or error}") from error


def _print(text: str) -> None:
    """A reader who has left (`| head`) is no failure."""
    if sys.stdout is None:
        raise Refusal("stdout is closed", UNPRINTED)
    try:
        sys.stdout.write(_encodable(text, sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
    except OSError as error:
        _give_up_stdout()
        raise Refusal(f"cannot write to stdout: {error.strerror or error}", UNPRINTED) from error


def _encodable(text: str, encoding: str | None) -> str:
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _give_up_stdout() -> None:
    """What is still buffered must not fail again when the process leaves."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _is_special(path: Path) -> bool:
    """/dev/null, a pipe: written in place."""
    return path.exists() and not path.is_file()
