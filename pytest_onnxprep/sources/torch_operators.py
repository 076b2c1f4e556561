"""Which functions a program in a file may call: torch's own that compute, and operators that the user registered."""

from __future__ import annotations

import re

#: torch's own namespaces that act on processes, memory, files or debuggers; others compute, or are the user's.
ACT = frozenset(
    re.findall(
        r"\w+",
        """
    prim onnx c10d _c10d_functional _c10d_functional_autograd _dtensor symm_mem fsdp rpc dist_autograd
    static_runtime _test inductor inductor_prims profiler debugprims debug_mode_ops rngprims _native export streams
    mtia bucketing _inductor_test _caffe2 caffe2 xla
    """,
    )
)
#: Operators of aten that touch files or print.
_OUTSIDE = frozenset(("from_file", "save", "load", "_print"))
#: Operators that take graphs; others of theirs call Python functions or compiled code.
_HIGHER = frozenset(
    re.findall(
        r"\w+",
        """
    _export_tracepoint associative_scan auto_functionalized auto_functionalized_v2 autograd_function_apply cond
    flex_attention hints_wrapper invoke_subgraph map map_impl out_dtype scan strict_mode tag_activation_checkpoint
    while_loop with_effects wrap wrap_activation_checkpoint wrap_with_autocast wrap_with_set_grad_enabled
    """,
    )
)
_OPERATOR = re.compile(r"torch\.ops\.([A-Za-z]\w*|_[A-Za-z]\w*)\.(\w+)(?:\.([A-Za-z]\w*))?")
#: What torch calls on sizes, and what it makes of torch.vmap and torch.func.jvp.
_PLAIN = re.compile(
    r"""
    _operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift|getitem)
    | math\.(trunc|floor|ceil|sqrt)
    | torch\.(sym_(not|int|float|ite|max|min|sqrt|sum)|_sym_sqrt)
    | torch\._functorch\.predispatch\.(lazy_load_decompositions | _add_batch_dim | _remove_batch_dim
        | _(vmap|jvp)_(in|de)crement_nesting | _(enter|exit)_dual_level | _make_dual | _unpack_dual
        | _unwrap_for_grad)
    """,
    re.VERBOSE,
)


def allowed(target: str) -> str:
    """Why a program may not call this; empty where it may."""
    if _PLAIN.fullmatch(target):
        return ""
    found = _OPERATOR.fullmatch(target)
    if not found:
        return "which is no operator that torch.export.save writes"
    namespace, name, overload = found.groups()
    if namespace == "higher_order":
        return "" if name in _HIGHER and not overload else "which may call more than a graph"
    if not overload or (name.startswith("__") and not name.endswith("__")):
        return "which is no operator that torch.export.save writes"
    if namespace in ACT or (namespace == "aten" and name in _OUTSIDE):
        return "which acts on more than tensors"
    return "" if _is_operator(namespace, name, overload) else "which is not registered here"


def _is_operator(namespace: str, name: str, overload: str) -> bool:
    """Whether somebody registered it; what `torch.ops` finds by other names is no operator."""
    import torch

    found = getattr(getattr(getattr(torch.ops, namespace), name, None), overload, None)
    return isinstance(found, torch._ops.OpOverload)
