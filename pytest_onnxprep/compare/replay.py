"""A folder that shows a failure again with nothing but onnxruntime and numpy."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pytest_onnxprep.compare.outputs import Rule
from pytest_onnxprep.runtime.array_file import load_arrays, save_arrays

_SCRIPT = '''\
"""Replays one parity failure; needs onnxruntime and numpy only.  Run: python replay.py

{title}
"""
import ctypes
import json
from pathlib import Path

from typing import Any, cast

import numpy as np
import onnxruntime

here = Path(__file__).resolve().parent
case = json.loads((here / "case.json").read_text())


def load(name):
    with np.load(here / name, allow_pickle=False) as file:
        return {{case["names"][name][key]: file[key] for key in file.files}}


feeds, expected = load("feeds.npz"), load("expected.npz")
options = onnxruntime.SessionOptions()
for library in case["custom_ops"]:  # operators that ONNX Runtime does not have itself
    options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(str(here / "model.onnx"), options, providers=["CPUExecutionProvider"])
outputs = [output.name for output in session.get_outputs()]
BFLOAT16 = "tensor(bfloat16)"  # NumPy has none: its bits are those of the upper half of a float32


def narrow(name, array):
    if name not in [node.name for node in session.get_inputs() if node.type == BFLOAT16]:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = (np.ascontiguousarray(array, "f4").view("u4") >> 16).astype("u2")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, 16)


def wide(value):
    if value.data_type() != BFLOAT16:
        return value.numpy()
    bits = np.empty(value.shape(), "u2")
    ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return (bits.astype("u4") << 16).view("f4")


try:
    if any(node.type == BFLOAT16 for node in [*session.get_inputs(), *session.get_outputs()]):
        given = {{name: narrow(name, array) for name, array in feeds.items()}}
        actual = dict(zip(outputs, map(wide, session.run_with_ort_values(outputs, given))))
    else:
        actual = dict(zip(outputs, session.run(outputs, feeds)))
except Exception as error:
    raise SystemExit(f"ONNX Runtime refuses the feeds: {{error}}")

failed = False
for name, want in expected.items():
    got = actual.get(name)
    atol, rtol = case["tolerance"].get(name, [0.0, 0.0])
    if got is not None and got.dtype.kind in "OSU" and want.dtype.kind == "U":
        got = got.astype(str)
    same_type = got is not None and (got.dtype == want.dtype or got.dtype.kind == want.dtype.kind == "U")
    if not same_type or got.shape != want.shape:
        found = None if got is None else (got.dtype, got.shape)
        print(f"{{name}}: {{found}}, the framework has {{want.dtype, want.shape}}")
        failed = True
        continue
    if want.dtype.kind != "f":
        same = bool((got == want).all())
        print(f"{{name}}: {{'equal' if same else 'DIFFERS'}}")
    else:
        same = bool(np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True))
        with np.errstate(invalid="ignore"):  # of two infinities
            error = np.abs(got.astype("f8") - want.astype("f8"))
        print(f"{{name}}: max |error| {{np.nanmax(error) if error.size else 0.0:.6g}}, "
              f"allowed {{atol:g}} + {{rtol:g}} * |expected|: {{'ok' if same else 'DIFFERS'}}")
    failed |= not same
raise SystemExit(1 if failed else 0)
'''


def write_replay(
    folder: Path,
    *,
    title: str,
    files: list[Path],
    feeds: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    rule: Rule,
    custom_ops: Iterable[str] = (),
    samples: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write ``model.onnx``, ``feeds.npz``, ``expected.npz``, ``case.json`` and ``replay.py``.

    The folder is made beside its place and renamed, so that a half-written one is never seen; an older replay of the
    same test is replaced.

    Args:
        folder: where the replay goes.
        title: one line for the script.
        files: the ONNX file (first) and its external data.
        feeds: inputs that fail.
        expected: the reference's outputs for them.
        rule: tolerances.
        custom_ops: files of libraries of custom operators.
        samples: the inputs as the user declares them, where the file takes them in another layout.
    """
    _ignored(folder.parent)
    made = Path(tempfile.mkdtemp(prefix=".replay-", dir=folder.parent))
    try:
        shutil.copyfile(files[0], made / "model.onnx")
        for extra in files[1:]:
            target = made / extra.relative_to(files[0].parent.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(extra, target)
        names = {
            "feeds.npz": save_arrays(made / "feeds.npz", feeds),
            "expected.npz": save_arrays(made / "expected.npz", expected),
        }
        if samples is not None:
            names["samples.npz"] = save_arrays(made / "samples.npz", samples)
        tolerance = {name: _tolerance(name, array, rule) for name, array in expected.items()}
        case = {"names": names, "tolerance": tolerance, "custom_ops": list(custom_ops)}
        (made / "case.json").write_text(json.dumps(case, indent=2), encoding="utf-8")
        shown = title.replace("\\", "\\\\").replace('"""', "'''")
        (made / "replay.py").write_text(_SCRIPT.format(title=shown), encoding="utf-8")
        made.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder


def write_feeds(folder: Path, feeds: Mapping[str, np.ndarray]) -> Path:
    """Write the inputs alone, with what `load_feeds` needs to read them; an older replay there is replaced."""
    _ignored(folder.parent)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    names = {"feeds.npz": save_arrays(folder / "feeds.npz", feeds)}
    (folder / "case.json").write_text(json.dumps({"names": names}, indent=2), encoding="utf-8")
    return folder / "feeds.npz"


def load_feeds(path: Path) -> dict[str, np.ndarray]:
    """Read feeds from an ``.npz``; one of a replay folder gets its tensor names back from ``case.json``.

    Raises:
        ValueError: either file is damaged, or no such file.
    """
    arrays = load_arrays(path)
    case = path.with_name("case.json")
    if not case.is_file():
        return arrays
    try:
        names = json.loads(case.read_text(encoding="utf-8"))["names"].get(path.name, {})
        return {str(names.get(key, key)): array for key, array in arrays.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"case.json beside it is none of a replay folder ({type(error).__name__})") from error


def _ignored(folder: Path) -> None:
    """Make the folder of all replays, which is no part of the user's repository."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# Created by pytest-onnxprep automatically.\n*\n", encoding="utf-8")


def _tolerance(name: str, expected: np.ndarray, rule: Rule) -> list[float]:
    from pytest_onnxprep.compare.elementwise import finite_scale

    scale = finite_scale(expected) if expected.dtype.kind == "f" else 0.0
    return list(rule.tolerance_of(name).resolve(expected.dtype.name, scale))
