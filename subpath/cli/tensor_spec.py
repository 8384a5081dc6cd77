"""Tensors in JSON: a shape, or an object with a shape and what is in the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SubpathError

if TYPE_CHECKING:
    import torch

WHOLE = ("int64", "int32", "int16", "int8", "uint8")
DTYPES = ("float32", "float16", "bfloat16", "float64", *WHOLE, "bool")
KEYS = ("shape", "dtype", "low", "high", "value")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor in words.

    Attributes:
        shape: of the tensor, with the batch.
        dtype: its name in torch; ``None`` for the floating type of the network's weights.
        low: the smallest number in it; default 0.
        high: all numbers in it are smaller; default: ``low + 2`` for whole numbers, else
            ``low + 1``.
        value: all its numbers, instead. Floats of which nothing is said are normal noise.
    """

    shape: tuple[int, ...]
    dtype: str | None = None
    low: float | None = None
    high: float | None = None
    value: float | bool | None = None

    def make(self, floating: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """The tensor; ``floating`` is its type if it has none of its own."""
        import torch

        dtype: torch.dtype = floating if self.dtype is None else getattr(torch, self.dtype)
        if self.value is not None:
            return torch.full(self.shape, self.value, dtype=dtype)
        low = self.low or 0
        if self.dtype in (*WHOLE, "bool"):
            high = low + 2 if self.high is None else self.high
            return torch.randint(int(low), int(high), self.shape, generator=generator).to(dtype)
        if (self.low, self.high) == (None, None):
            return torch.randn(self.shape, generator=generator).to(dtype)
        high = low + 1 if self.high is None else self.high
        return (low + (high - low) * torch.rand(self.shape, generator=generator)).to(dtype)


def parse_value(value: Any, path: str = "") -> Any:
    """JSON with a :class:`TensorSpec` in the place of each shape and description of a tensor.

    Args:
        value: what JSON became; numbers, words and ``null`` on their own stay as they are.
        path: where it stands, for errors.

    Raises:
        SubpathError: a tensor is described wrongly.
    """
    if isinstance(value, list):
        if value and all(_is_whole(item) for item in value):
            return TensorSpec(_shape(value, path))
        return [parse_value(item, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, dict):
        if _describes(value):
            return _spec(value, path)
        return {key: parse_value(v, f"{path}.{key}" if path else key) for key, v in value.items()}
    return value


def make_value(value: Any, floating: torch.dtype, generator: torch.Generator) -> Any:
    """The same with tensors in the place of specs."""
    if isinstance(value, TensorSpec):
        return value.make(floating, generator)
    if isinstance(value, dict):
        return {key: make_value(item, floating, generator) for key, item in value.items()}
    if isinstance(value, list):
        return [make_value(item, floating, generator) for item in value]
    return value


def _describes(value: Mapping[str, Any]) -> bool:
    """Whether it is one tensor: it has a shape, or nothing but the keys of one that lacks it."""
    if "shape" in value:
        return True
    nested = any(isinstance(item, (list, dict)) for item in value.values())
    return bool(value) and value.keys() <= set(KEYS) and not nested


def _spec(value: Mapping[str, Any], path: str) -> TensorSpec:
    others = [key for key in value if key not in KEYS]
    if others:
        raise _wrong(path, f"the key {', '.join(others)}", f"only {', '.join(KEYS)}")
    dtype = value.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise _wrong(path, f"the dtype {dtype!r}", f"one of {', '.join(DTYPES)}")
    shape = _shape(value.get("shape"), path)
    spec = TensorSpec(shape, **{key: value[key] for key in KEYS[1:] if key in value})
    _check_numbers(spec, path)
    return spec


def _check_numbers(spec: TensorSpec, path: str) -> None:
    given = {"low": spec.low, "high": spec.high, "value": spec.value}
    said = {key: number for key, number in given.items() if number is not None}
    if "value" in said and len(said) > 1:
        raise _wrong(path, ", ".join(said), "value alone, or low and high")
    for key, number in said.items():
        if spec.dtype == "bool":
            if key != "value" or not isinstance(number, bool):
                raise _wrong(path, f"{key} {number!r} for bool", "value true or value false")
        elif spec.dtype in WHOLE:
            if not _is_whole(number):
                raise _wrong(path, f"{key} {number!r} for {spec.dtype}", "a whole number")
        elif not _is_whole(number) and not isinstance(number, float):
            raise _wrong(path, f"{key} {number!r}", "a number")
    low = spec.low or 0
    if spec.high is not None and low >= spec.high:
        raise _wrong(path, f"low {low} and high {spec.high}", "low below high")


def _shape(value: Any, path: str) -> tuple[int, ...]:
    if isinstance(value, list) and all(_is_whole(n) and n > 0 for n in value):
        return tuple(value)
    got = "no shape" if value is None else f"the shape {value!r}"
    raise _wrong(path, got, "positive numbers in a list, for example [2, 3, 224, 224]")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(path: str, got: str, expected: str) -> SubpathError:
    place = f" for {path}" if path else ""
    return SubpathError(f"got --input with {got}{place}; expected {expected}")
