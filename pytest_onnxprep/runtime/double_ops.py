"""An evaluator of ONNX graphs in float64: ``onnx.reference`` with its inexact, slow and missing operators replaced."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from pytest_onnxprep.runtime import double_dense as dense
from pytest_onnxprep.runtime import double_recurrent as recurrent
from pytest_onnxprep.runtime import double_sampling as sampling
from pytest_onnxprep.runtime import double_windows as windows
from pytest_onnxprep.runtime.double_call import Call
from pytest_onnxprep.runtime.double_control import control_operators
from pytest_onnxprep.runtime.double_rounding import GraphRounding
from pytest_onnxprep.runtime.double_types import widen_nodes

Operator = Callable[..., np.ndarray | tuple[np.ndarray, ...]]

OPERATORS: dict[tuple[str, str], Operator] = {
    # slow there
    ("", "Conv"): windows.conv,
    ("", "ConvTranspose"): windows.conv_transpose,
    ("", "MaxPool"): windows.max_pool,
    ("", "AveragePool"): windows.average_pool,
    ("", "LpPool"): windows.lp_pool,
    ("", "GlobalMaxPool"): windows.global_max_pool,
    ("", "Resize"): sampling.resize,
    ("", "Upsample"): sampling.upsample,
    ("", "GridSample"): sampling.grid_sample,
    ("", "RoiAlign"): sampling.roi_align,
    ("", "LayerNormalization"): dense.layer_normalization,
    ("", "RMSNormalization"): dense.rms_normalization,
    ("", "InstanceNormalization"): dense.instance_normalization,
    ("", "GroupNormalization"): dense.group_normalization,
    ("", "Gelu"): dense.gelu,
    ("", "Sigmoid"): dense.sigmoid,
    ("", "ScatterElements"): dense.scatter_elements,
    ("", "ScatterND"): dense.scatter_nd,
    ("", "GatherND"): dense.gather_nd,
    # float32 inside
    ("", "Erf"): dense.erf,
    ("", "AffineGrid"): sampling.affine_grid,
    ("", "DynamicQuantizeLinear"): dense.dynamic_quantize_linear,
    ("", "LinearAttention"): dense.refuse,
    ("", "CausalConvWithState"): dense.refuse,
    ("", "TfIdfVectorizer"): dense.refuse,
    # missing parts, or wrong
    ("", "LSTM"): recurrent.lstm,
    ("", "GRU"): recurrent.gru,
    ("", "RNN"): recurrent.rnn,
    ("", "GatherElements"): dense.gather_elements,
    ("", "Softmax"): dense.softmax,
    ("", "LogSoftmax"): dense.log_softmax,
    ("", "Hardmax"): dense.hardmax,
    ("", "CumSum"): dense.cum_sum,
    ("", "Elu"): dense.elu,
    ("", "LRN"): dense.lrn,
    ("", "OneHot"): dense.one_hot,
    ("", "Scatter"): dense.scatter_elements,
    # ONNX Runtime's own
    ("", "SimplifiedLayerNormalization"): dense.rms_normalization,
    ("com.microsoft", "Gelu"): dense.gelu,
    ("com.microsoft", "FastGelu"): dense.fast_gelu,
    ("com.microsoft", "BiasGelu"): dense.bias_gelu,
    ("com.microsoft", "QuickGelu"): dense.quick_gelu,
    ("com.microsoft", "FusedMatMul"): dense.fused_matmul,
    ("com.microsoft", "SkipLayerNormalization"): dense.skip_layer_normalization,
}


def make_evaluator(model: Any, weights: dict[str, np.ndarray]) -> Any:
    """An ``onnx.reference.ReferenceEvaluator`` of a widened ``ModelProto``.

    Args:
        model: its initializers left out.
        weights: the initializers.
    """
    evaluator = _evaluator_class()(model)
    evaluator.rt_inits_.update(weights)
    return evaluator


@cache
def _evaluator_class() -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    replacements = [_replacement(domain, name, function) for (domain, name), function in OPERATORS.items()]
    replacements += control_operators()

    class DoubleEvaluator(ReferenceEvaluator):
        """Hands the replacements on to functions, too, and widens those that are part of an operator's schema."""

        def __init__(self, proto: Any, *arguments: Any, **keywords: Any) -> None:
            keywords["new_ops"] = replacements
            if isinstance(proto, onnx.FunctionProto):
                copied = onnx.FunctionProto()
                copied.CopyFrom(proto)
                proto = copied
                widen_nodes(proto.node)
            super().__init__(proto, *arguments, **keywords)
            #: Rounds what the nodes of this graph return, not those of graphs and functions inside it.
            self.rounding: GraphRounding | None = None
            self._plan = [_planned(node) for node in self.rt_nodes_]

        def run(  # type: ignore[override]
            self, output_names: Any, feed_inputs: dict[str, Any], attributes: Any = None, **_: Any
        ) -> list[Any]:
            """Every node once, in order; ONNX's own loop spends more time on its log than most nodes take."""
            results = {"": None, **self.rt_inits_, **feed_inputs}
            for kind, run, inputs, outputs, is_linked, needs_context in self._plan:
                keywords = {"linked_attributes": attributes} if is_linked and attributes else {}
                if needs_context:
                    keywords["context"] = results
                values = [results[name] for name in inputs]
                rounding = self.rounding
                found = run(*values, **keywords) if rounding is None else rounding.call(kind, run, values, keywords)
                results.update(zip(outputs, found, strict=False))
            return [results[name] for name in output_names or self.output_names]

    return DoubleEvaluator


def _planned(node: Any) -> tuple[str, Callable[..., Any], list[str], list[str], bool, bool]:
    """What a node is, how to call it, and with what."""
    kind = node.onnx_node.op_type
    return kind, node.run, list(node.input), list(node.output), node.has_linked_attribute, node.need_context()


def _replacement(domain: str, name: str, function: Operator) -> Any:
    """An ``OpRun`` class that calls the function, with the defaults of the graph's own opset."""
    import onnx
    from onnx.reference.op_run import OpRun

    def set_up(self: Any, node: Any, run_params: dict[str, Any]) -> None:
        self.version = run_params["opsets"].get(domain, 1)
        try:
            schema: Any = onnx.defs.get_schema(name, self.version, domain)
        except onnx.defs.SchemaError:
            schema = SimpleNamespace(attributes={})
        OpRun.__init__(self, node, run_params, schema)

    def run(self: Any, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        plain = {key: _plain(value) for key, value in attributes.items() if value is not None}
        found = function(Call(plain, self.version, len(self.onnx_node.output)), *inputs)
        return found if isinstance(found, tuple) else (found,)

    return type(name, (OpRun,), {"op_domain": domain, "__init__": set_up, "_run": run})


def _plain(value: Any) -> Any:
    """A float attribute comes as numpy's float32, which makes float32 of what it meets."""
    if isinstance(value, np.floating):
        return float(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value
