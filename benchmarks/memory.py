"""Whether the memory our child tells is the memory it had: against `/usr/bin/time -v` around that very child."""

from __future__ import annotations

import gc
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.exports import export
from benchmarks.table import Result
from model_zoo.torch_text import build_lstm_tagger
from model_zoo.torch_vision import build_mobilenet_v2, build_resnet18, build_unet, build_vit
from model_zoo.transformers_models import build_distilbert_classifier
from pytest_onnxprep import Dim, TensorSpec
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.runtime.child_process import run_child
from pytest_onnxprep.runtime.session import make_session

CHILDREN = 3
BAR = 0.05

#: What GNU time does, where it is not installed: a small parent that waits. The parent's own size counts, because
#: ``ru_maxrss`` survives ``exec``; that is why it must not be the process with the frameworks.
_OWN_TIME = """
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
usage = os.wait4(child, 0)[2]
with open(sys.argv[1], "w") as file:
    file.write(f"Maximum resident set size (kbytes): {usage.ru_maxrss}")
"""


@dataclass(frozen=True)
class Measured:
    """A model of the zoo at the sizes it is measured at."""

    name: str
    build: Callable[[], Any]
    sizes: dict[str, int]
    exporter: str = "torchscript"
    opset: int = 17
    arguments: dict[str, Any] = field(default_factory=dict)


def _picture(side: int) -> dict[str, Any]:
    axis = Dim(32, side, multiple_of=32)
    picture = TensorSpec("float32", "batch, 3, h, w", low=-3, high=3)
    return {"inputs": {"image": picture}, "dims": {"batch": (1, 8), "h": axis, "w": axis}}


MODELS = (
    Measured("resnet18", build_resnet18, {"batch": 1, "h": 160, "w": 160}, arguments=_picture(160)),
    Measured("mobilenet_v2", build_mobilenet_v2, {"batch": 4, "h": 160, "w": 160}, arguments=_picture(160)),
    Measured("unet", build_unet, {"batch": 2, "h": 128, "w": 128}, arguments=_picture(128)),
    Measured("vit", build_vit, {}, arguments={"inputs": {"image": "float32[batch, 3, 96, 96]"}}),
    Measured(
        "lstm_tagger",
        build_lstm_tagger,
        {"batch": 8, "seq": 64},
        arguments={
            "inputs": {"tokens": TensorSpec("int64", "batch, seq", low=0, high=1000)},
            "dims": {"batch": (1, 8), "seq": (1, 64)},
        },
    ),
    Measured(
        "distilbert",
        build_distilbert_classifier,
        {"batch": 8, "seq": 64},
        exporter="dynamo",
        opset=20,
        arguments={"dims": {"batch": (1, 8), "seq": (1, 64)}},
    ),
)


def measure() -> list[Result]:
    """The same child from inside and outside, and beside it the process that exports."""
    rows = [["model", "our peak (MB)", "`time -v` (MB)", "difference", "spread", "the exporting process (MB)"]]
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in MODELS:
            path, feeds = _prepared(folder / model.name, model)
            ours, theirs = zip(*[_both(path, feeds, folder / "time.txt") for _ in range(CHILDREN)], strict=True)
            difference = max((mine / other - 1 for mine, other in zip(ours, theirs, strict=True)), key=abs)
            spread = (max(ours) - min(ours)) / sorted(ours)[CHILDREN // 2]
            worst = max(worst, difference, key=abs)
            shown = [sorted(found)[CHILDREN // 2] / 1e6 for found in (ours, theirs)]
            here = f"{_in_this_process(path, feeds):.0f}"
            rows.append([model.name, *(f"{one:.1f}" for one in shown), f"{difference:+.2%}", f"{spread:.2%}", here])
    how = "`/usr/bin/time -v`" if shutil.which("time") else "`wait4` in a small process of its own, as GNU time does"
    note = (
        f"{CHILDREN} fresh processes a model, each measured by itself (VmHWM, read at its end) and by {how} around it: "
        "medians, the largest difference, and how far our peaks lie apart. Last column: the peak of a process that has "
        "exported the models so far and then runs this one: what a test without a child of its own would have to tell."
    )
    bar = f"each within {BAR:.0%} of `/usr/bin/time -v` on the same child"
    return [Result("Peak memory of the child", bar, f"{worst:+.2%} at worst", abs(worst) <= BAR, rows, note)]


def _prepared(folder: Path, model: Measured) -> tuple[Path, dict[str, Any]]:
    made = export(folder, model.build, model.exporter, model.opset, **model.arguments)
    maker = Maker(made.signature)
    return made.path, maker.feeds(maker.plain(made.signature.check_sizes(model.sizes, "sizes")))


def _both(path: Path, feeds: dict[str, Any], report: Path) -> tuple[int, int]:
    """Peak bytes of one child: as it tells, and as its parent is told by the kernel."""
    gnu = shutil.which("time")
    own = (sys.executable, "-I", "-S", "-c", _OWN_TIME, str(report))
    launcher = (gnu, "-v", "-o", str(report)) if gnu else own
    child = run_child(path, feeds, launcher=launcher, runs=3)
    if not child.ok or child.steady is None:
        raise SystemExit(f"{path}: {child.message}")
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", report.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"no maximum resident set size in {report.read_text(encoding='utf-8')}")
    return child.steady.peak, int(found[1]) * 1024


def _in_this_process(path: Path, feeds: dict[str, Any]) -> float:
    session = make_session(path, threads=1)
    for _ in range(3):
        session.run(None, feeds)
    del session
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
