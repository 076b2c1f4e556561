"""What this machine allows a timing to be: CPU limits, clock speed, load. Standard library only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: What decides the threads of libraries that share the process with ONNX Runtime.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_NUM_THREADS")
_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"


def conditions(root: Path = Path("/")) -> Callable[[], dict[str, Any]]:
    """Begin to watch the circumstances of a measurement.

    Args:
        root: where ``proc`` and ``sys`` are found (tests bring their own).

    Returns:
        To be called at its end; gives ``cpu_mhz`` (slowest CPU at the start and at the end; None where unknown),
        ``governor``, ``quota`` (cores), ``throttled_s`` (seconds the quota stopped this cgroup meanwhile), ``load``
        (one-minute load average), ``cores_usable`` and ``thread_variables``.
    """
    mhz, throttled = cpu_mhz(root), _throttled_s(root)

    def finish() -> dict[str, Any]:
        now = _throttled_s(root)
        both = [value for value in (mhz, cpu_mhz(root)) if value is not None]
        affinity = getattr(os, "sched_getaffinity", None)
        return {
            "cpu_mhz": both or None,
            "governor": governor(root),
            "quota": quota(root),
            "throttled_s": None if now is None or throttled is None else round(max(0.0, now - throttled), 6),
            "load": _load(),
            "cores_usable": len(affinity(0)) if affinity else os.cpu_count() or 1,
            "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        }

    return finish


def cpu_mhz(root: Path = Path("/")) -> float | None:
    """The clock of the slowest usable CPU; None where the system does not say."""
    found: list[float] = []
    for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")):
        with suppress(ValueError):
            found.append(float(_read(path)) / 1e3)
    if not found:
        for line in _read(root / "proc/cpuinfo").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "cpu MHz":
                with suppress(ValueError):
                    found.append(float(value))
    return round(min(found), 1) if found else None


def governor(root: Path = Path("/")) -> str | None:
    """The frequency governor of the first CPU; None where there is none to be seen."""
    return _read(root / _CPUFREQ / "scaling_governor") or None


def quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU limit of this process's cgroup and its parents, in cores; None without one."""
    limits = [limit for folder in _cgroups(root) for limit in _limit(folder)]
    return min(limits) if limits else None


def _cgroups(root: Path) -> Iterator[Path]:
    """The folders of this process's CPU cgroup and of its parents, wherever they may be mounted."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        mount = root / "sys/fs/cgroup"
        if controllers and "cpu" not in controllers.split(","):
            continue
        # cgroup v2 has no controller names here; v1 mounts each controller in a folder of its own.
        mounts = [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]
        folders = [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]
        yield from (base / folder for base in mounts for folder in folders)


def _throttled_s(root: Path) -> float | None:
    """Seconds for which the CPU quota has stopped this process's cgroup or a parent; None where nobody counts."""
    found: list[float] = []
    for folder in _cgroups(root):
        for line in _read(folder / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            unit = {"throttled_usec": 1e6, "throttled_time": 1e9}.get(name)  # cgroup v2, v1
            if unit and value.strip().isdigit():
                found.append(int(value) / unit)
    return max(found) if found else None


def _load() -> float | None:
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        return round(os.getloadavg()[0], 2)
    return None


def _limit(folder: Path) -> list[float]:
    text = _read(folder / "cpu.max")
    if not text:
        text = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    try:
        allowed, period = map(float, text.split())
    except ValueError:  # "max 100000": no limit; or no such file
        return []
    return [round(allowed / period, 3)] if allowed > 0 and period > 0 else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
