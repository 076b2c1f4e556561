"""What one input or output looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.shape import DimExpr, TensorType, check_dtype, parse_dim, parse_dims, parse_tensor

#: Named value recipes, plainest first (shrinking prefers earlier ones). `pytest_onnxprep.fuzz.recipes` makes them.
RECIPES: dict[str, str] = {
    "zeros": "all zeros (clipped into the declared range)",
    "ones": "all ones (clipped into the declared range)",
    "normal": "standard normal",
    "uniform": "uniform over the declared range, [-1, 1) without one",
    "integers": "uniform integers over the declared range, 0..9 without one",
    "constant": "one value throughout",
    "lowest": "the lowest integer of the declared range throughout",
    "highest": "the highest integer of the declared range throughout",
    "signed": "uniform integers in -300..300: beyond what 8 bits hold",
    "wide": "signed integers of every magnitude, up to 2**30 (2**40 in 64 bits): beyond what float32 holds exactly",
    "ends": "only the two ends of the declared range (of the dtype without one)",
    "ramp": "a monotone ramp over the elements",
    "repeated": "one row repeated along the first axis",
    "ties": "few distinct values, so that maxima and sorts have ties, and indices duplicates",
    "halves": "multiples of one half: rounding boundaries",
    "steps": "multiples of 0.1: boundaries that binary fractions miss",
    "onehot": "one element of every row is the largest, the others the smallest",
    "sparse": "nine of ten elements are zero",
    "large": "standard normal times 10: beyond clip limits and saturation",
    "huge": "standard normal times 1000",
    "small": "standard normal times 1e-3",
    "tiny": "standard normal times 1e-6: below the epsilon of normalisations",
    "denormals": "float32 denormals: standard normal times 1e-39",
    "mask": "padding mask: ones, then zeros, at least one 1 per row",
    "suffix_mask": "left padding: zeros, then ones, at least one 1 per row",
    "random_mask": "zeros and ones, at least one 1 per row",
    "padding": "padding on the right, on the left or none; at least one 1 per row",
    "bernoulli": "true and false with equal odds",
    "alternating": "true, false, true, ...",
    "words": "short strings",
    "special": "standard normal with NaN, infinities and signed zeros sprinkled in",
    "nan": "standard normal with NaN sprinkled in",
    "infinities": "standard normal with infinities sprinkled in",
}


@dataclass(frozen=True)
class TensorSpec:
    """dtype, shape and admissible values of one tensor.

    Args:
        dtype: a numpy dtype name (see `pytest_onnxprep.spec.shape.DTYPES`).
        shape: dims as text (``"batch, seq"``) or as a tuple of integers and names / expressions.
        low: smallest value, inclusive.
        high: bound above: exclusive for integers (as in ``numpy.random.Generator.integers``), inclusive for floats.
        values: where values come from: a named recipe (`RECIPES`), a list of the admissible ones, a Hypothesis
            strategy for the whole array's elements, or a callable ``f(rng, shape) -> array``.

    Raises:
        SpecError: a malformed argument.
    """

    dtype: str
    shape: Any = ()
    low: float | None = None
    high: float | None = None
    values: Any = None
    example: Any = field(default=None, compare=False)  # arrays have no truth value, and no hash

    def __post_init__(self) -> None:
        """Normalise the shape to a tuple of `DimExpr` and check every argument."""
        if not isinstance(self.dtype, str):
            raise SpecError(f"TensorSpec dtype must be a string such as 'float32', not {self.dtype!r}")
        check_dtype(self.dtype)
        object.__setattr__(self, "shape", _as_dims(self.shape))
        for name in ("low", "high"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise SpecError(f"TensorSpec {name} must be a number, not {value!r}")
        if self.low is not None and self.high is not None:
            empty = self.low >= self.high if "int" in self.dtype else self.low > self.high
            if empty:
                kind = "low < high, high left out" if "int" in self.dtype else "low <= high"
                only = f" (values=[{self.low}] for this one value)" if self.low == self.high else ""
                raise SpecError(f"TensorSpec range {self.low}..{self.high} is empty; {kind} is accepted{only}")
        self._check_limits()
        if isinstance(self.values, (list, tuple)):
            self._check_listed(self.values)
            object.__setattr__(self, "values", tuple(self.values))
        if isinstance(self.values, str) and self.values not in RECIPES:
            raise SpecError(
                f"unknown recipe {self.values!r}{closest(self.values, RECIPES)} "
                f"Accepted: {', '.join(RECIPES)}, a list of values, a Hypothesis strategy, or f(rng, shape) -> array."
            )

    def _check_listed(self, values: Sequence[Any]) -> None:
        """Refuse listed values that are not of the dtype."""
        numbers: tuple[type, ...] = (int,) if "int" in self.dtype else (int, float)
        kinds = {"string": (str, bytes), "bool": (bool,)}.get(self.dtype, numbers)
        wrong = [one for one in values if not isinstance(one, kinds) or isinstance(one, bool) != (self.dtype == "bool")]
        if wrong or not values:
            what = f"{wrong[0]!r} is none" if wrong else "there is none"
            raise SpecError(f"TensorSpec values: {what}; a list of {self.dtype} values is accepted")

    def _check_limits(self) -> None:
        """Refuse a range that the dtype cannot hold."""
        if "int" not in self.dtype:
            return
        bits = int(self.dtype.removeprefix("u").removeprefix("int"))
        first = 0 if self.dtype.startswith("u") else -(2 ** (bits - 1))
        last = 2**bits + first - 1
        low_ok = self.low is None or first <= self.low <= last
        high_ok = self.high is None or first < self.high <= last + 1
        if not (low_ok and high_ok):
            raise SpecError(
                f"TensorSpec range {self.low}..{self.high} does not fit {self.dtype}; "
                f"low in {first}..{last} and high (exclusive) in {first + 1}..{last + 1} are accepted"
            )

    @property
    def type(self) -> TensorType:
        """The dtype and the dims alone."""
        return TensorType(self.dtype, self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Named dims in order of appearance."""
        return tuple(dict.fromkeys(name for dim in self.shape for name in dim.names))

    def concrete(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape for these named sizes."""
        return tuple(dim.evaluate(sizes) for dim in self.shape)

    def __str__(self) -> str:
        return str(self.type)


def parse_tensor_spec(value: object) -> TensorSpec:
    """Read one entry of ``inputs=``: text, a `TensorSpec`, or an example array of any framework.

    Raises:
        SpecError: anything else.
    """
    if isinstance(value, TensorSpec):
        return value
    if isinstance(value, str):
        parsed = parse_tensor(value)
        return TensorSpec(parsed.dtype, parsed.dims)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _from_example(value)
    raise SpecError(
        f"{value!r} does not describe a tensor; accepted: 'float32[batch, 3]', TensorSpec(...), or an example array"
    )


def _from_example(array: Any) -> TensorSpec:
    """A static spec with the dtype, shape and value range of an example array or tensor."""
    dtype = getattr(array.dtype, "name", None) or str(array.dtype).rpartition(".")[2]
    if dtype.startswith("str") or dtype == "object":
        dtype = "string"
    if dtype not in ("string", "bool") and "int" in dtype and array.shape and 0 not in tuple(array.shape):
        # Integers are mostly indices: stay within what the example shows to be legal.
        return TensorSpec(dtype, _static(array), min(0, int(array.min())), int(array.max()) + 1, example=array)
    return TensorSpec(dtype, _static(array), example=array)


def _static(array: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in array.shape)


def _as_dims(shape: object) -> tuple[DimExpr, ...]:
    if isinstance(shape, str):
        return parse_dims(shape)
    if not isinstance(shape, Sequence):
        raise SpecError(f"TensorSpec shape must be text such as 'batch, 3' or a tuple of dims, not {shape!r}")
    dims: list[DimExpr] = []
    for dim in shape:
        if isinstance(dim, DimExpr):
            dims.append(dim)
        elif isinstance(dim, str):
            dims.append(parse_dim(dim))
        elif isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0:
            dims.append(DimExpr(dim))
        else:
            raise SpecError(f"TensorSpec dim {dim!r} must be a non-negative integer, a name or an expression")
    return tuple(dims)


#: ``f(dims, rng) -> {name: array}``: makes inputs that belong together.
Generate = Callable[[Mapping[str, int], Any], Mapping[str, Any]]
