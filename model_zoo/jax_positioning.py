"""A satellite receiver's positions as latitude, longitude and height: what float32 cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The ellipsoid WGS 84: its half axis at the equator in metres, and its flattening.
EQUATOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563


def build_geodetic() -> Any:
    """Build Bowring's conversion from Cartesian to geodetic coordinates, a jitted function of float64.

    Source: Bowring, "Transformation from spatial to geographical coordinates", Survey Review 23 (1976), 323-327. ONNX
    Runtime has no float64 arctangent, and jax2onnx rounds to float32 on the way: a step of Newton's brings the digits
    back.

    Returns:
        a function of ``place``, float64[fixes, 3] metres from the earth's centre, to float64[fixes, 3]: degrees of
        latitude and longitude, and metres above the ellipsoid WGS 84.
    """
    return geodetic_with(corrected_angle)


def geodetic_with(turn: Callable[[Any, Any], Any]) -> Any:
    """The conversion of `build_geodetic` by a function that gives the angle of a point ``(y, x)``."""
    import jax
    import jax.numpy as jnp

    pole = EQUATOR_M * (1 - FLATTENING)
    first, second = 1 - (pole / EQUATOR_M) ** 2, (EQUATOR_M / pole) ** 2 - 1  # eccentricities, squared

    def geodetic(place: Any) -> Any:
        x, y, z = place[:, 0], place[:, 1], place[:, 2]
        across = jnp.sqrt(x * x + y * y)
        reduced = turn(z * EQUATOR_M, across * pole)
        up = z + second * pole * jnp.sin(reduced) ** 3
        latitude = turn(up, across - first * EQUATOR_M * jnp.cos(reduced) ** 3)
        sine = jnp.sin(latitude)
        bend = jnp.sqrt(1 - first * sine * sine)
        height = across * jnp.cos(latitude) + z * sine - EQUATOR_M * bend
        return jnp.stack([jnp.degrees(latitude), jnp.degrees(turn(y, x)), height], axis=1)

    return jax.jit(geodetic)


def corrected_angle(y: Any, x: Any) -> Any:
    """`jax.numpy.arctan2` with a step of Newton's: seven right digits become fourteen, and fifteen stay."""
    import jax.numpy as jnp

    angle = jnp.arctan2(y, x)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return angle + (y * cosine - x * sine) / (x * cosine + y * sine)
