"""The command as a person or a script meets it: one sentence, the right exit code, no half files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor import __version__
from gpudoctor.cli import options, run
from gpudoctor.cli.output import deliver
from gpudoctor.cli.refusal import Refusal
from gpudoctor.node import archive

HEADER = f"gpudoctor-node {archive.VERSION}\nplatform linux\nuid 0\ntime 1763695300.0\nredacted no\n"
COMMAND = [sys.executable, "-m", "gpudoctor"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.node"
    path.write_text(f"{HEADER}== file /proc/sys/kernel/hostname\ngpu-a17\n")
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one sentence on stderr; nothing on stdout."""
    assert run(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"gpudoctor: [^\n]+\n", said.err)
    return said.err.removeprefix("gpudoctor: ").rstrip()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["scan", "--layer", "kernal"], "unknown layer 'kernal'; did you mean kernel"),
        (["scan", "--layer", "?"], "unknown layer '?'; known are kernel, driver, "),
        (["scan", "--require", "drivers"], "unknown layer 'drivers'; did you mean driver"),
        (["scan", "--format", "jsno"], "unknown format 'jsno'; did you mean json"),
        (["scan", "--fail-on", "warnings"], "unknown level 'warnings'; did you mean warning"),
        (["scan", "--timeout", "soon"], "--timeout 'soon' is no duration; write 90s, 15m, 2h or 3d"),
        (["scan", "--timeout", "0"], "--timeout '0' is no duration"),
        (["scan", "--since", "yesterday"], "--since 'yesterday' is no duration; write 90s, 15m, 2h or 3d, or boot"),
        (["scan", "--since", "1" * 400], "is no duration"),
        (["scan", "--bogus"], "No such option: --bogus"),
        (["scan", "--layer"], "Option '--layer' requires an argument; see: gpudoctor"),
        (["scan", "more"], "unexpected extra argument"),
        (["scna"], "No such command 'scna'"),
        (["record"], "Missing argument 'OUT.node'; see: gpudoctor record --help"),
        (["explain"], "Missing argument 'CODE"),
        (["explain", "DRIVER_LIBRARY_MISMATH"], "nothing is known of 'DRIVER_LIBRARY_MISMATH'"),
        (["checks", "--format", "markdown"], "unknown format 'markdown'; known are terminal or json"),
        (["scan", "--root", "/nowhere/at/all"], "cannot read --root /nowhere/at/all: there is no such directory"),
        (["scan", "--node", "x", "--root", "/tmp"], "--node and --root exclude each other"),
        (["scan", "--node", "/nowhere.node"], "cannot read /nowhere.node: No such file or directory"),
        (["scan", "--node", "/"], "cannot read /: Is a directory"),
        (["scan", "-o", "/nowhere/report"], "cannot write /nowhere/report: there is no directory /nowhere"),
        (["scan", "-o", "/"], "cannot write /: it is a directory"),
        (["scan", "-o", ""], "the name of the file to write is empty"),
        (["scan", "--layer", ""], "--layer names nothing"),
        (["scan", "--check", " ,"], "--check names nothing"),
        (["record", "/nowhere/out.node"], "cannot write /nowhere/out.node: there is no directory /nowhere"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no recording"),
        (b"\x7fELF\x00\xff", "is no recording: it is not text"),
        (b"dmesg output\n", "is no recording: its first line is not"),
        (b"gpudoctor-node 999\n", "is a recording of version 999"),
        (b"gpudoctor-node 1\nplatform linux\n", "has a broken header"),
        (HEADER.encode() + b"== nvml f()\n{broken\n", "has a section it cannot hold at line 6"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "bad.node"
    path.write_bytes(content)
    assert sentence in refused(capsys, "scan", "--node", str(path))


@given(st.binary())
def test_no_recording_crashes_the_command(content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"gpudoctor-test-{os.getpid()}.node"
    try:
        path.write_bytes(content)
        assert run(["scan", "--node", str(path), "--quiet"]) == 2
    finally:
        path.unlink()


@given(st.text())
def test_no_text_crashes_an_option(text: str) -> None:
    for option in ("--since", "--timeout", "--fail-on", "--layer", "--format", "--skip", "--gpu"):
        assert run(["scan", "--node", "/nowhere.node", f"{option}={text}"]) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("15 min", 900), ("2h", 7200), ("3d", 259200), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration("--timeout", text) == seconds


def test_since_boot_is_everything() -> None:
    assert options.since("boot") is None


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"gpudoctor {__version__}\n"
    assert run(["--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("gpudoctor says why")
    assert "Exit codes" in page
    assert max(map(len, page.split("\n"))) <= 105
    assert run([]) == 2
    assert capsys.readouterr().out == page


@pytest.mark.parametrize("command", ["scan", "topo", "memory", "record", "facts", "explain", "checks"])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run([command, "--help"]) == 0
    assert f"gpudoctor {command} " in capsys.readouterr().out


def test_json_to_a_file_and_nothing_to_stdout(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    target = tmp_path / "report.json"
    code = run(["scan", "--node", str(recording), "--format", "json", "-o", str(target)])
    report = json.loads(target.read_text())
    assert capsys.readouterr().out == ""
    assert (report["exit_code"], report["host"], report["source"]["name"]) == (code, "gpu-a17", "a.node")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.node", "report.json"]


def test_a_required_layer_that_nothing_examines_is_named(capsys: pytest.CaptureFixture[str], recording: Path) -> None:
    assert run(["scan", "--node", str(recording), "--layer", "runtime", "--require", "runtime,serving"]) == 3
    said = capsys.readouterr()
    assert said.err == "gpudoctor: --require runtime,serving: no check could examine it\n"
    assert "No check of this version examines a node for the layers" in said.out


def test_facts_name_what_is_unread_and_why(capsys: pytest.CaptureFixture[str], recording: Path) -> None:
    assert run(["facts", "--node", str(recording), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["Machine"]["hostname"] == "gpu-a17"
    assert facts["Machine"]["kernel_release"]["unread"] == "not recorded"
    assert run(["facts", "--node", str(recording)]) == 0
    page = capsys.readouterr().out
    assert re.search(r"hostname +gpu-a17", page)
    assert re.search(r"kernel_release +\? /proc/sys/kernel/osrelease: is not in the recording", page)


def test_a_file_is_replaced_whole_or_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.write_text("old")
    target.chmod(0o640)
    deliver("new", str(target))
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    link = tmp_path / "link"
    link.symlink_to(target)
    deliver("newer", str(link))
    assert link.is_symlink()
    assert target.read_text() == "newer"
    deliver("nothing", "/dev/null")
    with pytest.raises(Refusal, match="No space left"):
        deliver("x", "/dev/full")


def test_a_defect_is_one_sentence_and_exit_4(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("a defect\x1b[31m")

    monkeypatch.setattr("gpudoctor.cli.app.command", broken)
    monkeypatch.delenv("GPUDOCTOR_DEBUG", raising=False)
    sentence = refused(capsys, "scan", code=4)
    assert sentence == "failed itself: RuntimeError: a defect\\x1b[31m (GPUDOCTOR_DEBUG=1 shows where)"
    monkeypatch.setenv("GPUDOCTOR_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run(["scan"])


def test_a_reader_who_leaves_is_no_failure(recording: Path) -> None:
    pipe = f"{' '.join(COMMAND)} scan --node {recording} -vv; echo $? >&2"
    done = subprocess.run(["bash", "-c", f"({pipe}) | true"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr in ("0\n", "1\n")


def test_a_full_disk_is_one_sentence(recording: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "checks"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (4, "gpudoctor: cannot write to stdout: No space left on device\n")


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    fifo = tmp_path / "slow.node"
    os.mkfifo(fifo)
    target = tmp_path / "report.json"
    running = subprocess.Popen(
        [*COMMAND, "scan", "--node", str(fifo), "-o", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.0)  # it waits for the recording
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (130, "", "gpudoctor: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["slow.node"]


def test_a_latin_terminal_gets_an_ascii_page(recording: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "scan", "--node", str(recording)],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode in (0, 1)
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("gpudoctor scan --layer ke", ["kernel"]),
        ("gpudoctor to", ["topo"]),
        ("gpudoctor me", ["memory"]),
        ("gpudoctor explain ACS_", ["ACS_BLOCKS_P2P"]),
        ("gpudoctor facts --sam", ["--sample"]),
    ],
)
def test_a_shell_completes(words: str, completed: list[str]) -> None:
    asked = {"_GPUDOCTOR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **asked})
    assert done.stdout.split() == completed


def test_start_imports_nothing_heavy() -> None:
    """--help stays near the time of importing typer alone."""
    heavy = ("rich", "msgspec", "yaml", "pynvml", "gpudoctor.facts", "gpudoctor.catalog")
    script = f"import sys, gpudoctor.cli as c; c.run(['--help']); print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip().split("\n")[-1] == "[]"


def test_the_timeout_is_kept_whatever_hangs() -> None:
    """A thread that no deadline reaches, and a node whose work never ends."""
    script = (
        "import threading, time; from gpudoctor.cli.patient import patient\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "with patient('x', recording=None, root='/', seconds=0.2): time.sleep(60)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "gpudoctor: gave up after 2.2 s: the scan did not end at its own deadline\n"
    assert time.monotonic() - began < 10


def test_nothing_holds_the_process_at_its_end() -> None:
    script = (
        "import threading, time, sys; from gpudoctor import cli\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "sys.argv = ['gpudoctor', '--version']; cli.main()"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"gpudoctor {__version__}\n")
    assert time.monotonic() - began < 10


def test_a_scan_of_this_machine_ends_in_time(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    arguments = ["scan", "--timeout", "5", "--format", "json", "-o", str(target)]
    began = time.monotonic()
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert time.monotonic() - began < 10
    report = json.loads(target.read_text())
    assert (done.returncode, done.stdout, done.stderr) == (report["exit_code"], "", "")
    assert report["source"] == {"kind": "live", "name": "live"}
