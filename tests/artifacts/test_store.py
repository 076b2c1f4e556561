"""The export cache: one maker per key, nothing half done, nothing damaged handed out."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_onnxprep.artifacts import entry_files
from pytest_onnxprep.artifacts import store as store_module
from pytest_onnxprep.artifacts.store import Store
from pytest_onnxprep.errors import CacheError, ContractViolation, ExporterError, ExportFailed, Finding
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


@pytest.fixture
def store(tmp_path):
    """A store with nothing in it."""
    return Store(tmp_path / "cache", run_dir=tmp_path / "run")


@pytest.fixture(autouse=True)
def forget_verified():
    """Start every test like a fresh process."""
    store_module._verified.clear()


def write_model(folder: Path, data: bytes = b"model") -> dict[str, object]:
    """What an exporter does."""
    (folder / "model.onnx").write_bytes(data)
    (folder / "model.onnx.data").write_bytes(b"weights" * 100)
    return {"exporter": "dynamo", "opset": 20}


class Maker:
    """A `make` that counts its calls."""

    def __init__(self, data: bytes = b"model") -> None:
        self.calls = 0
        self.data = data

    def __call__(self, folder: Path) -> dict[str, object]:
        self.calls += 1
        return write_model(folder, self.data)


def leftovers(store: Store) -> list[Path]:
    """Everything in the store but its own files and the empty locks."""
    own = {store.root / name for name in (".gitignore", "CACHEDIR.TAG")}
    return [
        path
        for path in store.root.rglob("*")
        if path.is_file() and path not in own and path.parent != store.root / "locks"
    ]


def test_second_call_finds_what_the_first_made(store):
    """An entry is made once and then found, with equal path and provenance."""
    make = Maker()

    first = store.get_or_make(KEY, make)
    second = store.get_or_make(KEY, make)

    assert make.calls == 1
    assert (first.cached, second.cached) == (False, True)
    assert first.path == second.path == store.root / KEY[:2] / KEY / "model.onnx"
    assert first.provenance == second.provenance == {"exporter": "dynamo", "opset": 20}
    assert first.path.read_bytes() == b"model"
    assert (first.path.parent / "model.onnx.data").read_bytes() == b"weights" * 100


def test_published_files_are_read_only_and_nothing_temporary_stays(store):
    """Published files have mode 0444 and the temporary folder is gone."""
    entry = store.get_or_make(KEY, Maker())

    modes = {path.name: path.stat().st_mode & 0o777 for path in entry.path.parent.iterdir()}

    assert modes.pop("last-used") & 0o200
    assert set(modes) == {"model.onnx", "model.onnx.data", "provenance.json"}
    assert set(modes.values()) == {0o444}
    assert list((store.root / "tmp").iterdir()) == []


def test_linked_files_become_copies(store, tmp_path):
    """A file that `make` only linked is copied, so that the user's own file keeps its mode."""
    weights = tmp_path / "mine.onnx"
    weights.write_bytes(b"mine")
    hard = tmp_path / "mine.data"
    hard.write_bytes(b"data")

    def make(folder):
        (folder / "model.onnx").symlink_to(weights)
        (folder / "model.onnx.data").hardlink_to(hard)
        return {}

    entry = store.get_or_make(KEY, make)

    assert not entry.path.is_symlink()
    assert entry.path.read_bytes() == b"mine"
    assert weights.stat().st_mode & 0o200
    assert hard.stat().st_mode & 0o200
    assert hard.stat().st_nlink == 1


def test_root_is_marked_as_a_cache(store):
    """A new root tells git and backup tools to leave it alone."""
    store.get_or_make(KEY, Maker())

    assert "*" in (store.root / ".gitignore").read_text().splitlines()
    assert (store.root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_a_folder_with_other_files_gets_no_gitignore(store):
    """A `.gitignore` with `*` never hides what a user keeps in the folder."""
    store.root.mkdir()
    (store.root / "mine.py").write_text("")

    store.get_or_make(KEY, Maker())

    assert not (store.root / ".gitignore").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "provenance.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_entry_is_made_again(store, name, damage):
    """A flipped bit, a short file or a missing one is noticed in a fresh process and the entry is made again."""
    make = Maker()
    path = store.get_or_make(KEY, make).path.parent / name
    store_module._verified.clear()
    data = bytearray(path.read_bytes())
    status = path.stat()
    path.unlink()
    if damage != "remove":
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "flip" else data[:-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    entry = store.get_or_make(KEY, make)

    assert make.calls == 2
    assert entry.cached is False
    assert entry.path.read_bytes() == b"model"
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("debris", ["file", "empty folder", "model only", "record of another key"])
def test_half_entry_is_made_again(store, debris):
    """Whatever lies at an entry's place without a record of its own is replaced."""
    store.get_or_make(OTHER, Maker())
    place = store.root / KEY[:2] / KEY
    place.parent.mkdir(parents=True, exist_ok=True)
    if debris == "file":
        place.write_text("")
    elif debris == "record of another key":
        (store.root / OTHER[:2] / OTHER).rename(place)
    else:
        place.mkdir()
        if debris == "model only":
            (place / "model.onnx").write_bytes(b"half")

    entry = store.get_or_make(KEY, Maker())

    assert entry.cached is False
    assert entry.path.read_bytes() == b"model"
    assert list((store.root / "tmp").iterdir()) == []


def test_an_entry_is_hashed_once_per_process(store, monkeypatch):
    """Later hits compare sizes and times only, and a file replaced meanwhile is hashed again."""
    store.get_or_make(KEY, Maker())
    store_module._verified.clear()
    hashed = []
    real = store_module.entry_files.file_digest
    monkeypatch.setattr(store_module.entry_files, "file_digest", lambda path: (hashed.append(path.name), real(path))[1])

    store.get_or_make(KEY, Maker())
    once = len(hashed)
    store.get_or_make(KEY, Maker())
    twice = len(hashed)
    model = store.root / KEY[:2] / KEY / "model.onnx"
    model.unlink()
    model.write_bytes(b"MODEL")
    entry = store.get_or_make(KEY, Maker(b"model"))

    assert (once, twice) == (2, 2)
    assert entry.cached is False


def test_a_failing_make_leaves_nothing_behind(store):
    """Neither a finding nor an error leaves files below the root."""

    def fail(error):
        def make(folder):
            write_model(folder)
            raise error

        return make

    for key, error in [(KEY, ExportFailed.fail("no")), (OTHER, KeyboardInterrupt()), ("ab" * 8, ValueError("bug"))]:
        with pytest.raises(type(error)):
            store.get_or_make(key, fail(error))

    assert leftovers(store) == []
    assert list((store.root / "tmp").iterdir()) == []


def finding() -> ContractViolation:
    """A finding that uses every field."""
    result = CheckResult(
        Verdict.FAIL, "one line", figures={"opset": 17, "x": [1.5, None]}, details="all", sections=(("log", "text"),)
    )
    return ContractViolation(result)


def test_a_finding_is_raised_again_without_exporting(store, tmp_path):
    """Another worker of the same run gets an equal finding; another run exports again."""
    calls = []

    def make(folder):
        calls.append(1)
        raise finding()

    raised = []
    for again in (store, Store(store.root, run_dir=tmp_path / "run"), Store(store.root, run_dir=tmp_path / "other")):
        with pytest.raises(ContractViolation) as info:
            again.get_or_make(KEY, make)
        raised.append(info.value.result)

    assert len(calls) == 2
    assert raised == [finding().result] * 3


def test_other_exceptions_are_not_recorded(store):
    """A broken environment may be mended within a run, so its error is met anew each time."""
    with pytest.raises(RuntimeError):
        store.get_or_make(KEY, lambda folder: (_ for _ in ()).throw(RuntimeError("out of memory")))

    assert store.get_or_make(KEY, Maker()).cached is False


class LocalFinding(Finding):
    """A finding with a constructor of its own, as another plugin may have."""

    def __init__(self, result: CheckResult, extra: int) -> None:
        super().__init__(result)
        self.extra = extra


@pytest.mark.parametrize(
    "odd", [LocalFinding(finding().result, 1), ExportFailed(CheckResult(Verdict.FAIL, "s", figures={"a": (1, 2)}))]
)
def test_a_finding_that_cannot_be_read_back_equal_is_not_recorded(store, odd):
    """Where the record would lose something, the export is done again instead."""
    calls = []

    def make(folder):
        calls.append(1)
        raise odd

    for _ in range(2):
        with pytest.raises(type(odd)):
            store.get_or_make(KEY, make)

    assert len(calls) == 2


def test_unusable_run_dir_only_costs_time(tmp_path):
    """Failure records that cannot be written never hide the finding."""
    (tmp_path / "run").write_text("")
    store = Store(tmp_path / "cache", run_dir=tmp_path / "run")

    def make(folder):
        raise finding()

    for _ in range(2):
        with pytest.raises(ContractViolation):
            store.get_or_make(KEY, make)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_root_that_is_a_file(tmp_path, below):
    """A root that is a file, or lies below one, is a cache error with a next step."""
    (tmp_path / "cache").write_text("")
    store = Store(tmp_path / "cache" / below, run_dir=tmp_path / "run")

    for use in (lambda: store.get_or_make(KEY, Maker()), lambda: store.prune(0)):
        with pytest.raises(CacheError, match="--onnxprep-no-cache") as info:
            use()

        assert str(tmp_path / "cache") in str(info.value)


def test_broken_inside_is_a_cache_error(store):
    """Damage to the store's own folders is reported as such, never as a raw OSError."""
    store.get_or_make(KEY, Maker())
    (store.root / OTHER[:2]).write_text("a file where a folder belongs")

    with pytest.raises(CacheError, match="--onnxprep-cache DIR"):
        store.get_or_make(OTHER, Maker())


@pytest.mark.parametrize("wrapped", [False, True])
def test_full_disk_is_a_cache_error_even_when_an_exporter_wraps_it(store, wrapped):
    """A full disk under the cache never fails the model."""

    def make(folder):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if wrapped:
                raise ExportFailed.fail("export failed") from error
            raise

    with pytest.raises(CacheError, match="No space left"):
        store.get_or_make(KEY, make)

    assert store.get_or_make(KEY, Maker()).cached is False


def test_full_disk_while_publishing(store, monkeypatch):
    """A disk that fills up while the entry is sealed gives a cache error and leaves nothing behind."""

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module.entry_files, "_sync", full)

    with pytest.raises(CacheError, match="No space left"):
        store.get_or_make(KEY, Maker())

    assert leftovers(store) == []


def test_other_os_errors_of_an_export_are_its_own(store):
    """A file that an exporter misses is not the cache's fault."""
    with pytest.raises(FileNotFoundError):
        store.get_or_make(KEY, lambda folder: {"text": Path("/nonexistent/file").read_text()})


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda folder: {}, "model.onnx"), (lambda folder: write_model(folder) | {"x": object()}, "JSON")],
)
def test_a_make_that_breaks_its_promise(store, make, message):
    """No model, or provenance that is not JSON-able, is the exporter's error."""
    with pytest.raises(ExporterError, match=message):
        store.get_or_make(KEY, make)

    assert leftovers(store) == []


@pytest.mark.parametrize("key", ["", "abc", "../../../etc", "XYZ" * 8, KEY.upper()])
def test_keys_are_hex_digests(store, key):
    """Anything but a lower-case hex digest is refused before it becomes a path."""
    with pytest.raises(ValueError, match="hex digest"):
        store.get_or_make(key, Maker())


def test_a_lock_that_cannot_be_had(tmp_path):
    """Waiting for another process ends with a cache error that names the lock."""
    filelock = pytest.importorskip("filelock")
    store = Store(tmp_path / "cache", run_dir=tmp_path / "run", lock_minutes=0.2 / 60)
    store.get_or_make(OTHER, Maker())

    with filelock.FileLock(store.root / "locks" / f"{KEY}.lock"), pytest.raises(CacheError) as info:
        store.get_or_make(KEY, Maker())

    assert f"{KEY}.lock" in str(info.value)
    assert "--onnxprep-no-cache" in str(info.value)


def test_day_old_temporary_folders_are_removed(store):
    """What a killed process left in `tmp` goes after a day and stays before."""
    store.get_or_make(KEY, Maker())
    old, young = store.root / "tmp" / "old", store.root / "tmp" / "young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
    yesterday = time.time() - 90_000
    os.utime(old, (yesterday, yesterday))

    Store(store.root, run_dir=store.root).get_or_make(KEY, Maker())

    assert not old.exists()
    assert young.exists()


def age(store: Store, key: str, seconds: float) -> None:
    """Move an entry's last use into the past."""
    then = time.time() - seconds
    os.utime(store.root / key[:2] / key / "last-used", (then, then))


def test_prune_removes_the_least_recently_used(store):
    """Pruning frees the oldest entries first, and a hit counts as a use."""
    keys = [f"{index:02x}" * 16 for index in range(4)]
    for index, key in enumerate(keys):
        store.get_or_make(key, Maker(b"x" * 100_000))
        age(store, key, 40_000 - 1_000 * index)
    store.get_or_make(keys[0], Maker())

    freed = store.prune(250_000)

    assert 200_000 < freed < 220_000
    assert [key for key in keys if (store.root / key[:2] / key).exists()] == [keys[0], keys[3]]
    assert store.prune(250_000) == 0


def test_prune_spares_what_is_in_use(store):
    """An entry whose lock is held, or that was used within the last hour, stays."""
    filelock = pytest.importorskip("filelock")
    for key in (KEY, OTHER):
        store.get_or_make(key, Maker())
    age(store, OTHER, 7_200)

    with filelock.FileLock(store.root / "locks" / f"{OTHER}.lock"):
        held = store.prune(0)
    old = store.prune(0)
    kept = [key for key in (KEY, OTHER) if (store.root / key[:2] / key).exists()]
    rest = store.prune(0, spare_s=0)

    assert held == 0
    assert old > 0
    assert kept == [KEY]
    assert rest > 0
    assert leftovers(store) == []


def test_a_pruned_entry_is_made_again(store):
    """A process that verified an entry notices that it was pruned."""
    make = Maker()
    store.get_or_make(KEY, make)
    store.prune(0, spare_s=-1)

    assert store.get_or_make(KEY, make).cached is False
    assert make.calls == 2


def _slow_make(root: Path, run_dir: Path, log: Path, fails: bool, results) -> None:
    def make(folder):
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        if fails:
            raise finding()
        return write_model(folder)

    try:
        entry = Store(root, run_dir=run_dir).get_or_make(KEY, make)
        results.put(("entry", entry.cached, str(entry.path), entry.path.read_bytes()))
    except ContractViolation as error:
        results.put(("finding", error.result == finding().result))


@pytest.mark.parametrize("fails", [False, True])
def test_four_processes_export_once(tmp_path, fails):
    """Of four processes asking at the same time one exports; the others share its entry or its finding."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    log = tmp_path / "log"
    arguments = (tmp_path / "cache", tmp_path / "run", log, fails, results)
    processes = [context.Process(target=_slow_make, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)

    assert log.read_text() == "made\n"
    if fails:
        assert found == [("finding", True)] * 4
    else:
        path = str(tmp_path / "cache" / KEY[:2] / KEY / "model.onnx")
        assert sorted(found) == [("entry", False, path, b"model")] + [("entry", True, path, b"model")] * 3


_VICTIM = """
    import os, sys, time
    from pathlib import Path
    from pytest_onnxprep.artifacts import entry_files
    from pytest_onnxprep.artifacts.store import Store

    def stop():
        print("ready", flush=True)
        time.sleep(60)

    def make(folder):
        (folder / "model.onnx").write_bytes(b"half")
        if {where!r} == "make":
            stop()
        return {{}}

    if {where!r} == "record":
        entry_files.json.dumps = lambda *args, **kwargs: stop()
    if {where!r} == "rename":
        entry_files.publish = lambda *args: stop()
    if {where!r} == "published":
        from pytest_onnxprep.artifacts import store
        store._touch = lambda *args: stop()
    Store(Path({root!r}), run_dir=Path({run!r})).get_or_make({key!r}, make)
"""


@pytest.mark.parametrize("where", ["make", "record", "rename", "published"])
def test_kill_at_any_moment_leaves_the_store_usable(store, tmp_path, where):
    """A process killed while it exports, seals or publishes blocks nobody and leaves no half entry."""
    script = textwrap.dedent(_VICTIM).format(where=where, root=str(store.root), run=str(tmp_path), key=KEY)
    victim = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert victim.stdout.readline() == "ready\n"
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    victim.stdout.close()

    entry = store.get_or_make(KEY, Maker())  # comes back: nobody waits for the dead

    assert entry.cached is (where == "published")
    assert entry.path.read_bytes() == (b"half" if where == "published" else b"model")


def test_provenance_json_is_readable(store):
    """The record on disk shows what a person debugging a cache wants to know."""
    entry = store.get_or_make(KEY, Maker())
    outer = json.loads((entry.path.parent / "provenance.json").read_text())

    body = json.loads(outer["body"])

    assert body["provenance"] == entry.provenance
    assert body["files"]["model.onnx"]["size"] == 5


def rewritten(entry: Path, body: object) -> None:
    """A record whose digest is right, whatever it says."""
    text = body if isinstance(body, str) else json.dumps(body)
    record = entry / "provenance.json"
    record.chmod(0o644)
    record.write_text(json.dumps({"body": text, "blake2b": entry_files._text_digest(text)}))


def edited(entry: Path, **changes: object) -> None:
    """A record with other entries; None leaves one out."""
    body = json.loads(json.loads((entry / "provenance.json").read_text())["body"]) | changes
    rewritten(entry, {name: value for name, value in body.items() if value is not None})


def as_pipe(path: Path) -> None:
    """A pipe in the place of a file: whoever reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def as_link(path: Path) -> None:
    """A link in the place of a file."""
    moved = path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(moved)


def without_files(entry: Path) -> None:
    """A record that vouches for nothing, and nothing there."""
    edited(entry, files={})
    (entry / "model.onnx").unlink()


def as_loop(entry: Path) -> None:
    """A link to itself in the place of the entry."""
    shutil.rmtree(entry)
    entry.symlink_to(entry.name)


def of_files(**files: object) -> Callable[[Path], None]:
    """A record of other files beside the model."""

    def damage(entry: Path) -> None:
        body = json.loads(json.loads((entry / "provenance.json").read_text())["body"])
        edited(entry, files=body["files"] | files)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: rewritten(entry, [1]),
        lambda entry: rewritten(entry, "5"),
        lambda entry: rewritten(entry, "[" * 100_000),
        lambda entry: edited(entry, files=None),
        lambda entry: edited(entry, files=[]),
        lambda entry: edited(entry, files="model.onnx"),
        lambda entry: edited(entry, files={"model.onnx": 5}),
        lambda entry: edited(entry, files={"model.onnx": {"size": "5", "blake2b": "x"}}),
        lambda entry: edited(entry, files={"model.onnx": {}}),
        of_files(**{"../../x": {"size": 0, "blake2b": ""}}),
        of_files(**{"/etc/passwd": {"size": 0, "blake2b": ""}}),
        of_files(**{"a\0b": {"size": 0, "blake2b": ""}}),
        of_files(more={"size": 2**70, "blake2b": ""}),
        lambda entry: edited(entry, provenance=None),
        lambda entry: edited(entry, provenance=[1]),
        lambda entry: edited(entry, provenance={}),
        lambda entry: edited(entry, key=[KEY]),
        without_files,
        lambda entry: as_pipe(entry / "provenance.json"),
        lambda entry: as_pipe(entry / "model.onnx"),
        lambda entry: as_link(entry / "provenance.json"),
        lambda entry: as_link(entry / "model.onnx"),
        as_loop,
        lambda entry: (shutil.rmtree(entry), entry.symlink_to(entry.parents[2]))[0],
    ],
)
def test_an_entry_of_an_odd_form_is_made_again(store, damage):
    """Whatever its record says, and whatever lies there: nothing of it is used, and no error ends the run."""
    make = Maker()
    entry = store.get_or_make(KEY, make).path.parent
    damage(entry)
    store_module._verified.clear()

    again = store.get_or_make(KEY, make, accepts=lambda provenance: "exporter" in provenance)

    assert (again.cached, make.calls) == (False, 2)
    assert again.path.read_bytes() == b"model"
    assert again.provenance == {"exporter": "dynamo", "opset": 20}
    assert not again.path.is_symlink()
    assert not list((store.root / "tmp").iterdir())
