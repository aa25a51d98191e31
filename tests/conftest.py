"""The fake NVML, built once for all tests that need one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "fake_nvml" / "nvml.c"
FakeNvml = Callable[..., None]


@pytest.fixture(scope="session")
def built_nvml(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a libnvidia-ml.so.1, by the driver's age."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here to build the fake NVML with")
    built: dict[str, Path] = {}

    def build(age: str) -> Path:
        if age not in built:
            folder = tmp_path_factory.mktemp(f"nvml-{age}")
            options = ["-DOLD"] if age == "old" else []
            target = str(folder / "libnvidia-ml.so.1")
            subprocess.run(
                [compiler, "-shared", "-fPIC", "-O1", "-pthread", *options, "-o", target, str(SOURCE)], check=True
            )
            built[age] = folder
        return built[age]

    return build


@pytest.fixture
def fake_nvml(built_nvml: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Calling it makes every worker that starts from then on find this NVML: `fake_nvml("gpus 8", age="old")`."""

    def put(*lines: str, age: str = "new") -> None:
        script = tmp_path / "fake_nvml.txt"
        script.write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setenv("FAKE_NVML", str(script))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(built_nvml(age)))

    return put
