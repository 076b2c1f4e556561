"""A BERT answers questions: tokenizer, model and choice of the answer, held to the library's own pipeline."""

from model_zoo.texts import build_wordpiece
from model_zoo.transformers_models import build_bert_qa
from pytest_onnxprep import latency_budget, onnx_export, parity, size_budget

ASKED = (
    ("what broke?", "the camera broke in the rain."),
    ("where was it cold?", "it was cold on the road, but the phone and the motor worked."),
    ("why?", "noise"),
)


def pairs():
    """Questions and texts as the tokenizer makes them: alone, and as a padded batch."""
    tokenizer = build_wordpiece()
    alone = [tokenizer(question, text, return_tensors="np") for question, text in ASKED]
    return [*alone, tokenizer(*map(list, zip(*ASKED, strict=True)), padding=True, return_tensors="np")]


@onnx_export(
    build_bert_qa,
    outputs={"start_logits": "float32[batch, seq]", "end_logits": "float32[batch, seq]"},
    dims={"batch": (1, 6), "seq": (1, 64)},
    samples=pairs,
    opset=17,
)
@parity(atol=1e-5, rtol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1, "seq": 32})
@size_budget(mb=0.9)
def test_bert_qa(onnx_model):
    import numpy as np

    # Read from the config: a model that answers questions is given the types of its tokens.
    assert set(onnx_model.signature.inputs) == {"input_ids", "attention_mask", "token_type_ids"}

    def answer(run, feeds):
        """The best span of the text: its words."""
        answers = run(feeds)
        text = np.flatnonzero((feeds["token_type_ids"] == 1)[0])
        score = answers["start_logits"][0][text][:, None] + answers["end_logits"][0][text][None, :]
        first, last = np.unravel_index(np.triu(score - score.min() + 1).argmax(), score.shape)
        return build_wordpiece().decode(feeds["input_ids"][0][text[first : last + 1]])

    for question, text in ASKED:
        feeds = dict(build_wordpiece()(question, text, return_tensors="np"))
        assert answer(onnx_model.run, feeds) == answer(onnx_model.reference, feeds)
