"""More JAX models: a pytree of weights with a function, Flax linen, `lax.scan`, an Equinox mixer; from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import equinox
    import jax


def build_jax_mlp() -> Callable[[jax.Array], jax.Array]:
    """Build a perceptron with random Fourier features (Tancik et al. 2020, arXiv:2006.10739) as a function.

    `place float32[batch, 2]` to `colour float32[batch, 3]`, in 0..1: a picture as a function of where one looks.

    Returns:
        A jitted function of one array, 4 083 parameters in its closure.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(2006)
    frequencies = jnp.asarray(rng.normal(0.0, 1.0, (2, 16)).astype("float32"))
    widths = (32, 48, 48, 3)
    layers = [
        (
            jnp.asarray(rng.normal(0.0, (2 / before) ** 0.5, (before, width)).astype("float32")),
            jnp.asarray(rng.normal(0.0, 0.1, width).astype("float32")),
        )
        for before, width in pairwise(widths)
    ]

    def colour(place: jax.Array) -> jax.Array:
        angles = 2 * jnp.pi * place @ frequencies
        x = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        for kernel, bias in layers[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        kernel, bias = layers[-1]
        return jax.nn.sigmoid(x @ kernel + bias)

    return jax.jit(colour)


def build_linen_cnn() -> tuple[Any, Any]:
    """Build a picture classifier with group normalisation (Wu and He 2018, arXiv:1803.08494) in Flax linen.

    `image float32[batch, 24, 24, 1]`, channels last, to `logits float32[batch, 10]`.

    Returns:
        The pair of a `flax.linen.Module` and its variables, 24 170 parameters.
    """
    import jax
    import jax.numpy as jnp
    from flax import linen

    class GroupNormCnn(linen.Module):
        @linen.compact
        def __call__(self, image: jax.Array) -> jax.Array:
            x = image
            for width in (16, 32, 64):
                x = linen.relu(linen.GroupNorm(num_groups=4)(linen.Conv(width, (3, 3))(x)))
                if width < 64:
                    x = linen.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
            return linen.Dense(10)(linen.Dropout(0.2, deterministic=True)(x.mean(axis=(1, 2))))

    module = GroupNormCnn()
    return module, module.init(jax.random.key(1803), jnp.zeros((1, 24, 24, 1)))


def build_scan_lstm() -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Build an LSTM (Hochreiter and Schmidhuber 1997, Neural Computation 9(8)) run by `lax.scan`, states kept.

    `readings float32[batch, seq, 5]` to `states float32[batch, seq, 24]` and `alarm float32[batch]`, a probability.

    Returns:
        A jitted function of one array, 2 904 parameters in its closure.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(9735)
    width = 24
    kernel = jnp.asarray(rng.normal(0.0, (5 + width) ** -0.5, (5 + width, 4 * width)).astype("float32"))
    bias = jnp.asarray(rng.normal(0.0, 0.1, 4 * width).astype("float32"))
    head = jnp.asarray(rng.normal(0.0, 0.5, width).astype("float32"))

    def scan_lstm(readings: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(carry: tuple[jax.Array, jax.Array], reading: jax.Array) -> tuple[Any, jax.Array]:
            hidden, cell = carry
            gates = jnp.concatenate([reading, hidden], axis=-1) @ kernel + bias
            enter, keep, new, out = jnp.split(gates, 4, axis=-1)
            cell = jax.nn.sigmoid(keep + 1) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
            hidden = jax.nn.sigmoid(out) * jnp.tanh(cell)
            return (hidden, cell), hidden

        start = jnp.zeros((readings.shape[0], width))
        (hidden, _), states = jax.lax.scan(step, (start, start), readings.transpose(1, 0, 2))
        return states.transpose(1, 0, 2), jax.nn.sigmoid(hidden @ head)

    return jax.jit(scan_lstm)


def build_mlp_mixer() -> equinox.Module:
    """Build an MLP-Mixer (Tolstikhin et al. 2021, arXiv:2105.01601) of two blocks in Equinox.

    `image float32[batch, 3, 32, 32]`, channels first, to `logits float32[batch, 10]`: 16 patches of 8x8 pixels.

    Returns:
        An `equinox.Module`, 26 442 parameters.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    width, patches = 48, 16

    class Block(eqx.Module):
        across: eqx.nn.MLP
        within: eqx.nn.MLP
        norm1: eqx.nn.LayerNorm
        norm2: eqx.nn.LayerNorm

        def __init__(self, key: jax.Array) -> None:
            first, second = jax.random.split(key)
            self.across = eqx.nn.MLP(patches, patches, 32, depth=1, activation=jax.nn.gelu, key=first)
            self.within = eqx.nn.MLP(width, width, 72, depth=1, activation=jax.nn.gelu, key=second)
            self.norm1, self.norm2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = x + jax.vmap(self.across)(jax.vmap(self.norm1)(x).T).T
            return x + jax.vmap(self.within)(jax.vmap(self.norm2)(x))

    class Mixer(eqx.Module):
        stem: eqx.nn.Conv2d
        blocks: list[Block]
        norm: eqx.nn.LayerNorm
        head: eqx.nn.Linear

        def __init__(self, key: jax.Array) -> None:
            keys = jax.random.split(key, 4)
            self.stem = eqx.nn.Conv2d(3, width, 8, stride=8, key=keys[0])
            self.blocks = [Block(keys[1]), Block(keys[2])]
            self.norm = eqx.nn.LayerNorm(width)
            self.head = eqx.nn.Linear(width, 10, key=keys[3])

        def __call__(self, image: jax.Array) -> jax.Array:
            return jax.vmap(self.one)(image)

        def one(self, image: jax.Array) -> jax.Array:
            x = jnp.reshape(self.stem(image), (width, patches)).T
            for block in self.blocks:
                x = block(x)
            return self.head(jnp.mean(jax.vmap(self.norm)(x), axis=0))

    return Mixer(jax.random.key(2105))
