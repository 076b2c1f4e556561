"""PyTorch models that decide by values or sizes: what each exporter freezes without a word, and what it keeps.

Every subject has a broken form, which must be caught, and a sound form, which must pass.
"""

import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch._higher_order_ops.scan import scan  # noqa: E402
from torch._higher_order_ops.while_loop import while_loop  # noqa: E402

ROWS = {"inputs": {"x": "float32[rows, 4]"}, "dims": {"rows": (1, 8)}}


# -- if, by a value -----------------------------------------------------------------------------------------------


class PythonIf(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class Where(torch.nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, x * 2, x - 1)


class Cond(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


def test_python_if_is_frozen(onnx_exporter):
    """The TorchScript tracer keeps the branch of its example; inputs of the other sign show it."""
    model = onnx_exporter(PythonIf, **ROWS, exporter="torchscript")
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


def test_python_if_is_refused(onnx_exporter):
    """torch.export does not guess, and the message names the line and the remedy."""
    with pytest.raises(ExportFailed, match=r"(?s)branches on values.*torch\.where or torch\.cond.*x\.sum\(\) > 0"):
        onnx_exporter(PythonIf, **ROWS, exporter="dynamo")


@onnx_export(Where, **ROWS, exporter=["dynamo", "torchscript"])
@parity()
def test_where(onnx_model):
    assert onnx_model.operators["Where"] == 1


@onnx_export(Cond, **ROWS, exporter="dynamo")
@parity()
def test_cond(onnx_model):
    assert onnx_model.operators["If"] == 1


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="torch 2.13: TorchScript cannot trace torch.cond (a dynamo-optimized function)",
)
def test_cond_in_torchscript(onnx_exporter):
    onnx_exporter(Cond, **ROWS, exporter="torchscript")


@onnx_export(lambda: torch.jit.script(PythonIf()), **ROWS, exporter=["torchscript", "dynamo"])
@parity()
def test_scripted_if(onnx_model):
    assert onnx_model.operators["If"] == 1


# -- while, by a value --------------------------------------------------------------------------------------------


class PythonWhile(torch.nn.Module):
    def forward(self, x):
        total = x.abs().sum() + 1
        while total < 100:
            total = total * 2
        return x / total


class WhileLoop(torch.nn.Module):
    def forward(self, x):
        (total,) = while_loop(lambda total: total < 100, lambda total: (total * 2,), (x.abs().sum() + 1,))
        return x / total


def test_python_while_is_unrolled(onnx_exporter):
    """The tracer repeats the body as often as its example did."""
    model = onnx_exporter(PythonWhile, **ROWS, exporter="torchscript")
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


@onnx_export(lambda: torch.jit.script(PythonWhile()), **ROWS, exporter="torchscript")
@parity()
def test_scripted_while(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(WhileLoop, **ROWS, exporter="dynamo")
@parity()
def test_while_loop(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="torch 2.13: TorchScript cannot trace while_loop (a dynamo-optimized function)",
)
def test_while_loop_in_torchscript(onnx_exporter):
    onnx_exporter(WhileLoop, **ROWS, exporter="torchscript")


# -- for, over a dynamic length -----------------------------------------------------------------------------------


class PythonFor(torch.nn.Module):
    def forward(self, x):
        state = torch.zeros(4)
        for row in range(x.shape[0]):
            state = torch.tanh(state + x[row])
        return state


class Scan(torch.nn.Module):
    def forward(self, x):
        def step(state, row):
            state = torch.tanh(state + row)
            return state, state.clone()

        state, _ = scan(step, torch.zeros(4), x)
        return state


def test_python_for_is_unrolled(onnx_exporter):
    """The tracer has the loop as long as its example: shorter inputs are refused, of longer ones the end is lost."""
    model = onnx_exporter(PythonFor, **ROWS, exporter="torchscript")
    with pytest.raises(ParityError, match=r"ONNX Runtime refuses an input the framework takes, at rows=1"):
        assert_parity(model)


def test_python_for_is_refused(onnx_exporter):
    """torch.export says which dim the loop made a number, and where."""
    with pytest.raises(ExportFailed, match=r"rows \(input 'x', axis 0\) became \d+"):
        onnx_exporter(PythonFor, **ROWS, exporter="dynamo")


@onnx_export(lambda: torch.jit.script(PythonFor()), **ROWS, exporter="torchscript")
@parity()
def test_scripted_for(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(Scan, **ROWS, exporter="dynamo")
@parity()
def test_scan(onnx_model):
    assert onnx_model.operators["Scan"] == 1


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: TorchScript cannot trace scan (a dynamo-optimized function)"
)
def test_scan_in_torchscript(onnx_exporter):
    onnx_exporter(Scan, **ROWS, exporter="torchscript")


@pytest.mark.xfail(strict=True, raises=ExportFailed, reason="torch 2.13: TS2EPConverter failed for node prim::Loop")
@pytest.mark.parametrize("loop", [PythonWhile, PythonFor])
def test_scripted_loops_in_dynamo(onnx_exporter, loop):
    onnx_exporter(lambda: torch.jit.script(loop()), **ROWS, exporter="dynamo")


# -- if, by a size ------------------------------------------------------------------------------------------------


class SizeBranch(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x - 1


class SizeCond(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.shape[0] > 4, lambda x: x * 2, lambda x: x - 1, (x,))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_branch_on_a_size_is_frozen(onnx_exporter, exporter):
    """Neither exporter says a word; the sizes on the other side of the branch fail, and the report gives the rule."""
    model = onnx_exporter(SizeBranch, **ROWS, exporter=exporter)
    with pytest.raises(ParityError, match=r"fails for +every rows from 5 on"):
        assert_parity(model)


@onnx_export(SizeCond, **ROWS, exporter="dynamo")
@parity()
def test_cond_on_a_size(onnx_model):
    assert onnx_model.operators["If"] == 1


@onnx_export(lambda: torch.jit.script(SizeBranch()), **ROWS, exporter="torchscript")
@parity()
def test_scripted_branch_on_a_size(onnx_model):
    assert onnx_model.operators["If"] == 1


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="torch 2.13: TorchScript cannot trace torch.cond (a dynamo-optimized function)",
)
def test_cond_on_a_size_in_torchscript(onnx_exporter):
    onnx_exporter(SizeCond, **ROWS, exporter="torchscript")


def test_scripted_branch_on_a_size_in_dynamo(onnx_exporter):
    """The converter of scripts makes a number of the size; it says so."""
    with pytest.raises(ExportFailed, match=r"rows \(input 'x', axis 0\) became \d+"):
        onnx_exporter(lambda: torch.jit.script(SizeBranch()), **ROWS, exporter="dynamo")
