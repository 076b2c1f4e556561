"""The export cache: one folder per key, shared by every worker and every run on this machine.

Layout below the root::

    <key[:2]>/<key>/model.onnx, ..., provenance.json, last-used
    locks/<key>.lock      empty; held while an entry is looked up, made or pruned; released by the kernel after a kill
    tmp/<key>.<unique>/   exports being made; moved to their place in one step when complete

Whoever is killed leaves at most a folder in ``tmp``, which is removed when it is a day old.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts import entry_files
from pytest_onnxprep.artifacts.failures import FailureRecords
from pytest_onnxprep.errors import CacheError, Finding

Make = Callable[[Path], Mapping[str, Any]]

_NEXT_STEP = (
    "Next step: point --onnxprep-cache DIR at a writable folder, or switch the cache off with --onnxprep-no-cache."
)
_KEY = re.compile(r"[0-9a-f]{8,128}")
_DAY_S = 86_400.0
#: What an exporter meets when the disk under the cache is at fault, not the export.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_OWN_FILES = {
    ".gitignore": "# Created by pytest-onnxprep automatically.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by pytest-onnxprep.\n"
    "# For information about cache directory tags, see https://bford.info/cachedir/spec.html\n",
}
#: Entries whose digests this process has checked, with the identity their files had then.
_verified: dict[str, object] = {}


@dataclass(frozen=True)
class Entry:
    """One export in the store.

    Args:
        path: the ``model.onnx``; external data lies beside it. Read-only.
        provenance: what ``make`` returned, after a round trip through JSON.
        cached: True when it was found, not made, by this call.
    """

    path: Path
    provenance: dict[str, Any]
    cached: bool


class Store:
    """A content-addressed cache of exports; any number of processes may use one root at the same time.

    Args:
        root: where entries live; made when absent.
        run_dir: shared by all workers of this run and thrown away after it; holds the failed exports.
        lock_minutes: how long to wait for another process that makes the same entry.
    """

    def __init__(self, root: Path, *, run_dir: Path, lock_minutes: float = 30.0) -> None:
        self.root = Path(root).absolute()
        self.failures = FailureRecords(Path(run_dir).absolute() / "failures")
        self.lock_minutes = lock_minutes
        self._prepared = False

    def get_or_make(self, key: str, make: Make, *, accepts: Callable[[dict[str, Any]], bool] = lambda _: True) -> Entry:
        """Return the entry for ``key``, made by ``make(folder)`` unless it is there and intact.

        ``make`` writes ``model.onnx`` (and external data beside it) into the empty folder it is given and returns
        JSON-able provenance. Of all processes asking for a key at the same time, one makes it and the others wait.

        Args:
            key: a lower-case hex digest.
            make: see above.
            accepts: whether provenance that was found is such as ``make`` returns; else the entry counts as damaged.

        Raises:
            CacheError: the store cannot be read or written, or the lock could not be had in time.
            ExporterError: ``make`` wrote no ``model.onnx``, or provenance that is not JSON-able.
            Finding: ``make`` raised it, here or for another worker of this run.
            ValueError: ``key`` is no lower-case hex digest.
        """
        target = self._entry_folder(key)
        self._prepare()
        with self._locked(key):
            with self._disk(f"read the entry {target}"):
                provenance = self._look_up(key, target, accepts)
            if provenance is not None:
                return Entry(target / entry_files.MODEL, provenance, cached=True)
            failed = self.failures.load(key)
            if failed is not None:
                raise failed
            try:
                return self._make(key, target, make)
            except Finding as finding:
                self.failures.save(key, finding)
                raise

    def prune(self, max_bytes: int, *, spare_s: float = 3600.0) -> int:
        """Remove least recently used entries until the rest takes at most ``max_bytes``.

        Args:
            max_bytes: what may stay.
            spare_s: entries used within these seconds stay in any case, because a run that got their path may still
                be reading them. So does an entry whose lock is held.

        Returns:
            Bytes freed.

        Raises:
            CacheError: the store cannot be read or written.
        """
        self._prepare()
        with self._disk("list the cache"):
            folders = [folder for folder in self.root.glob("[0-9a-f][0-9a-f]/*") if _KEY.fullmatch(folder.name)]
            entries = sorted((_last_used(folder), folder) for folder in folders)
        sizes = {folder: entry_files.disk_size(folder) for _, folder in entries}
        excess = sum(sizes.values()) - max_bytes
        freed = 0
        for _, folder in entries:
            if freed >= excess:
                break
            if self._remove_unused(folder, spare_s):
                freed += sizes[folder]
        return freed

    def _entry_folder(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"a cache key is a lower-case hex digest, not {key!r}")
        return self.root / key[:2] / key

    def _prepare(self) -> None:
        """Make the root and its own files once; remove what killed processes left in ``tmp`` a day ago."""
        if self._prepared:
            return
        with self._disk("make the cache"):
            self.root.mkdir(parents=True, exist_ok=True)
            # Never into a folder that holds anything else: `.gitignore` would hide the user's own files.
            if {path.name for path in self.root.iterdir()} <= {*_OWN_FILES, "tmp", "locks"}:
                for name, text in _OWN_FILES.items():
                    with contextlib.suppress(FileExistsError), (self.root / name).open("x", encoding="utf-8") as file:
                        file.write(text)
            for name in ("tmp", "locks"):
                (self.root / name).mkdir(exist_ok=True)
            for path in (self.root / "tmp").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - _DAY_S:
                        shutil.rmtree(path, ignore_errors=True)
        self._prepared = True

    def _look_up(self, key: str, target: Path, accepts: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The provenance of an intact entry; anything else at its place is removed."""
        if not os.path.lexists(target):  # a link that leads nowhere is in the way, too
            return None
        record = None if target.is_symlink() else entry_files.read_record(target, key)
        if record is not None and not accepts(record["provenance"]):
            record = None
        stamp = None if record is None else entry_files.stamp(target, record)
        if record is not None and stamp is not None:
            known = _verified.get(str(target)) == stamp
            if known or entry_files.is_intact(target, record):
                _verified[str(target)] = stamp
                _touch(target)
                provenance: dict[str, Any] = record["provenance"]
                return provenance
        entry_files.discard(target, self._temporary(key))
        return None

    def _make(self, key: str, target: Path, make: Make) -> Entry:
        temporary = self._temporary(key)
        try:
            with self._disk(f"make the folder {temporary}"):
                temporary.mkdir()
            provenance = self._run(make, temporary)
            with self._disk(f"write the entry {target}"):
                sealed = entry_files.seal(temporary, key, provenance)
                entry_files.publish(temporary, target)
                _touch(target)
                record = entry_files.read_record(target, key)
                _verified[str(target)] = None if record is None else entry_files.stamp(target, record)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Entry(target / entry_files.MODEL, sealed, cached=False)

    def _run(self, make: Make, folder: Path) -> Mapping[str, Any]:
        """Call ``make``; a full or read-only disk under the cache is the cache's error, all others are the export's."""
        try:
            return make(folder)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:  # exporters wrap what they meet, and a full disk must not fail the model
                if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
                    raise self._error(f"write an export to {folder}", cause) from error
                cause = cause.__cause__ or cause.__context__
            raise

    def _temporary(self, key: str) -> Path:
        return self.root / "tmp" / f"{key[:16]}.{uuid.uuid4().hex}"

    @contextlib.contextmanager
    def _locked(self, key: str, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock of one key.

        Raises:
            CacheError: it cannot be had in time or at all.
        """
        from filelock import FileLock, Timeout  # 50 ms to import: only runs that export pay for it

        path = self.root / "locks" / f"{key}.lock"
        lock = FileLock(path)
        try:
            lock.acquire(timeout=self.lock_minutes * 60 if timeout_s is None else timeout_s)
        except Timeout as error:
            raise CacheError(
                f"the export cache entry {key} is being made by another process: its lock {path} could not be taken "
                f"in {self.lock_minutes:g} minutes. Next step: end that process (the lock goes with it), or use a "
                "cache of your own with --onnxprep-cache DIR or --onnxprep-no-cache."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: this thread holds it already, or no flock here
            raise self._error(f"lock {path}", error) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.release()

    def _remove_unused(self, folder: Path, spare_s: float) -> bool:
        from filelock import Timeout

        try:
            with self._locked(folder.name, timeout_s=0), self._disk(f"remove the entry {folder}"):
                if not folder.exists() or _last_used(folder) > time.time() - spare_s:
                    return False
                entry_files.discard(folder, self._temporary(folder.name))
                _verified.pop(str(folder), None)
                return True
        except CacheError as error:
            if isinstance(error.__cause__, Timeout):
                return False
            raise

    @contextlib.contextmanager
    def _disk(self, doing: str) -> Iterator[None]:
        """Turn an `OSError` of the block into a `CacheError`."""
        try:
            yield
        except OSError as error:
            raise self._error(doing, error) from error

    def _error(self, doing: str, error: Exception) -> CacheError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        return CacheError(f"export cache {self.root}: cannot {doing}: {reason}. {_NEXT_STEP}")


def _last_used(folder: Path) -> float:
    for path in (folder / "last-used", folder):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def _touch(folder: Path) -> None:
    """Record a use; access times are off on most disks."""
    (folder / "last-used").touch()
