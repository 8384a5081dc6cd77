"""What an output is, part by part, and so how base-net and super-net are compared on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SubpathError
from .losses import logits_loss, mean_over_places

Comparison = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
"""``(base, super_, mask, temperature)`` to a scalar; ``super_`` is a constant."""


@dataclass(frozen=True)
class Classes:
    """Logits of classes: ``T^2 KL(super || base)`` at each place, and its mean over the places.

    Attributes:
        dim: where the classes are: 1 in ``(batch, classes)`` and ``(batch, classes, rows,
            columns)``, -1 in ``(batch, tokens, vocabulary)``.
    """

    dim: int = 1

    def __call__(
        self, base: Tensor, super_: Tensor, mask: Tensor | None, temperature: float
    ) -> Tensor:
        """The divergence in nats a place."""
        return logits_loss(base, super_, temperature, dim=self.dim, mask=mask)


@dataclass(frozen=True)
class Embedding:
    """Vectors whose direction counts: one minus their cosine, and its mean over the places.

    Attributes:
        dim: where the components are.
    """

    dim: int = -1

    def __call__(
        self, base: Tensor, super_: Tensor, mask: Tensor | None, temperature: float
    ) -> Tensor:
        """The mean of ``1 - cos``, from 0 to 2; the temperature has no part in it."""
        precision = torch.promote_types(base.dtype, torch.float32)
        cosine = F.cosine_similarity(base.to(precision), super_.to(precision), dim=self.dim)
        return mean_over_places(1 - cosine, mask)


@dataclass(frozen=True)
class Values:
    """Numbers: boxes, depths, noise. The mean of their absolute or squared differences.

    Attributes:
        norm: ``"l1"`` or ``"l2"``.
        dim: where the numbers of one place are, if it has several; a mask has no such dimension.
    """

    norm: Literal["l1", "l2"] = "l2"
    dim: int | None = None

    def __call__(
        self, base: Tensor, super_: Tensor, mask: Tensor | None, temperature: float
    ) -> Tensor:
        """The mean difference; the temperature has no part in it."""
        precision = torch.promote_types(base.dtype, torch.float32)
        difference = base.to(precision) - super_.to(precision)
        far = difference.abs() if self.norm == "l1" else difference.square()
        return mean_over_places(far if self.dim is None else far.mean(self.dim), mask)


@dataclass(frozen=True)
class Outputs:
    """How each part of an output is compared; parts that are not named are not.

    Attributes:
        parts: a comparison for each name. The name of a part is its key, its number in a tuple, or
            both with dots between (``"heads.0"``); that of an output that is a tensor is ``""``.
            Own functions ``(base, super_, mask, temperature) -> scalar`` are comparisons too.
        weights: of the parts; 1 where nothing is said.

    Example: ``Outputs({"logits": Classes(dim=-1)})`` for a language model of transformers.
    """

    parts: Mapping[str, Comparison]
    weights: Mapping[str, float] | None = None

    def loss(
        self, base: Any, super_: Any, temperature: float = 1.0, mask: Tensor | None = None
    ) -> Tensor:
        """The weighted sum over the parts.

        Args:
            base: the base-net's output; gradients flow into it.
            super_: the super-net's, of the same form; taken as a constant.
            temperature: ``T`` of classes.
            mask: true at the places that count; of a part's shape without its classes.

        Raises:
            SubpathError: a part is not there, or the two differ in shape.
        """
        here, there = dict(tensors(base)), dict(tensors(super_))
        self.check(there)
        terms = []
        for name, compare in self.parts.items():
            if name not in here or here[name].shape != there[name].shape:
                got = tuple(here[name].shape) if name in here else "nothing"
                raise SubpathError(
                    f"got {got} (base-net) and {tuple(there[name].shape)} (super-net) for the "
                    f"output {name!r}; expected the same shape"
                )
            weight = (self.weights or {}).get(name, 1.0)
            terms.append(weight * compare(here[name], there[name].detach(), mask, temperature))
        if not terms:
            return next(iter(here.values())).new_zeros(())
        return torch.stack(terms).sum()

    def check(self, output: Any) -> None:
        """Raise SubpathError if ``output`` lacks a part that is named."""
        names = [name for name, _ in tensors(output)]
        missing = [name for name in (*self.parts, *(self.weights or ())) if name not in names]
        if missing:
            raise SubpathError(
                f"got no output {', '.join(map(repr, missing))}; expected names among "
                f"{', '.join(map(repr, names)) or 'none: the output holds no tensor'}"
            )


EMBEDDINGS = {"last_hidden_state", "pooler_output", "image_embeds", "text_embeds"}
NOT_COMPARED = {"loss", "past_key_values", "hidden_states", "attentions", "cross_attentions"}


def outputs_of(output: Any) -> Outputs:
    """What an output is, where its names and shapes leave no doubt.

    Tensors of shape ``(batch, classes)`` are logits if they are the whole output, heads of a tuple
    (which count as their mean) or named ``logits``. ``pred_boxes`` are values (L1);
    ``last_hidden_state`` and the like are embeddings; scalars are losses and not compared, nor are
    ``hidden_states``, ``attentions`` and caches.

    Raises:
        SubpathError: a part could be several things, as any other of three dimensions or more.
    """
    found: dict[str, Comparison] = {}
    heads = 0
    for name, tensor in tensors(output):
        first, _, last = name.rpartition(".")
        if tensor.dim() == 0 or {name.partition(".")[0], last} & NOT_COMPARED:
            continue
        if last in EMBEDDINGS:
            found[name] = Embedding()
        elif last == "pred_boxes":
            found[name] = Values("l1", dim=-1)
        elif tensor.dim() == 2 and tensor.shape[1] > 1 and _holds_classes(first, last):
            found[name] = Classes()
            heads += last != "logits"
        else:
            raise SubpathError(_ambiguous(name, tensor))
    weights = {n: 1 / heads for n, how in found.items() if heads > 1 and how == Classes()}
    return Outputs(found, weights)


def tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The floating tensors of an output, with their names."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield name, output
        return
    parts: Any = ()
    if isinstance(output, Mapping):
        parts = output.items()
    elif isinstance(output, (tuple, list)):
        parts = enumerate(output)
    for key, part in parts:
        yield from tensors(part, f"{name}.{key}" if name else str(key))


def detached(output: Any) -> Any:
    """An output's tensors without their graph, in tuples and dicts; what else it holds is left out.

    A cache would keep the graph alive through the second pass.
    """
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, Mapping):
        parts = {key: detached(part) for key, part in output.items()}
        return {key: part for key, part in parts.items() if part is not None}
    if isinstance(output, (tuple, list)):
        return tuple(detached(part) for part in output)
    return None


def _holds_classes(parent: str, last: str) -> bool:
    return last == "logits" or (not parent and (not last or last.isdigit()))


def _ambiguous(name: str, tensor: Tensor) -> str:
    return (
        f"got an output {name!r} of shape {tuple(tensor.shape)}, which could be several things; "
        "expected to be told what it is: outputs=Outputs({"
        f"{name!r}: ...}}) with Classes(dim=-1) for logits of tokens, Classes(dim=1) for logits of "
        "pixels, Embedding() for vectors or Values() for numbers; parts that are not named are not "
        "compared"
    )
