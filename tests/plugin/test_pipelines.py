"""Pipelines, loops and ensembles as a user writes them: sound ones pass, broken ones are caught where they break."""

from __future__ import annotations

from textwrap import dedent

from pytest_onnxprep.compare.replay import load_feeds

PARTS = """
class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
    def forward(self, image):
        return torch.relu(self.conv(image))

class BranchingBackbone(Backbone):
    def forward(self, image):
        made = super().forward(image)
        return made * 2 if image.shape[2] > 12 else made

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.fc = nn.Linear(6, 4)
    def forward(self, features):
        return self.fc(features.mean((2, 3)))

class Undivided(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = Backbone(), Head()
    def forward(self, image):
        return self.head(self.backbone(image) * 0.5)

def build_backbone(): return Backbone().eval()
def build_branching(): return BranchingBackbone().eval()
def build_head(): return Head().eval()
def build_undivided(): return Undivided().eval()

def halved(features): return features * np.float32(0.5)
def label(logits): return {"label": logits.argmax(-1)}

IMAGE = {"image": "float32[batch, 3, h, w]"}
DIMS = {"batch": (1, 3), "h": (8, 20), "w": (8, 20)}
FAST = {"inputs": IMAGE, "dims": DIMS, "exporter": "torchscript", "opset": 17}
"""


def test_a_sound_pipeline_passes_all_checks(story):
    """Two exported stages and one in Python between them: export, parity, latency and size are of the whole."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, Stage(halved, export=False), build_head], reference=build_undivided),
                     **FAST)
        @parity()
        @latency_budget(p95_ms=2000, max_time_s=0.1, at={"h": 8})
        @size_budget(mb=1)
        def test_x(onnx_model):
            assert list(onnx_model.stages) == ["backbone", "head"]
            assert onnx_model.operators["Conv"] == 1 and onnx_model.operators["Gemm"] == 1
            assert onnx_model.size_bytes == sum(stage.size_bytes for stage in onnx_model.stages.values())
            feeds = {"image": np.ones((2, 3, 9, 10), "float32")}
            assert np.allclose(onnx_model.run(feeds)["output"], onnx_model.reference(feeds)["output"], atol=1e-5)
            """
        )
    )

    others = {record["verdict"] for record in outcome.records.values() if record["check"] != "latency"}
    assert others == {"pass"}
    assert outcome.verdict("latency") in ("pass", "inconclusive")  # as busy as the machine is
    assert next(iter(outcome.verdicts)) == "test_x[torchscript-opset17-export]"
    parity = outcome.one("parity")["figures"]
    assert set(parity["parts"]) == {"backbone", "head"}
    assert {joint["stage"]: joint["input"] for joint in parity["joints"]} == {
        "backbone": "image",
        "halved": "features",
        "head": "features",
    }
    assert set(outcome.one("latency")["figures"]["parts_p50_ms"]) == {"backbone", "head"}


def test_a_broken_stage_is_named_with_the_sizes_of_the_whole(story):
    """A branch that the tracer froze fails in its own stage, though the answer of the whole hides it."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([Stage(build_branching, name="eyes"), build_head, Stage(label, export=False)]), **FAST)
        @parity()
        def test_x(onnx_model): ...
            """
        )
    )

    failed = outcome.one("parity")
    assert failed["verdict"] == "fail"
    assert failed["figures"]["part"] == "eyes"
    assert failed["summary"].startswith("stage 'eyes': ")
    assert failed["figures"]["minimal"]["dims"]["h"] == 13
    assert failed["figures"]["boundary"][0].startswith("every h from 13 on")
    assert failed["figures"]["blame"] == "converter"


def test_a_wrong_split_is_told_from_a_wrong_conversion(story):
    """Stages that agree with their frameworks but are not the undivided model fail as that."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, build_head], reference=build_undivided), **FAST)
        @parity()
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("parity") == "fail"
    assert "the pipeline is not its reference: in their own frameworks the parts differ as well" in outcome.text
    assert "parts against reference" in outcome.text
    (kept,) = (story.path / ".onnxprep" / "replay").glob("*/feeds.npz")
    assert f"its inputs are {kept.relative_to(story.path)}" in outcome.text
    assert load_feeds(kept)["image"].shape[1] == 3


def test_values_outside_a_declared_joint_fail_the_export(story):
    """The range that a stage was declared to take is held to what the stage before it gives."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, Stage(build_head,
            inputs={"features": TensorSpec("float32", "batch, 6, rows, columns", low=0, high=0.5)})]), **FAST)
        @parity()
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.one("export")["verdict"] == "fail"
    assert "joint broken: head.features at" in outcome.one("export")["summary"]
    assert "declared high=0.5" in outcome.text


def test_a_joint_of_another_dtype_or_rank_fails_the_export(story):
    """Data type and rank are compared with the declaration, and all breaches are listed."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone,
            Stage(build_head, inputs={"features": "float64[batch, 6, rows, columns]"})]), **FAST)
        def test_dtype(onnx_model): ...

        @onnx_export(Pipeline([build_backbone, Stage(build_head, inputs={"features": "float32[batch, 6]"})]), **FAST)
        def test_rank(onnx_model): ...
            """
        )
    )

    assert set(outcome.verdicts.values()) == {"fail"}
    assert "is float32, declared float64[batch, 6, rows, columns]" in outcome.text
    assert "declared float32[batch, 6]" in outcome.text


def test_a_joint_nobody_feeds_is_an_error_with_a_way_out(story):
    """An input that no stage gives names what there is, and how to map it."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, Stage(build_head, takes={"features": "backbone.feature"})]), **FAST)
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("export") == "error"
    assert "stage 'head' takes 'backbone.feature', which no input and no earlier stage gives" in outcome.text
    assert "takes={'backbone.feature': '<one of these>'}" in outcome.text


def test_a_function_without_export_false_is_told_what_it_needs(story):
    """A plain function among the stages is an error that names `Stage(function, export=False)`."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, build_head, label]), **FAST)
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("export") == "error"
    assert "stage 'label'" in outcome.text
    assert "Stage(function, export=False)" in outcome.text


STEP = """
class Step(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.mix, self.out = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9)
    def forward(self, token, cache):
        cache = torch.cat([cache, self.embed(token)[:, None]], 1)
        weights = torch.softmax((self.mix(cache) * cache[:, -1:]).sum(-1), -1)
        return self.out((weights[..., None] * cache).sum(1)), cache

class FrozenStep(Step):
    def forward(self, token, cache):
        kept = cache if cache.shape[1] < 5 else cache[:, -2:]
        return super().forward(token, kept)

def build_step(): return Step().eval()
def build_frozen(): return FrozenStep().eval()

def begin(values):
    return {"token": values["first"], "cache": np.zeros((len(values["first"]), 0, 8), "float32")}

def greedy(outputs, inputs):
    return {"token": outputs["logits"].argmax(-1), "cache": outputs["cache"]}

def decoder(build, steps):
    loop = Loop(Stage(build, name="step", outputs=["logits", "cache"]), start=begin, feedback=greedy, max_steps=steps,
                until=lambda outputs: (outputs["logits"].argmax(-1) == 0).all(), collect={"logits": "logits"})
    return Pipeline([loop, Stage(lambda logits: {"tokens": logits.argmax(-1)}, name="tokens", export=False)])

FIRST = {"inputs": {"first": TensorSpec("int64", "batch", low=1, high=9)}, "dims": {"batch": (1, 3)}}
"""


def test_a_decoder_is_called_step_by_step_with_its_cache(story):
    """The body is exported once, with a dynamic cache, and its tokens are the framework's."""
    outcome = story(
        STEP
        + dedent(
            """
        @onnx_export(decoder(build_step, 6), exporter="torchscript", opset=17, **FIRST)
        @parity(metrics={"tokens": 1.0})
        def test_x(onnx_model):
            step = onnx_model.stages["step"]
            shapes = {value.name: value.shape for value in step.session.get_inputs()}
            assert shapes == {"token": ["batch"], "cache": ["batch", "cache_1", 8]}
            tokens = onnx_model.run({"first": np.array([3, 4])})["tokens"]
            assert tokens.shape[0] == 2 and 1 <= tokens.shape[1] <= 6
            """
        )
    )

    assert set(outcome.verdicts.values()) == {"pass"}, outcome.text
    assert outcome.one("parity")["figures"]["metrics"] == {"tokens": 1.0}


def test_a_step_that_froze_a_branch_over_the_cache_is_caught(story):
    """What only a later step reaches is reached: the steps of the loop are what the body is checked on."""
    outcome = story(
        STEP
        + dedent(
            """
        @onnx_export(decoder(build_frozen, 9), exporter="torchscript", opset=17, **FIRST)
        @parity(metrics={"tokens": 1.0}, max_examples=60)
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("parity") == "fail"
    assert outcome.one("parity")["figures"]["part"] == "step"


MEMBERS = """
class Member(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(4, 3)
    def forward(self, x):
        return self.fc(x)

class Bent(Member):
    def forward(self, x):
        return super().forward(x) + (1 if x.shape[0] > 4 else 0)

class Mean(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.members, self.weights = nn.ModuleList([Member(1), Member(2)]), weights
    def forward(self, x):
        return sum(weight * member(x) for weight, member in zip(self.weights, self.members))

def member(seed): return Stage(lambda: Member(seed).eval(), name=f"m{seed}")
FAST = {"inputs": X, "exporter": "torchscript", "opset": 17}
"""


def test_ensembles_vote_and_average(story):
    """The combined answer is the framework's combined answer, and the user's own ensemble's."""
    outcome = story(
        MEMBERS
        + dedent(
            """
        @onnx_export(Ensemble([member(1), member(2), member(3)], combine="vote"), **FAST)
        @parity()
        def test_vote(onnx_model):
            assert onnx_model.run({"x": np.ones((5, 4), "float32")})["output"].shape == (5,)

        MEAN = lambda: Mean([0.75, 0.25]).eval()
        @onnx_export(Ensemble([member(1), member(2)], weights=[3, 1], reference=MEAN), **FAST)
        @parity()
        @size_budget(mb=1)
        def test_mean(onnx_model):
            assert list(onnx_model.members) == ["m1", "m2"]
            """
        )
    )

    assert set(outcome.verdicts.values()) == {"pass"}, outcome.text


def test_broken_members_and_broken_combinations_are_told_apart(story):
    """A member that converts badly is named; a combination that is not the reference's is the whole's failure."""
    outcome = story(
        MEMBERS
        + dedent(
            """
        @onnx_export(Ensemble([member(1), Stage(lambda: Bent(2).eval(), name="bent")]), **FAST)
        @parity()
        def test_member(onnx_model): ...

        MEAN = lambda: Mean([0.75, 0.25]).eval()
        @onnx_export(Ensemble([member(1), member(2)], weights=[1, 3], reference=MEAN), **FAST)
        @parity()
        def test_combination(onnx_model): ...
            """
        ),
        "-m",
        "parity",
    )

    summaries = {name.partition("[")[0]: record["summary"] for name, record in outcome.records.items()}
    assert summaries["test_member"].startswith("member 'bent': ")
    assert "the ensemble is not its reference" in summaries["test_combination"]


def test_budgets_are_of_all_files(story):
    """A size budget counts every stage, and says which of them takes the room."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, build_head]), **FAST)
        @size_budget(mb=0.0001)
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("size") == "fail"
    assert "backbone: model.onnx" in outcome.text
    assert "backbone: model.conv.weight" in outcome.text


def test_a_pipeline_has_no_file_of_its_own(story):
    """Asking it for one says where the files are."""
    outcome = story(
        PARTS
        + dedent(
            """
        @onnx_export(Pipeline([build_backbone, build_head]), **FAST)
        def test_x(onnx_model):
            with pytest.raises(OnnxPrepError, match=r"onnx_model.stages\\['backbone'\\].path"):
                onnx_model.path
            """
        )
    )

    assert outcome.verdict("export") == "pass", outcome.text


DETECTOR = """
class Detector(nn.Module):
    def __init__(self, offset=0.0):
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.offset = nn.Conv2d(3, 6, 3, 4, 1), offset
    def forward(self, image):
        found = self.conv(image).flatten(2).transpose(1, 2)[0]
        corner = found[:, :2] * 10 + self.offset
        return {"boxes": torch.cat([corner, corner + 6 + found[:, 2:4].abs()], 1), "scores": found[:, 4:].sigmoid()}

def best(boxes, scores):
    order = np.argsort(-scores.max(-1), kind="stable")[:5]
    return {"boxes": boxes[order], "scores": scores.max(-1)[order], "labels": scores.argmax(-1)[order]}

class Whole(nn.Module):
    def __init__(self, offset):
        super().__init__()
        self.detector = Detector(offset)
    def forward(self, image):
        found = self.detector(image)
        score, label = found["scores"].max(-1)
        score, order = score.topk(5)
        return {"boxes": found["boxes"][order], "scores": score, "labels": label[order]}

FAST = {"inputs": {"image": TensorSpec("float32", "1, 3, h, w", low=0, high=1)}, "dims": {"h": (12, 24), "w": (12, 24)},
        "exporter": "torchscript", "opset": 17}
def detector(offset):
    return Pipeline([lambda: Detector().eval(), Stage(best, export=False)], reference=lambda: Whole(offset).eval())
"""


def test_detections_are_compared_by_what_is_found(story):
    """Boxes that moved by a pixel fall below the overlap asked for; the tensors' own order is not asked about."""
    outcome = story(
        DETECTOR
        + dedent(
            """
            @onnx_export(detector(0.0), **FAST)
            @parity(metrics={"iou": 0.99})
            def test_sound(onnx_model): ...

            @onnx_export(detector(1.0), **FAST)
            @parity(metrics={"iou": 0.99})
            def test_moved(onnx_model): ...

            def none(boxes, scores): return {"boxes": boxes[:0], "scores": scores[:0, 0]}

            @onnx_export(Pipeline([lambda: Detector().eval(), Stage(none, export=False)]), **FAST)
            @parity(metrics={"iou": 0.99})
            def test_empty(onnx_model): ...
            """
        ),
        "-m",
        "parity",
    )

    found = {name.partition("[")[0]: record for name, record in outcome.records.items()}
    assert found["test_sound"]["verdict"] == "pass", outcome.text
    assert found["test_sound"]["figures"]["metrics"]["iou"] > 0.99
    assert found["test_moved"]["verdict"] == "fail"
    assert found["test_sound"]["figures"]["compared"]["iou"] >= 5
    assert found["test_empty"]["verdict"] == "inconclusive"
    assert "found nothing in any of" in found["test_empty"]["summary"]
    assert "'boxes': iou 0." in found["test_moved"]["summary"]
    assert "the pipeline is not its reference" in found["test_moved"]["summary"]


TOWERS = """
class Tower(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(4, 3)
    def forward(self, x):
        return torch.nn.functional.normalize(self.fc(x), dim=-1)

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = Tower(1), Tower(2)
    def forward(self, picture, text):
        return self.left(picture) @ self.right(text).T

def similarity(a, b): return a @ b.T

def towers(left, right):
    return Pipeline([
        Stage(lambda: Tower(1).eval(), name="left", takes={"x": left}, outputs=["a"]),
        Stage(lambda: Tower(2).eval(), name="right", takes={"x": right}, outputs=["b"]),
        Stage(similarity, export=False, takes=["left.a", "right.b"]),
    ], reference=lambda: Both().eval())

FAST = {"inputs": {"picture": "float32[n, 4]", "text": "float32[m, 4]"}, "exporter": "torchscript", "opset": 17}
"""


def test_joints_that_were_swapped_are_found_by_the_reference(story):
    """Two inputs of one dtype and shape fit either way; only the undivided model knows which is which."""
    outcome = story(
        TOWERS
        + dedent(
            """
            @onnx_export(towers("picture", "text"), **FAST)
            @parity()
            def test_sound(onnx_model):
                assert list(onnx_model.signature.inputs) == ["picture", "text"]

            @onnx_export(towers("text", "picture"), **FAST)
            @parity()
            def test_swapped(onnx_model): ...
            """
        ),
    )

    found = {name: record["verdict"] for name, record in outcome.records.items()}
    assert found["test_sound[torchscript-opset17-parity]"] == "pass", outcome.text
    assert found["test_swapped[torchscript-opset17-parity]"] == "fail"
    assert "the pipeline is not its reference" in outcome.text


def test_files_made_elsewhere_are_stages(story):
    """An ONNX file takes part as it is, beside a stage that is exported."""
    outcome = story(
        PARTS
        + dedent(
            """
            def test_x(onnx_exporter):
                made = onnx_exporter(build_backbone, **FAST)
                whole = lambda: nn.Sequential(build_backbone(), build_head())
                pipeline = Pipeline([str(made.path), build_head], reference=whole)
                whole = onnx_exporter(pipeline, **FAST)
                assert assert_parity(whole, max_examples=8).figures["parts"]["head"]["verdict"] == "pass"
                assert measure_latency(whole, max_time_s=0.05).figures["p50_ms"] > 0
            """
        )
    )

    outcome.result.assert_outcomes(passed=1)


def test_a_file_made_elsewhere_may_have_sizes_of_its_own(story):
    """An ONNX file behind a stage, of a size that no dim of the pipeline explains."""
    outcome = story(
        PARTS
        + dedent(
            """
            class Long(nn.Module):
                def forward(self, image):
                    return {"found": image[image > 0.5]}

            class Doubled(nn.Module):
                def forward(self, found):
                    return {"twice": found * 2}

            def test_x(onnx_exporter):
                found = {"found": "float32[n]"}
                made = onnx_exporter(Doubled, inputs=found, exporter="torchscript", opset=17)
                whole = onnx_exporter(Pipeline([Long, Stage(str(made.path), inputs=found)]), **FAST)
                assert assert_parity(whole, max_examples=8).verdict.value == "pass"
            """
        )
    )

    outcome.result.assert_outcomes(passed=1)
