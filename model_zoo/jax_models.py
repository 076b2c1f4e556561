"""JAX models: a jitted function, a Flax nnx module, an Equinox module; weights from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import equinox
    import jax
    from flax import nnx

CHANNELS, HEADS = 32, 4


def build_attention() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Build a pre-norm self-attention block (Vaswani et al. 2017, arXiv:1706.03762) as a function.

    `tokens float32[batch, seq, 32]` and `mask bool[batch, seq]` (True where there is a token) to
    `float32[batch, seq, 32]`: layer normalisation, four heads, a feed-forward part with GELU, two residuals. A row
    without any token attends to all places alike.

    Returns:
        A jitted function of two arrays, 12 704 parameters in its closure.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(2017)

    def dense(inputs: int, outputs: int) -> dict[str, jax.Array]:
        kernel = rng.normal(0.0, inputs**-0.5, (inputs, outputs)).astype("float32")
        return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(rng.normal(0.0, 0.1, outputs).astype("float32"))}

    def norm() -> dict[str, jax.Array]:
        scale, bias = rng.uniform(0.7, 1.3, CHANNELS), rng.normal(0.0, 0.1, CHANNELS)
        return {"scale": jnp.asarray(scale.astype("float32")), "bias": jnp.asarray(bias.astype("float32"))}

    params = {
        "norm1": norm(),
        "query_key_value": dense(CHANNELS, 3 * CHANNELS),
        "project": dense(CHANNELS, CHANNELS),
        "norm2": norm(),
        "expand": dense(CHANNELS, 4 * CHANNELS),
        "contract": dense(4 * CHANNELS, CHANNELS),
    }

    def apply(name: str, x: jax.Array) -> jax.Array:
        return x @ params[name]["kernel"] + params[name]["bias"]

    def normalise(name: str, x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred * spread * params[name]["scale"] + params[name]["bias"]

    def attention(tokens: jax.Array, mask: jax.Array) -> jax.Array:
        batch, seq, _ = tokens.shape
        parts = apply("query_key_value", normalise("norm1", tokens)).reshape(batch, seq, 3, HEADS, CHANNELS // HEADS)
        query, key, value = (parts[:, :, index].transpose(0, 2, 1, 3) for index in range(3))
        scores = query @ key.transpose(0, 1, 3, 2) * (CHANNELS // HEADS) ** -0.5
        scores = jnp.where(mask[:, None, None, :], scores, -1e9)
        mixed = (jax.nn.softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(batch, seq, CHANNELS)
        tokens = tokens + apply("project", mixed)
        return tokens + apply("contract", jax.nn.gelu(apply("expand", normalise("norm2", tokens))))

    return jax.jit(attention)


def build_nnx_cnn() -> nnx.Module:
    """Build a picture classifier of convolutions and BatchNorm in Flax nnx (LeCun et al. 1998; no arXiv id).

    `image float32[batch, h, w, 3]`, channels last, to `float32[batch, 10]` logits; any h and w from 8 up.

    Returns:
        A `flax.nnx.Module` in eval mode, 94 762 parameters and running statistics.
    """
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    class Block(nnx.Module):
        def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
            self.conv = nnx.Conv(inputs, outputs, (3, 3), use_bias=False, rngs=rngs)
            self.norm = nnx.BatchNorm(outputs, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return nnx.relu(self.norm(self.conv(x)))

    class Cnn(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.block1 = Block(3, 32, rngs)
            self.block2 = Block(32, 64, rngs)
            self.block3 = Block(64, 128, rngs)
            self.dropout = nnx.Dropout(0.2, rngs=rngs)
            self.head = nnx.Linear(128, 10, rngs=rngs)

        def __call__(self, image: jax.Array) -> jax.Array:
            x = nnx.max_pool(self.block1(image), window_shape=(2, 2), strides=(2, 2))
            x = nnx.max_pool(self.block2(x), window_shape=(2, 2), strides=(2, 2))
            return self.head(self.dropout(self.block3(x).mean(axis=(1, 2))))

    model = Cnn(nnx.Rngs(1998))
    rng = np.random.default_rng(1998)
    for block in (model.block1, model.block2, model.block3):  # as after training: fresh ones are close to the identity
        for variable, values in (
            (block.norm.scale, rng.uniform(0.7, 1.3, block.norm.num_features)),
            (block.norm.bias, rng.normal(0.0, 0.1, block.norm.num_features)),
            (block.norm.mean, rng.normal(0.0, 0.1, block.norm.num_features)),
            (block.norm.var, rng.uniform(0.6, 1.4, block.norm.num_features)),
        ):
            variable.set_value(jnp.asarray(values.astype("float32")))
    model.eval()
    return model


def build_eqx_gru() -> equinox.Module:
    """Build a sequence classifier around a GRU (Cho et al. 2014, arXiv:1406.1078) in Equinox.

    `signal float32[batch, seq, 8]` to `float32[batch, 5]` logits: the cell runs over the steps by `lax.scan`, the batch
    by `jax.vmap`.

    Returns:
        An `equinox.Module`, 8 501 parameters.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    class Gru(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.Linear

        def __init__(self, key: jax.Array) -> None:
            first, second = jax.random.split(key)
            self.cell = eqx.nn.GRUCell(8, 48, key=first)
            self.head = eqx.nn.Linear(48, 5, key=second)

        def __call__(self, signal: jax.Array) -> jax.Array:
            return jax.vmap(self.one)(signal)

        def one(self, signal: jax.Array) -> jax.Array:
            def step(state: jax.Array, frame: jax.Array) -> tuple[jax.Array, None]:
                return self.cell(frame, state), None

            state, _ = jax.lax.scan(step, jnp.zeros(48), signal)
            return self.head(state)

    return Gru(jax.random.key(1406))
