"""What a worker is kept from: NVML would otherwise load the module and make the device nodes that are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from gpudoctor.node.passive import confine
folder = sys.argv[1]
held = open(folder + "/held", "rb")
print(confine())
for name, attempt in {
    "read": lambda: open(folder + "/held").read(),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "mkdir": lambda: os.mkdir(folder + "/made"),
    "mknod": lambda: os.mknod(folder + "/node"),
    "chmod": lambda: os.chmod(folder + "/held", 0o777),
    "unlink": lambda: os.unlink(folder + "/held"),
    "rename": lambda: os.rename(folder + "/held", folder + "/other"),
}.items():
    try:
        attempt()
        print(name, "done")
    except PermissionError:
        print(name, "refused")
"""


def test_a_confined_process_reads_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("content")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")
    if lines[0] != "True":
        pytest.skip("this kernel or processor has no filter for us")
    refused = ["exec", "mkdir", "mknod", "chmod", "unlink", "rename"]
    assert lines[1:-1] == ["read done", *(f"{name} refused" for name in refused)]
    assert [p.name for p in tmp_path.iterdir()] == ["held"]
