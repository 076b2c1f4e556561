"""Where device profiles are found: those of this package by name, the user's own by path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_onnxprep.spec.errors import SpecError, closest

if TYPE_CHECKING:
    from pytest_onnxprep.spec.target import Target

_SHIPPED = Path(__file__).parent.parent / "targets"


def shipped_targets() -> list[str]:
    """The names of the profiles this package brings."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def target_names(value: Any) -> tuple[str, ...]:
    """One target or several, each a name or the path of a TOML file.

    Raises:
        SpecError: something else, or the same twice.
    """
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not found or not all(isinstance(one, (str, os.PathLike)) and os.fspath(one) for one in found):
        accepted = f"accepted: {', '.join(shipped_targets())}, the path of a .toml file, or a list of these"
        raise SpecError(f"target must be a device profile, not {value!r}; {accepted}")
    names = tuple(os.fspath(one) for one in found)
    if len({Path(name).stem for name in names}) != len(names):
        raise SpecError(f"target: a list must not repeat itself, not {list(names)}")
    return names


def load_target(name: str, folders: Iterable[Path]) -> Target:
    """Read a profile: one of this package's by name, else a file beside the test, below pytest's root or here.

    Args:
        name: as the user wrote it.
        folders: where a relative path may start.

    Raises:
        SpecError: there is none, or it cannot be read; with what is accepted.
    """
    from pytest_onnxprep.spec.target import read_target  # takes tomllib along: only where a profile is read

    if name in shipped_targets():
        path = _SHIPPED / f"{name}.toml"
        return read_target(path.read_text(encoding="utf-8"), name, f"{name}.toml")
    candidates = list(dict.fromkeys(folder / Path(name).expanduser() for folder in folders))
    for path in candidates:
        if os.path.isfile(path):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SpecError(f"target {name!r} cannot be read: {error}") from None
            return read_target(text, path.stem, _short(path))
    known = ", ".join(shipped_targets())
    if name.endswith(".toml") or os.sep in name:
        looked = " and ".join(str(path) for path in candidates)
        raise SpecError(f"target file {name!r} does not exist (looked for {looked}); names are accepted too: {known}")
    raise SpecError(f"unknown target {name!r}{closest(name, shipped_targets())} Known: {known}; or a .toml file.")


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
