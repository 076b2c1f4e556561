"""Fourier transforms of real signals through tf2onnx."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pytest_onnxprep.errors import ExportFailed

PARTS = {
    "magnitude": tf.abs,
    "real": tf.math.real,
    "imaginary": tf.math.imag,
    "cast": lambda spectrum: tf.cast(spectrum, tf.float32),
    "reshaped": lambda spectrum: tf.abs(tf.reshape(spectrum, [-1, 1, 13])),
    "transposed": lambda spectrum: tf.math.imag(tf.transpose(spectrum)),
}


def transform(part, *, taken=24, length=None):
    """What is made of the spectrum of a signal."""

    @tf.function(input_signature=[tf.TensorSpec([None, taken], tf.float32, name="x")])
    def spectrum(x):
        return part(tf.signal.rfft(x, None if length is None else [length]))

    return spectrum


def agrees(model, taken=24):
    """With TensorFlow, on two signals."""
    feeds = {"x": np.random.default_rng(0).normal(size=(3, taken)).astype("float32")}
    (value,), (expected,) = model.run(feeds).values(), model.reference(feeds).values()
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, atol=2e-5)


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_spectrum(export, part):
    """Magnitude, real and imaginary part, through changes of shape; tf2onnx itself has the magnitude alone."""
    agrees(export(transform(PARTS[part])))


@pytest.mark.parametrize("length", [1, 9, 16, 24, 40])
def test_lengths(export, length):
    """A signal longer than the transform is cut, a shorter one is filled up with zeros; odd lengths, too."""
    agrees(export(transform(tf.math.real, length=length)))


def test_short_time_transform(export):
    """Frames of a signal, as audio models begin."""

    @tf.function(input_signature=[tf.TensorSpec([None, 200], tf.float32, name="x")])
    def spectrogram(x):
        return tf.abs(tf.signal.stft(x, 64, 32))

    agrees(export(spectrogram), 200)


def test_several_parts_of_one_spectrum(export):
    """Each consumer gets the part it takes."""
    agrees(export(transform(lambda spectrum: tf.abs(spectrum) + 2 * tf.math.real(spectrum) - tf.math.imag(spectrum))))


def test_what_cannot_be_translated_is_said(export):
    """The phase has no operator, and a signal of any length no matrix."""
    with pytest.raises(ExportFailed, match="Operators without a translation to ONNX:\n  RFFT") as caught:
        export(transform(tf.math.angle))

    assert "of a spectrum magnitude, real or imaginary part can be taken, not ['Angle']" in str(
        caught.value.result.sections
    )
