"""The description of where figures come from."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_onnxprep.report.environment import PACKAGES, cpu, environment, header_line

X86 = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz
flags\t\t: fpu avx2 fma avx512f avx512_vnni amx_int8

processor\t: 1
model name\t: another
"""

PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd crc32 asimddp

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd crc32 asimddp

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def put(root: Path, files: dict[str, str]) -> Path:
    """Write a small /proc and /sys."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_it_is_json() -> None:
    """The description survives JSON and has all its parts."""
    env = environment()

    assert json.loads(json.dumps(env)) == env
    assert env["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(env) == {"python", "platform", "packages", "cpu"}
    assert set(env["cpu"]) == {"model", "cores_logical", "cores_usable", "quota", "governor", "flags"}
    assert 1 <= env["cpu"]["cores_usable"] <= env["cpu"]["cores_logical"]


def test_versions_are_the_installed_ones() -> None:
    """The versions found without a full parse are those importlib.metadata gives, and absent packages are absent."""
    packages = environment()["packages"]

    for name in PACKAGES:
        try:
            expected = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert packages[name] == expected
    assert packages["pytest"] == pytest.__version__


def test_another_distribution_of_the_same_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``onnxruntime-gpu`` is found as ``onnxruntime``."""
    put(tmp_path, {"onnxruntime_gpu-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nVersion: 9.9\n\nVersion: 1\n"})
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert environment()["packages"] == {"onnxruntime": "9.9"}


def test_nothing_it_names_is_imported() -> None:
    """Describing the environment imports neither a framework nor numpy nor pytest."""
    code = (
        "import sys; from pytest_onnxprep.report.environment import *; header_line(environment()); "
        "print(sorted({n.partition('.')[0] for n in sys.modules} & "
        "{'torch','tensorflow','keras','jax','transformers','onnx','onnxruntime','numpy','hypothesis','pytest'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_it_is_quick(count_calls: Callable[[Callable[[], object]], int]) -> None:
    """One call costs a few milliseconds at most, as every pytest run makes one: some thousand calls of functions."""
    header_line(environment())

    assert count_calls(lambda: header_line(environment())) < 20_000


def test_x86_cpu(tmp_path: Path) -> None:
    """The first CPU's model and the flags that matter are read."""
    found = cpu(put(tmp_path, {"proc/cpuinfo": X86}))

    assert found["model"] == "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"
    assert found["flags"] == ["avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"]


def test_arm_board(tmp_path: Path) -> None:
    """An Arm board has no model name: the board's, behind the last core, is taken."""
    found = cpu(put(tmp_path, {"proc/cpuinfo": PI}))

    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["flags"] == ["asimd", "asimddp"]


def test_nothing_to_read(tmp_path: Path) -> None:
    """Without /proc and /sys the description is merely poorer."""
    found = cpu(tmp_path)

    assert found["model"]
    assert (found["quota"], found["governor"], found["flags"]) == (None, None, [])


def test_governor(tmp_path: Path) -> None:
    """The frequency governor is named where there is one."""
    path = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"

    assert cpu(put(tmp_path, {path: "powersave\n"}))["governor"] == "powersave"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/job\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "1:cpu:/gone", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
        ({"proc/self/cgroup": "nonsense\n\n::"}, None),
    ],
)
def test_quota(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    """The tightest CPU limit of the cgroup and its parents counts, in version 2 and version 1."""
    assert cpu(put(tmp_path, files))["quota"] == quota


def test_header_line() -> None:
    """The header is one line with what decides the results."""
    env = {
        "packages": {"pytest-onnxprep": "0.1.0", "onnxruntime": "1.32.0", "torch": "2.13.0+cpu", "numpy": "2.4"},
        "cpu": {"model": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores_usable": 2, "quota": 1.5},
    }

    assert header_line(env) == "onnxprep: 0.1.0, onnxruntime 1.32.0, torch 2.13.0; Intel Xeon x2 (quota 1.5 cores)"


def test_header_line_of_nothing() -> None:
    """A header can be made of an empty description too."""
    assert header_line({}) == "onnxprep: unknown machine x?"
