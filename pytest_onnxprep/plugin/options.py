"""Command-line options, their ini keys, and the text of ``pytest --markers``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

INCONCLUSIVE_MODES = ("pass", "skip", "fail")

#: Profiles of ``--onnxprep-examples``: examples, and seconds after which no further random one is started.
EFFORTS: dict[str, tuple[int, float]] = {"dev": (50, 10.0), "ci": (100, 20.0), "thorough": (1000, 120.0)}

#: option -> (metavar, help, default). Every option is also an ini key: ``--onnxprep-x-y`` is ``onnxprep_x_y``.
OPTIONS: dict[str, tuple[str, str, str]] = {
    "json": ("PATH", "write the onnxprep report as JSON", ""),
    "markdown": ("PATH", "write the summary table as Markdown (for a pull request)", ""),
    "examples": ("N|" + "|".join(EFFORTS), "parity examples per variant, corners included; or a profile", "ci"),
    "cache": ("DIR", "keep exports here between runs", ".onnxprep/cache"),
    "provider": ("NAME", "execution provider of ONNX Runtime, such as cpu or cuda", ""),
    "target": ("FILE|NAME", "hold every model to a device profile, or to several with commas between them", ""),
    "save-baseline": ("DIR", "save the models of latency items here, for --onnxprep-baseline to compare with", ""),
    "baseline": ("DIR", "compare latency items that ask for max_regression with the models saved here", ""),
    "on-inconclusive": ("|".join(INCONCLUSIVE_MODES), "what a check that could not tell counts as", "pass"),
}

#: switch -> help. Each is an ini key, too.
FLAGS: dict[str, str] = {
    "no-cache": "export everything afresh and keep nothing",
    "isolate": "export, and load ONNX files made elsewhere, in a child process: a crash fails one test, not the run",
    "profile": "one more item per variant: time by operator, node and layer, by ONNX Runtime's profiler",
}

MARKERS = (
    "onnx_export(source=None, *, inputs, outputs, dims, generate, samples, artifact, shapes, buckets, exporter, opset, "
    "options, target): export the model to ONNX and check the file against its declaration (pytest-onnxprep)",
    "parity(atol=None, rtol=None, *, max_examples, oracle, special_values, outputs, metrics, min_sqnr_db, min_top1): "
    "compare ONNX Runtime with the framework over fuzzed sizes and values (pytest-onnxprep)",
    "latency_budget(p50_ms, p90_ms, p95_ms, p99_ms, mean_ms, *, at, threads=1, provider, max_time_s, max_regression, "
    "min_speedup, against): hold the latency of the ONNX model to a budget, or to another model's (pytest-onnxprep)",
    "size_budget(mb, weights_mb, nodes): hold the size of the ONNX file to a budget (pytest-onnxprep)",
    "operators(allowed, forbidden, opset_max, domains): "
    "hold the graph to the operators a target's runtime can run (pytest-onnxprep)",
    "fits(target=None, *, at, speed_factor): hold the model to a device profile (pytest-onnxprep)",
    "memory_budget(peak_mb, *, at, model_mb, steady_mb, threads=1, provider, children=3): "
    "hold the memory of a fresh process with the ONNX model to a budget (pytest-onnxprep)",
    "startup_budget(load_ms, first_run_ms, *, at, threads=1, provider, max_time_s=30): "
    "hold loading the ONNX model and its first run to a budget (pytest-onnxprep)",
    "throughput_budget(min_per_s, *, at, threads=1, provider, batch, sweep=True, max_time_s=30): "
    "demand a number of items per second (pytest-onnxprep)",
    "accuracy_budget(metric='top1', minimum, dataset, max_drop): "
    "hold the ONNX model to a score at its task, and to the framework's (pytest-onnxprep)",
)

#: Marks that no user writes.
ITEM_MARKERS = ("onnx_profile: on the items that --onnxprep-profile makes, for -m (pytest-onnxprep)",)

#: The names of our marks, known without importing what reads them.
MARKS = frozenset(line.partition("(")[0] for line in MARKERS)


def add_options(parser: pytest.Parser) -> None:
    """Register every option with its ini key."""
    group = parser.getgroup("onnxprep", "ONNX conversion (pytest-onnxprep)")
    for name, (metavar, text, default) in OPTIONS.items():
        shown = f"{text} (default: {default})" if default else text
        group.addoption(f"--onnxprep-{name}", dest=_dest(name), metavar=metavar, default=None, help=shown)
        parser.addini(_dest(name), f"{text}; same as --onnxprep-{name}", default="")
    for name, text in FLAGS.items():
        group.addoption(f"--onnxprep-{name}", dest=_dest(name), action="store_true", default=None, help=text)
        parser.addini(_dest(name), f"same as --onnxprep-{name}", type="bool", default=False)


def option(config: pytest.Config, name: str) -> str:
    """The value of an option: command line, then ini, then default; empty where there is none."""
    given: Any = config.getoption(_dest(name), default=None)
    if given is None:
        given = config.getini(_dest(name)) or OPTIONS[name][2]
    return str(given)


def flag(config: pytest.Config, name: str) -> bool:
    """Whether a switch of `FLAGS` is on: command line or ini."""
    return bool(config.getoption(_dest(name), default=None) or config.getini(_dest(name)))


def no_cache(config: pytest.Config) -> bool:
    """Whether exports are to be made afresh."""
    return flag(config, "no-cache")


def profiling(config: pytest.Config) -> bool:
    """Whether each variant is to be profiled."""
    return flag(config, "profile")


def target_option(config: pytest.Config) -> tuple[str, ...]:
    """The device profiles that every model is held to."""
    return tuple(name for name in (part.strip() for part in option(config, "target").split(",")) if name)


def target_folders(config: pytest.Config, *beside: Path) -> tuple[Path, ...]:
    """Where the path of a profile may start."""
    return (*beside, config.invocation_params.dir, config.rootpath)


def check_options(config: pytest.Config) -> None:
    """Refuse values no check could use.

    Raises:
        pytest.UsageError: with what is accepted.
    """
    mode = option(config, "on-inconclusive")
    if mode not in INCONCLUSIVE_MODES:
        raise pytest.UsageError(f"--onnxprep-on-inconclusive={mode}: accepted are {', '.join(INCONCLUSIVE_MODES)}")
    if target_option(config):
        _check_targets(config)
    examples = option(config, "examples")
    if examples not in EFFORTS and (not examples.isdecimal() or int(examples) < 1):
        accepted = f"{', '.join(EFFORTS)} or a whole number >= 1"
        raise pytest.UsageError(f"--onnxprep-examples={examples}: {accepted} is accepted")


def _check_targets(config: pytest.Config) -> None:
    from pytest_onnxprep.spec.errors import SpecError
    from pytest_onnxprep.spec.target_files import load_target

    for name in target_option(config):
        try:
            load_target(name, target_folders(config))
        except SpecError as error:
            raise pytest.UsageError(f"--onnxprep-target={option(config, 'target')}: {error}") from None


def effort(config: pytest.Config) -> tuple[int, float, bool]:
    """Parity examples per variant, the seconds they may take, and whether the corners are tried however many they are.

    A number is obeyed to the letter; a profile covers the corners first.
    """
    asked = option(config, "examples")
    return (*EFFORTS[asked], True) if asked in EFFORTS else (int(asked), EFFORTS["ci"][1], False)


def _dest(name: str) -> str:
    return f"onnxprep_{name.replace('-', '_')}"
