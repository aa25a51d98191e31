"""The node that a command examines: this machine, or a recording of another."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpudoctor.cli import FAILED, options, say
from gpudoctor.cli.refusal import Refusal
from gpudoctor.cli.spinner import working

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.node.surface import Node

GRACE_SECONDS = 2.0
LARGEST_RECORDING_BYTES = 512 * 1024 * 1024


@contextmanager
def patient(
    doing: str,
    *,
    recording: str | None,
    root: str,
    seconds: float,
    sample: str = "",
    quiet: bool = False,
    ascii_only: bool = False,
) -> Iterator[Node]:
    """The node, while a person waits. A live one is left in time whatever hangs."""
    if recording is not None and root != "/":
        raise Refusal("--node and --root exclude each other: a recording is no mounted machine")
    if recording is not None and sample:
        raise Refusal("--node and --sample exclude each other: a recording holds the samples it was made with")
    apart = options.sample(sample, seconds)
    guard = threading.Timer(seconds + GRACE_SECONDS, _leave, (seconds + GRACE_SECONDS,))
    guard.daemon = True
    if recording is None:
        guard.start()
    try:
        node = recorded(recording) if recording is not None else live(root, seconds, apart)
        with working(doing, quiet=quiet, ascii_only=ascii_only):
            yield node
    finally:
        guard.cancel()


def live(root: str, seconds: float, sample_seconds: float = 0.0) -> Node:
    """Starts NVML's worker process; what is imported after this overlaps with it."""
    if not os.path.isdir(root):
        raise Refusal(f"cannot read --root {root}: there is no such directory")
    from gpudoctor.node.live import LiveNode

    return LiveNode(root=root, seconds=seconds, sample_seconds=sample_seconds)


def recorded(path: str) -> Node:
    from gpudoctor.node import archive
    from gpudoctor.node.recorded import RecordedNode

    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            data = file.read(LARGEST_RECORDING_BYTES + 1)
        if len(data) > LARGEST_RECORDING_BYTES:
            raise Refusal(f"{path} is no recording: it is larger than {LARGEST_RECORDING_BYTES >> 20} MiB")
        return RecordedNode(archive.load(data.decode()), "stdin" if path == "-" else os.path.basename(path))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is no recording: it is not text (byte {error.start})") from error
    except archive.MalformedArchive as error:
        raise Refusal(f"{path} {error}") from error


def catalog() -> Catalog:
    from gpudoctor.catalog import Catalog

    try:
        return Catalog.installed()
    except LookupError as error:
        raise Refusal(str(error), FAILED) from error


def _leave(seconds: float) -> None:
    """The last guard of the timeout, should even the scan's own deadlines not hold."""
    say(f"gave up after {seconds:g} s: the scan did not end at its own deadline")
    os._exit(FAILED)
