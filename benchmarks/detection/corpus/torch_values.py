"""Special values and magnitudes: NaN, infinities, and numbers that overflow on the way."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_writing import ONNXSCRIPT, ORT, PYTORCH, bug, functional, normal, twins
from pytest_onnxprep import TensorSpec

ROWS = {"x": "float32[batch, t]"}
LENGTHS = {"batch": (1, 8), "t": (2, 32)}
NAN, INF = float("nan"), float("inf")
FINITE = "the same model, of which only finite inputs are declared"


@functional
def log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """The logarithm of a probability, from its logit."""
    return F.logsigmoid(x)


@functional
def minus_softplus(x: torch.Tensor) -> torch.Tensor:
    """The same by way of softplus."""
    return -F.softplus(-x)


@functional
def bce(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of logits."""
    return F.binary_cross_entropy_with_logits(x, y)


@functional
def stable_bce(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss written out, without a logarithm that can be of zero."""
    return (x.clamp(min=0) - x * y + torch.log(1 + torch.exp(-x.abs()))).mean()


@functional
def masked_attention(q: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
    """Attention in which a query may see nothing: a padding row."""
    return F.scaled_dot_product_attention(q, q, q, attn_mask=attn_mask)


@functional
def attention_with_self(q: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
    """Attention in which every query sees at least itself."""
    seen = attn_mask | torch.eye(6, dtype=torch.bool)
    return F.scaled_dot_product_attention(q, q, q, attn_mask=seen)


def row(*values: float) -> dict[str, np.ndarray]:
    """One row of floats."""
    return {"x": np.array([values], np.float32)}


CASES: list[Case] = [
    *twins(
        bug(
            "logsigmoid_overflows",
            "dynamo",
            model=log_sigmoid,
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/pytorch/pytorch/pull/2211",
            mechanism="log(sigmoid(x)) is minus infinity where sigmoid underflows: -100 is -inf",
            witness=lambda: row(-150.0, -100.0, 1.0),
        ),
        "minus softplus of minus x has no logarithm of zero",
        model=minus_softplus,
    ),
    *twins(
        bug(
            "bce_with_logits_overflows",
            "torchscript",
            model=bce,
            inputs={**ROWS, "y": TensorSpec("float32", "batch, t", low=0, high=1)},
            dims=LENGTHS,
            link="https://github.com/pytorch/pytorch/pull/49675",
            mechanism="the loss becomes the logarithm of a sigmoid: infinite for confident logits",
            witness=lambda: {"x": normal(2, 5, scale=200), "y": np.full((2, 5), 0.5, np.float32)},
        ),
        "the loss is written out in its stable form",
        model=stable_bce,
    ),
    *twins(
        bug(
            "logcumsumexp_underflows",
            "dynamo",
            model=functional(lambda x: torch.logcumsumexp(x, 1)),
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{ONNXSCRIPT}/pull/904",
            mechanism="only the largest element of a row is subtracted: what comes far below it is -inf",
            witness=lambda: row(-200.0, -199.0, 3.0, 1.0),
        ),
        "of the whole row nothing is lost",
        model=functional(lambda x: torch.logsumexp(x, 1)),
    ),
    *twins(
        bug(
            "softplus_threshold",
            "torchscript",
            model=functional(lambda x: F.softplus(x, threshold=2.0)),
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/onnx/onnx/issues/5226",
            mechanism="Softplus has no threshold above which it is the identity",
            witness=lambda: row(2.5, 3.0, -1.0),
        ),
        "the default threshold lies where softplus is the identity anyway",
        model=functional(lambda x: F.softplus(x)),
    ),
    *twins(
        bug(
            "attention_sees_nothing",
            "dynamo",
            model=masked_attention,
            inputs={"q": "float32[batch, 2, 6, 4]", "attn_mask": "bool[batch, 1, 6, 6]"},
            dims={"batch": (1, 4)},
            link=f"{ONNXSCRIPT}/pull/2479",
            mechanism="a query that sees nothing gets zeros in PyTorch, and the mean of all values in ONNX",
            witness=lambda: {"q": normal(1, 2, 6, 4), "attn_mask": np.arange(6)[:, None] > np.zeros((1, 1, 6, 6))},
        ),
        "every query sees itself",
        model=attention_with_self,
    ),
    *twins(
        bug(
            "sign_of_nan",
            "dynamo",
            model=functional(lambda x: torch.sign(x)),
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/41245",
            mechanism="PyTorch's sign of NaN is zero, ONNX Runtime's is NaN",
            witness=lambda: row(NAN, 1.0, -2.0),
            special_values=True,
            blame="kernel",
        ),
        FINITE,
        special_values=False,
    ),
    *twins(
        bug(
            "max_pool_of_nan",
            "torchscript",
            model=functional(lambda x: F.max_pool1d(x, 2)),
            inputs={"x": "float32[batch, 2, t]"},
            dims=LENGTHS,
            link=f"{ORT}/24819",
            mechanism="MaxPool drops NaN, PyTorch keeps it",
            witness=lambda: {"x": np.array([[[NAN, 0.0, -2.0, 1.0], [1.0, 2.0, NAN, NAN]]], np.float32)},
            special_values=True,
            blame="kernel",
        ),
        "an average keeps NaN on both sides",
        model=functional(lambda x: F.avg_pool1d(x, 2)),
    ),
    *twins(
        bug(
            "row_maximum_of_nan",
            "dynamo",
            model=functional(lambda x: x.amax(1)),
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{ORT}/10514",
            mechanism="ReduceMax keeps or drops NaN, by its position",
            witness=lambda: {"x": np.array([[1.0, NAN, 2.0], [NAN, 0.0, 3.0]], np.float32)},
            special_values=True,
            blame="kernel",
        ),
        FINITE,
        special_values=False,
    ),
    *twins(
        bug(
            "position_of_nan",
            "dynamo",
            model=functional(lambda x: x.argmax(1)),
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/apache/tvm/issues/19558",
            mechanism="PyTorch's argmax finds NaN, ONNX Runtime's only where it comes first",
            witness=lambda: row(1.0, NAN, -2.0, INF),
            special_values=True,
            blame="kernel",
        ),
        FINITE,
        special_values=False,
    ),
    *twins(
        bug(
            "gelu_of_infinity",
            "torchscript",
            model=functional(lambda x: F.gelu(x)),
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/187293",
            mechanism="PyTorch and ONNX Runtime differ in where infinity becomes NaN",
            witness=lambda: row(-INF, INF, 1.0),
            special_values=True,
            blame="kernel",
        ),
        FINITE,
        special_values=False,
    ),
]
