"""Every dtype, and the odd shapes: empty dims, scalars, no input at all, many outputs.

What a framework cannot write is a file made by hand. What this stack cannot run is expected to fail, with its reason:
the day it works is noticed.
"""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_zoo.jax_positioning import geodetic_with
from pytest_onnxprep import ContractViolation, ExportFailed, ParityError, TensorSpec, assert_parity, onnx_export, parity

BOTH = ["torchscript", "dynamo"]


def mlp(dtype):
    """A factory of a small network in one precision."""

    def build():
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        return layers.eval().to(getattr(torch, dtype))

    return build


def of(forward):
    """A factory of a module without weights, of ``forward(torch, *tensors)``."""

    def build():
        import torch

        class Model(torch.nn.Module):
            def forward(self, *tensors):
                return forward(torch, *tensors)

        return Model().eval()

    return build


def test_float64_that_is_single_inside(onnx_exporter):
    """jax2onnx 0.17.1 rounds to float32 for an arctangent, as ONNX Runtime has none in float64.

    suites/jax/test_geodetic.py is the form that keeps the digits.
    """
    jnp = pytest.importorskip("jax.numpy")
    model = onnx_exporter(
        lambda: geodetic_with(jnp.arctan2),
        inputs={"place": TensorSpec("float64", "fixes, 3", low=5e6, high=7e6)},
        outputs={"position": "float64[fixes, 3]"},
    )
    with pytest.raises(ParityError, match=r"'position' differs(?s:.*)layer .*turn\("):
        assert_parity(model, atol=1e-8)


@onnx_export(mlp("float64"), inputs={"x": "float64[batch, 8]"}, exporter=BOTH)
@parity()
def test_float64(onnx_model):
    assert onnx_model.describe().outputs[0].dtype == "float64"
    assert {weights.dtype for weights in onnx_model.describe().initializers} == {"float64"}


@onnx_export(mlp("float16"), inputs={"x": "float16[batch, 8]"}, exporter=BOTH)
@parity()
def test_float16(onnx_model):
    assert onnx_model.describe().outputs[0].dtype == "float16"


@pytest.mark.xfail(
    raises=ExportFailed, strict=True, reason="ONNX Runtime 1.32 has no bfloat16 kernel of Gemm on the CPU provider"
)
@onnx_export(mlp("bfloat16"), inputs={"x": "bfloat16[batch, 8]"}, exporter=BOTH)
@parity()
def test_bfloat16(onnx_model):
    assert onnx_model.describe().outputs[0].dtype == "bfloat16"


@onnx_export(of(lambda torch, x: x.float().exp().to(torch.bfloat16)), inputs={"x": "bfloat16[batch, 8]"}, exporter=BOTH)
@parity()
def test_bfloat16_at_the_ends(onnx_model):
    assert onnx_model.describe().inputs[0].dtype == onnx_model.describe().outputs[0].dtype == "bfloat16"


def test_bfloat16_branch_frozen_is_caught(onnx_exporter):
    frozen = of(lambda torch, x: x if x.float().sum() > 0 else x.float().neg().to(torch.bfloat16))
    model = onnx_exporter(frozen, inputs={"x": "bfloat16[batch, 8]"}, exporter="torchscript")
    with pytest.raises(ParityError, match="bfloat16"):
        assert_parity(model)


@onnx_export(
    of(lambda torch, x: (x.to(torch.bfloat16).float() * 2, x.half().float())),
    inputs={"x": "float32[batch, 8]"},
    exporter=BOTH,
)
@parity()
def test_bfloat16_inside(onnx_model):
    assert onnx_model.operators["Cast"] >= 4


@onnx_export(of(lambda _, x: (x + x, x * 3, -x, x.float() / 127)), inputs={"x": "int8[batch, n]"}, exporter=BOTH)
@parity()
def test_int8_wraps_around(onnx_model):
    assert [tensor.dtype for tensor in onnx_model.describe().outputs] == ["int8", "int8", "int8", "float32"]


@onnx_export(
    of(lambda _, image: (image.float() / 255 - 0.5, image.amax(dim=-1))),
    inputs={"image": "uint8[batch, h, w, 3]"},
    exporter=BOTH,
)
@parity()
def test_uint8_pictures(onnx_model):
    assert onnx_model.describe().inputs[0].dtype == "uint8"


@onnx_export(
    of(lambda torch, x, mask: (torch.where(mask, x, torch.zeros_like(x)), ~mask, mask.any(dim=1))),
    inputs={"x": "float32[batch, n]", "mask": "bool[batch, n]"},
    exporter=BOTH,
)
@parity()
def test_bool(onnx_model):
    assert [tensor.dtype for tensor in onnx_model.describe().outputs] == ["float32", "bool", "bool"]


@pytest.fixture
def vocabulary(tmp_path):
    """Looks words up, beside the words themselves; torch knows no text, TensorFlow's goes to operators of its own."""
    words = ["a", "b", "ab", "zebra", ""]
    value = helper.make_tensor_value_info
    look_up = helper.make_node(
        "LabelEncoder", ["words"], ["ids"], domain="ai.onnx.ml", keys_strings=words, values_int64s=range(5),
        default_int64=-1,
    )  # fmt: skip
    nodes = [look_up, helper.make_node("Reshape", ["words", "shape"], ["flat"])]
    graph = helper.make_graph(
        nodes,
        "vocabulary",
        [value("words", TensorProto.STRING, ["batch", "n"])],
        [value("ids", TensorProto.INT64, ["batch", "n"]), value("flat", TensorProto.STRING, [None])],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [-1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    path = tmp_path / "vocabulary.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def model(vocabulary):
    """The source of tests that name none."""
    return str(vocabulary)


@onnx_export()
@parity()
def test_strings(onnx_model):
    found = onnx_model.run({"words": np.array([["zebra", "quagga"], ["", "ab"]], dtype=object)})
    assert found["ids"].tolist() == [[3, -1], [4, 2]]
    assert found["flat"].tolist() == ["zebra", "quagga", "", "ab"]


@onnx_export(
    of(lambda torch, x: (torch.relu(x) @ torch.ones(8, 4), x.sum(), torch.cat([x, x + 1]))),
    inputs={"x": "float32[batch, 8]"},
    dims={"batch": (0, 4)},
    exporter=BOTH,
)
@parity()
def test_empty_batch(onnx_model):
    assert onnx_model.run({"x": np.zeros((0, 8), np.float32)})["output_0"].shape == (0, 4)


@onnx_export(
    of(lambda _, x: x.reshape(8, x.shape[0]) * 2),
    inputs={"x": "float32[batch, 8]"},
    dims={"batch": (0, 4)},
    exporter=BOTH,
)
@parity()
def test_empty_batch_through_reshape(onnx_model):
    # To Reshape a 0 means the size that is there, unless it is told otherwise.
    assert onnx_model.run({"x": np.zeros((0, 8), np.float32)})["output"].shape == (8, 0)


@onnx_export(
    of(lambda _, x, factor: (x * factor, factor * 2, x.sum())),
    inputs={"x": "float32[batch, 8]", "factor": "float32[]"},
    exporter=BOTH,
)
@parity()
def test_scalars(onnx_model):
    assert onnx_model.describe().inputs[1].shape == ()
    assert onnx_model.describe().outputs[1].shape == ()


@pytest.mark.parametrize(
    "convert", [lambda _, x, factor: x * float(factor), lambda _, x, factor: x * factor.item()], ids=["float", "item"]
)
def test_scalar_made_a_number_is_caught(onnx_exporter, convert):
    # torch's tracer writes the example's value into the file, and the input is gone.
    inputs = {"x": "float32[batch, 8]", "factor": "float32[]"}
    with pytest.raises(ContractViolation, match=r"file lacks factor(?s:.*)might cause the trace to be incorrect"):
        onnx_exporter(of(convert), inputs=inputs, exporter="torchscript")

    assert assert_parity(onnx_exporter(of(convert), inputs=inputs, exporter="dynamo")).verdict.value == "pass"


@pytest.mark.parametrize("exporter", BOTH)
def test_mean_of_an_empty_batch_is_caught(onnx_exporter, exporter):
    # PyTorch has no mean of nothing, ONNX Runtime gives 0: from one row on they agree.
    mean = of(lambda _, x: x.mean(dim=0))
    model = onnx_exporter(mean, inputs={"x": "float32[batch, 8]"}, dims={"batch": (0, 4)}, exporter=exporter)
    with pytest.raises(ParityError, match=r"is 0 where the framework has NaN, at batch=0"):
        assert_parity(model)

    assert (
        assert_parity(
            onnx_exporter(mean, inputs={"x": "float32[batch, 8]"}, dims={"batch": (1, 4)}, exporter=exporter)
        ).verdict.value
        == "pass"
    )


def build_prior():
    """A model that only gives: anchors, a positional table, a learned prior."""
    import torch

    class Prior(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4) / 10)

        def forward(self):
            return {"share": self.logits.softmax(-1), "table": self.logits}

    return Prior().eval()


@onnx_export(build_prior, inputs={}, exporter=BOTH)
@parity()
def test_no_input(onnx_model):
    assert onnx_model.describe().inputs == ()
    assert list(onnx_model.run({})) == ["share", "table"]


@onnx_export(
    of(lambda _, x: {f"level{index}": x[:, : index + 1] * index for index in range(60)}),
    inputs={"x": "float32[batch, 60]"},
    exporter=BOTH,
)
@parity()
def test_many_outputs(onnx_model):
    assert [tensor.name for tensor in onnx_model.describe().outputs] == [f"level{index}" for index in range(60)]


def test_outputs_in_another_order_are_caught(tmp_path, onnx_exporter):
    # Of one shape and dtype: nothing but their values tells them apart. The file was made elsewhere.
    import torch

    build = of(lambda _, x: {f"level{index}": x * index for index in range(60)})
    path, names = tmp_path / "levels.onnx", [f"level{index}" for index in range(60)]
    names[7], names[8] = names[8], names[7]
    example = (torch.ones(2, 4),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            build(),
            example,
            path,
            input_names=["x"],
            output_names=names,
            dynamic_axes={"x": {0: "batch"}},
            dynamo=False,
        )
    with pytest.raises(ContractViolation, match=r"outputs are .*level8, level7"):
        onnx_exporter(build, inputs={"x": "float32[batch, 4]"}, artifact=path)


def test_numbers_drawn_without_an_input_are_caught(onnx_exporter):
    # A model that only gives must give the same every time to be held to anything.
    model = onnx_exporter(of(lambda torch: torch.rand(3, 4)), inputs={}, exporter="torchscript")
    with pytest.raises(ParityError, match="not repeatable"):
        assert_parity(model)


INTEGERS = {"a": TensorSpec("int32", "n", low=-1000, high=1000), "b": TensorSpec("int32", "n", low=1, high=50)}


@onnx_export(
    of(lambda torch, a, b: (torch.div(a, b, rounding_mode="trunc"), a % b, a << 1, torch.bitwise_and(a, b))),
    inputs=INTEGERS,
    exporter="torchscript",
    opset=18,
)
@parity()
def test_int32_arithmetic(onnx_model):
    assert {tensor.dtype for tensor in onnx_model.describe().outputs} == {"int32"}


def test_floor_division_of_negative_integers_is_caught(onnx_exporter):
    # torch's tracer writes Div, which rounds towards zero: -7 // 2 is -4, the file says -3.
    floor = of(lambda _, a, b: a // b)
    wrong = onnx_exporter(floor, inputs=INTEGERS, exporter="torchscript", opset=18)
    with pytest.raises(ParityError, match=r"differs \(compared exactly\) by up to 1"):
        assert_parity(wrong)

    assert assert_parity(onnx_exporter(floor, inputs=INTEGERS, exporter="dynamo")).verdict.value == "pass"
