"""The built wheel, installed elsewhere, runs: what a user gets is what we test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"gpudoctor", "gpudoctor_checks"}
    assert "gpudoctor/py.typed" in names
    assert "gpudoctor_checks/py.typed" in names
    assert any(name.startswith("gpudoctor_checks/tables/") for name in names)
    assert {"page.html", "page.css", "page.js"} <= {Path(name).name for name in names if "/memory/page/" in name}


def test_the_installed_wheel_scans_a_recorded_node(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    site = next((place / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    here = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{here}\n")
    node = ROOT / "tests" / "nodes" / "h200x1.node"
    entry = "import sys; from gpudoctor.cli import main; sys.argv[0] = 'gpudoctor'; sys.exit(main())"
    command = [str(place / "bin" / "python"), "-c", entry, "scan", "--node", str(node), "--format", "json"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"] == 0
    assert {layer["layer"] for layer in report["layers"]} >= {"kernel", "driver"}
    located = [str(place / "bin" / "python"), "-c", "import gpudoctor; print(gpudoctor.__file__)"]
    assert str(place) in subprocess.run(located, capture_output=True, text=True, cwd=tmp_path, env=clean).stdout
