"""``size_budget``: bytes of the file with its external data, bytes of the weights, nodes of the graph."""

from __future__ import annotations

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.checks.case import Case
from pytest_onnxprep.errors import SizeBudgetExceeded
from pytest_onnxprep.spec.check_requests import SizeRequest
from pytest_onnxprep.spec.verdict import CheckResult, Verdict

_UNITS = {"mb": "MB", "weights_mb": "MB of weights", "nodes": "nodes"}

#: What a failing check is raised as.
FINDING = SizeBudgetExceeded


def run(case: Case) -> CheckResult:
    """Hold the file to its budgets. A megabyte is 10**6 bytes.

    ``mb`` is the file with its external data; the two are also told apart.
    """
    request: SizeRequest = case.request
    model = case.model
    graphs = sum(part.path.stat().st_size for part in (list(model.parts.values()) or [model]))
    figures = {
        "mb": model.size_bytes / 1e6,
        "file_mb": graphs / 1e6,
        "external_mb": (model.size_bytes - graphs) / 1e6,
        "weights_mb": model.weights_bytes / 1e6,
        "nodes": model.node_count,
    }
    budgets = request.budgets()
    over = {name: figures[name] for name, limit in budgets.items() if figures[name] > limit}
    listed = ", ".join(f"{_show(figures[name])} of {_show(limit)} {_UNITS[name]}" for name, limit in budgets.items())
    summary = listed if not over else "; ".join(_excess(name, value, budgets[name]) for name, value in over.items())
    return CheckResult(
        Verdict.FAIL if over else Verdict.PASS,
        summary,
        {**figures, "budget": budgets},
        _details(model, summary) if over else "",
    )


def _excess(name: str, value: float, limit: float) -> str:
    return f"{_show(value)} {_UNITS[name]}, {_show(value - limit)} over the budget of {_show(limit)}"


def _show(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.4g}"


def _details(model: OnnxModel, summary: str) -> str:
    """What takes the room: the files, and the largest weights."""
    from pytest_onnxprep.artifacts.onnx_model import tensor_bytes

    files = {"": model} if not model.parts else {f"{name}: ": part for name, part in model.parts.items()}
    tensors = [(name, one) for name, part in files.items() for one in part.graph_proto.graph.initializer]
    tensors.sort(key=lambda pair: tensor_bytes(pair[1]), reverse=True)
    lines = [f"size over budget: {summary}", "", "files"]
    lines += [
        f"  {f.stat().st_size / 1e6:10.3f} MB  {name}{f.name}" for name, part in files.items() for f in part.files
    ]
    lines += ["largest weights"]
    lines += [f"  {tensor_bytes(one) / 1e6:10.3f} MB  {name}{one.name} {list(one.dims)}" for name, one in tensors[:5]]
    return "\n".join(lines)
