"""The command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from gpudoctor.node import archive

SCRIPT = """
import sys, time
from gpudoctor.cli.spinner import working
with working("reading\\x1b[2J the node", quiet={quiet}): time.sleep(1.0)
print("done")
"""


def on_a_terminal(argv: list[str], **environment: str) -> str:
    """What a terminal of 80 columns gets to see of stdout and stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **environment}
    env.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    running = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, close_fds=True)
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says EIO when the last writer is gone
            break
        if not data:
            break
        seen += data
    running.wait(timeout=10)
    os.close(ours)
    return seen.decode()


def test_long_work_shows_a_spinner_and_removes_it() -> None:
    seen = on_a_terminal([sys.executable, "-c", SCRIPT.format(quiet=False)])
    assert "reading\\x1b[2J the node" in seen
    assert seen.endswith("\r\x1b[Kdone\r\n")


def test_quiet_work_shows_none() -> None:
    assert on_a_terminal([sys.executable, "-c", SCRIPT.format(quiet=True)]) == "done\r\n"


def test_colour_on_a_terminal_and_none_with_no_color(tmp_path: Path) -> None:
    path = tmp_path / "a.node"
    header = f"gpudoctor-node {archive.VERSION}\nplatform linux\nuid 0\ntime 0.0\nredacted no\n"
    path.write_text(f"{header}== file /proc/sys/kernel/hostname\ngpu-a17\n")
    command = [sys.executable, "-m", "gpudoctor", "scan", "--node", str(path)]
    assert "\x1b[1mgpudoctor" in on_a_terminal(command)
    assert "\x1b[1m" not in on_a_terminal(command, NO_COLOR="1")
    assert "\x1b[1m" not in on_a_terminal([*command, "--no-color"])


def test_a_pager_gets_lines_as_wide_as_the_terminal() -> None:
    node = Path(__file__).parent / "nodes" / "h200x4-faults.node"
    command = [sys.executable, "-m", "gpudoctor", "scan", "--node", str(node)]
    seen = on_a_terminal(["sh", "-c", f"{shlex.join(command)} | cat"], COLUMNS="")
    assert max(map(len, seen.split("\r\n"))) == 79
