"""``--onnxprep-isolate``: an export in a process of its own, which may crash without ending the run.

The child builds the model anew from the user's factory or file, and writes the ONNX file into the same folder. So the
factory must be one that another process can find: a function of a module, not a lambda.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import importlib.util
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_onnxprep.artifacts.failures import from_json, to_json
from pytest_onnxprep.errors import ExporterError, ExportFailed, Finding, OnnxPrepError, SourceError
from pytest_onnxprep.exporters import catalog
from pytest_onnxprep.exporters.chatter import Chatter
from pytest_onnxprep.exporters.job import ExportJob
from pytest_onnxprep.runtime.isolation import run_child
from pytest_onnxprep.spec.signature import Signature

#: Seconds that an export may take.
EXPORT_S = 1800.0
_JOB, _TOLD = "job.pickle", "told.json"


@dataclass(frozen=True)
class Recipe:
    """How another process gets the same model.

    Args:
        value: the pickled factory or path.
        modules: names and files of the modules it names.
        base: folder that relative paths are taken from.
        reason: why there is none, or an empty string.
    """

    value: bytes = b""
    modules: tuple[tuple[str, str], ...] = ()
    base: str = ""
    reason: str = ""


def recipe_of(value: Any, base: Path) -> Recipe:
    """How to get the model of a ``source=`` in another process."""
    if isinstance(value, (str, os.PathLike)):
        return Recipe(pickle.dumps(os.fspath(value)), (), str(base))
    function = value
    while isinstance(function, functools.partial):
        function = function.func
    name, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(value) or name is None or qualname is None:
        return Recipe(reason="a model object cannot be handed to another process; give a factory or a path")
    if "<" in qualname:
        return Recipe(reason=f"another process cannot find {qualname}; write the factory at the top of a module")
    file = getattr(sys.modules.get(name), "__file__", None)
    try:
        return Recipe(pickle.dumps(value), ((name, str(file)),) if file else (), str(base))
    except Exception as error:
        return Recipe(reason=f"the factory cannot be handed to another process: {error}")


def export_apart(job: ExportJob, recipe: Recipe) -> Chatter | None:
    """Export in a child; None where the job cannot be handed to one, which is noted.

    Returns:
        What the converter said.

    Raises:
        ExportFailed: the exporter raised, crashed, or took too long.
        OnnxPrepError: the exporter or the source is at fault, not the model.
    """
    reason = recipe.reason
    fingerprint = job.source.fingerprint()
    order = {
        "recipe": recipe,
        "signature": _plain(job.signature),
        "variant": job.variant,
        "feeds": dict(job.feeds),
        "path": str(job.path.absolute()),
        "fingerprint": str(fingerprint) if fingerprint.stable else "",
    }
    try:
        packed = b"" if reason else pickle.dumps(order)
    except Exception as error:
        reason = f"options= cannot be handed to another process: {error}"
    if reason:
        job.notes["not_isolated"] = reason
        return None
    with tempfile.TemporaryDirectory(prefix="onnxprep-") as name:
        folder = Path(name)
        (folder / _JOB).write_bytes(packed)
        # Apart from the job, which can be read only once its modules are found.
        (folder / "modules.json").write_text(json.dumps({"path": sys.path, "modules": recipe.modules}))
        ended = run_child("pytest_onnxprep.exporters.isolated", [name], EXPORT_S)
        told = folder / _TOLD
        if ended.status != 0 or not told.exists():
            what = ended.words(EXPORT_S)
            raise ExportFailed.fail(
                f"exporter {job.variant.exporter!r} {what}",
                f"exporting {job.source.label} with {job.variant.exporter!r} {what}, in a child process "
                "(--onnxprep-isolate): it would have ended the whole run. Try another exporter or opset, or run the "
                "factory and the exporter by themselves to find out which of them does it.",
                (("the child's last words", ended.output),) if ended.output else (),
            )
        result = json.loads(told.read_text(encoding="utf-8"))
    job.notes.update(result["notes"])
    if "finding" in result:
        finding = from_json(json.dumps(result["finding"]))
        raise finding or ExportFailed.fail(result["finding"]["result"]["summary"])
    if "error" in result:
        kind = {"SourceError": SourceError, "ExporterError": ExporterError}.get(result["error"][0], OnnxPrepError)
        raise kind(result["error"][1])
    chatter = Chatter()
    chatter.printed.write("\n".join(result["said"]))
    return chatter


def _plain(signature: Signature) -> Signature:
    """What an exporter reads of a signature: names, types and ranges, not where values come from."""
    inputs = {name: replace(spec, values=None, example=None) for name, spec in signature.inputs.items()}
    return replace(signature, inputs=inputs, generate=None, dims=_used(signature))


def _used(signature: Signature) -> Mapping[str, Any]:
    names = {name for spec in signature.inputs.values() for name in spec.names}
    return {name: dim for name, dim in signature.dims.items() if name in names}


def main(folder: Path) -> None:
    """The child: do the job that lies in a folder, and leave there what came of it."""
    faulthandler.enable(os.fdopen(os.dup(2), "wb"))  # what converters print is captured: this is not
    found = json.loads((folder / "modules.json").read_text())
    sys.path[:] = [*found["path"], *(entry for entry in sys.path if entry not in found["path"])]
    for name, file in found["modules"]:
        _import(name, file)
    order = pickle.loads((folder / _JOB).read_bytes())  # noqa: S301 - written by the parent
    notes: dict[str, Any] = {}
    told: dict[str, Any] = {"notes": notes}
    try:
        told["said"] = _export(order, notes)
    except Finding as finding:
        told["finding"] = to_json(finding)
    except OnnxPrepError as error:
        told["error"] = [type(error).__name__, str(error)]
    (folder / "part").write_text(json.dumps(told), encoding="utf-8")
    os.replace(folder / "part", folder / _TOLD)


def _export(order: dict[str, Any], notes: dict[str, Any]) -> list[str]:
    from pytest_onnxprep.exporters.workshop import _run_exporter, trace_run
    from pytest_onnxprep.sources.load import load_source
    from pytest_onnxprep.sources.turn import Turn
    from pytest_onnxprep.sources.turned import turned

    recipe, signature = order["recipe"], order["signature"]
    loaded = load_source(pickle.loads(recipe.value), base=Path(recipe.base))  # noqa: S301
    source = turned(loaded, Turn.of(order["variant"].options))
    if not source.built():
        trace_run(source, signature, order["feeds"])
    own = source.fingerprint()
    if order["fingerprint"] and own.stable and str(own) != order["fingerprint"]:
        raise SourceError(
            f"{source.label}: the factory gives another model in another process, so its export cannot be isolated; "
            "fix its seed (torch.manual_seed, keras.utils.set_random_seed), or leave --onnxprep-isolate out"
        )
    job = ExportJob(source, signature, order["variant"], order["feeds"], Path(order["path"]), notes)
    return _run_exporter(catalog.find(job.variant.exporter or "none"), job).lines()


def _import(name: str, file: str) -> None:
    """Import a module under its name; by its file where the name leads elsewhere or nowhere."""
    try:
        module = importlib.import_module(name)
        if os.path.realpath(str(getattr(module, "__file__", ""))) == os.path.realpath(file):
            return
    except ImportError:
        pass
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    from pytest_onnxprep.exporters import isolated

    isolated.main(Path(sys.argv[1]))  # not this copy of it: the job's classes belong to the module
