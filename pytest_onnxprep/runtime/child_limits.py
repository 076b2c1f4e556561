"""What a child process may use: a cap on memory, and its priority."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pytest_onnxprep.errors import OnnxPrepError

_HOW = {
    "resident": "resident memory, watched",
    "data": "RLIMIT_DATA: private memory it may reserve",
    "address_space": "RLIMIT_AS: address space it may reserve",
    "cgroup": "cgroup: resident memory",
}


@dataclass(frozen=True)
class Limits:
    """Limits of a child process.

    What counts as memory differs. A device that overcommits, as Linux does unless told otherwise, runs out of what is
    touched: ``resident`` watches the peak from outside and ends the child that goes over, ``cgroup`` lets the kernel do
    it. ``data`` and ``address_space`` make the allocation itself fail, as on a device that does not overcommit; they
    count what is reserved, and ONNX Runtime's arena reserves up to twice of what it uses (measured: a model whose peak
    is 397 MB dies under 600 MB of either). To come close to a device they start from what is resident when ONNX Runtime
    is imported: the model may reserve what would be left. ``data`` leaves files mapped for reading (the libraries,
    external weights) out of account, ``address_space`` does not.

    Args:
        memory_bytes: memory of the whole process; None is no cap.
        enforce: ``resident``, ``data``, ``address_space`` or ``cgroup``.
        cgroup: for ``cgroup`` the folder, delegated to the user (v2 with the memory controller enabled for groups
            below it, or v1 memory), below which the child gets a group of its own.
        nice: added to the child's niceness, 0..19.
    """

    memory_bytes: int | None = None
    enforce: str = "resident"
    cgroup: Path | None = None
    nice: int = 0

    def __post_init__(self) -> None:
        """Refuse what no kernel would take.

        Raises:
            OnnxPrepError: with what is accepted.
        """
        if self.memory_bytes is not None and (not isinstance(self.memory_bytes, int) or self.memory_bytes < 1):
            raise OnnxPrepError(f"memory_bytes must be a positive whole number or None, not {self.memory_bytes!r}")
        if self.enforce not in _HOW:
            raise OnnxPrepError(f"enforce must be one of {', '.join(_HOW)}, not {self.enforce!r}")
        if self.enforce == "cgroup" and self.cgroup is None:
            raise OnnxPrepError("enforce='cgroup' needs cgroup=, the folder of a cgroup that was delegated to you")
        if not 0 <= self.nice <= 19:
            raise OnnxPrepError(f"nice must lie in 0..19, not {self.nice!r}")

    @property
    def how(self) -> str:
        """What the cap counts, in words."""
        return _HOW[self.enforce]


class CgroupCap:
    """A cgroup for one child, there as long as the context; without a cgroup limit it does nothing."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.group: Path | None = None

    def __enter__(self) -> Self:
        """Make the group.

        Raises:
            OnnxPrepError: the folder is not a memory cgroup that may be written to.
        """
        parent = self.limits.cgroup
        if self.limits.enforce != "cgroup" or self.limits.memory_bytes is None or parent is None:
            return self
        try:
            self.group = Path(tempfile.mkdtemp(prefix="onnxprep-", dir=parent))
            knob = self.group / ("memory.max" if self._is_v2 else "memory.limit_in_bytes")
            if not knob.exists():
                raise OSError(f"{knob.name} is missing: the memory controller is not enabled for groups below it")
            knob.write_text(str(self.limits.memory_bytes), encoding="ascii")
            swap = self.group / "memory.swap.max"
            if swap.exists():  # a device without swap kills; here the cap would only make it slow
                swap.write_text("0", encoding="ascii")
        except OSError as error:
            self._remove()
            raise OnnxPrepError(f"no cgroup can be made below {parent}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the group; the child has ended by now."""
        self._remove()

    @property
    def procs(self) -> str:
        """The file a process joins the group by; empty without a group."""
        return str(self.group / "cgroup.procs") if self.group else ""

    def killed(self) -> bool:
        """Whether the kernel killed a process of the group for want of memory."""
        if self.group is None:
            return False
        events = self.group / ("memory.events" if self._is_v2 else "memory.oom_control")
        try:
            counts = dict(line.split() for line in events.read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):
            return False
        return int(counts.get("oom_kill", 0)) > 0

    @property
    def _is_v2(self) -> bool:
        return self.limits.cgroup is not None and (self.limits.cgroup / "cgroup.controllers").exists()

    def _remove(self) -> None:
        if self.group is not None and self.group.exists():
            os.rmdir(self.group)  # the files of a cgroup are no files: the folder goes with them
        self.group = None
