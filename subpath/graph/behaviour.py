"""What a module or function does, found by trying it on a few numbers rather than by its name.

timm alone has some 45 norm classes and dozens of activations; a list would never be complete and
would not know a user's own. All probes run on small copies, on the CPU, without touching any
random state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any

import torch
from torch import fx, nn

from .copies import deep_copy

Probe = Callable[[torch.Tensor], Any]
_CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d


def is_normalisation(module: nn.Module) -> bool:
    """Whether ``module`` is a normalisation layer with weights or statistics of its own.

    It is one if all its own tensors are vectors over channels, its children have none or are
    normalisations too (a batch norm with a second one for a part of the batch), and its output
    does not change when a large input is scaled. So layer scale, global response normalisation,
    activations with weights and frozen batch norms are none.
    """
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if not own or not all(_holds_only_normalisations(child) for child in module.children()):
        return False
    if any(max(t.shape, default=1) != t.numel() for t in own):
        return False
    channels = max(t.numel() for t in own)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True  # SyncBatchNorm refuses to run on a CPU, so it cannot be tried
    probe = real_copy(module).float()  # the noise is in single precision
    probe.train(False)
    probe.training = True  # batch statistics, but no dropout in its children
    channels_last = (4, 3, channels), (4, 3, 3, channels), (4, channels)
    for shape in ((4, channels, 3, 3), *channels_last, (4, channels, 3)):
        x = noise(shape)
        try:
            with torch.no_grad():
                small, large = probe(x * 1e3), probe(x * 8e3)
        except Exception:  # not an input of this module; try the next layout
            continue
        if not isinstance(small, torch.Tensor) or small.shape != x.shape:
            return False
        return torch.allclose(small, large, rtol=0.02, atol=0.02) and not torch.equal(
            small, torch.zeros_like(small)
        )
    return False


def _holds_only_normalisations(module: nn.Module) -> bool:
    """Whether all tensors of ``module``, if it has any, are those of normalisation layers."""
    if [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        return is_normalisation(module)
    return all(_holds_only_normalisations(child) for child in module.children())


def is_linear_in_weight(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer or convolution whose output is linear in its weight.

    So its output with ``weight + change`` is its output and that of ``change`` alone. Groups are
    excluded, and so are layers that standardise their weight or compute it.
    """
    layer: Any = module
    if not isinstance(module, (nn.Linear, *_CONVOLUTIONS)) or "forward" in vars(module):
        return False
    if getattr(layer, "groups", 1) != 1:
        return False
    weight = module._parameters.get("weight")
    if weight is None or not weight.is_floating_point() or weight.ndim < 2:
        return False
    size, length = tuple(weight.shape[1:]), 8 * max(weight.shape[2:], default=1)
    x = noise((1, size[0], *(length for _ in size[1:]))) if size[1:] else noise((1, *size))
    one, other = noise((2, *size)), noise((3, *size))[1:]
    try:
        with torch.no_grad():
            parts = [with_weight(module, nn.Parameter(w))(x) for w in (one, other)]
            whole = with_weight(module, nn.Parameter(one + other))(x)
    except Exception:  # a forward of its own that needs more than a weight
        return False
    return isinstance(whole, torch.Tensor) and torch.allclose(whole, sum(parts), atol=1e-3)


def with_weight(module: nn.Module, weight: nn.Parameter) -> nn.Module:
    """The same layer with another weight, without a bias and without hooks.

    Args:
        module: a linear layer or a convolution without groups; it is not changed.
        weight: of the layer's dimensions but for the first, the outputs.
    """
    layer = copy.copy(module)
    empty = vars(nn.Module()).items()
    vars(layer).update({name: value for name, value in empty if "_hooks" in name})
    vars(layer)["_parameters"] = {"weight": weight, "bias": None}
    for name in {"out_features", "out_channels"} & vars(layer).keys():
        vars(layer)[name] = len(weight)
    return layer


@dataclass(frozen=True)
class Traits:
    """What one node does to one tensor.

    Attributes:
        pointwise: it maps each element on its own, without weights: an activation, an identity.
        idempotent: pointwise, and applying it twice is applying it once (ReLU, identity).
        identity: it gives its input back in eval mode (``nn.Identity``, dropout, drop-path).
    """

    pointwise: bool = False
    idempotent: bool = False
    identity: bool = False

    @property
    def activation(self) -> bool:
        """Pointwise and no identity."""
        return self.pointwise and not self.identity


def traits(node: fx.Node, modules: dict[str, nn.Module]) -> Traits:
    """Try ``node`` on a grid of values; all traits are false for what is no map of one tensor."""
    probe = _probe(node, modules)
    if probe is None:
        return Traits()
    grid = _grid()
    changed = grid.clone()
    changed.view(-1)[0] += 1.0
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whole, other = probe(grid.clone()), probe(changed)
            again = probe(whole.clone())
    except Exception:  # it does not take one plain tensor: not an activation
        return Traits()
    if not isinstance(whole, torch.Tensor) or whole.shape != grid.shape:
        return Traits()
    pointwise = torch.equal(whole.flatten()[1:], other.flatten()[1:])
    return Traits(pointwise, pointwise and torch.equal(whole, again), torch.equal(whole, grid))


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> object:
    """What nodes of the same :func:`traits` have in common; where that is not seen, the node."""
    what: object = node.target
    if node.op == "call_module":
        module = modules[str(node.target)]
        what = type(module), *_settings(module)
        if None in what:
            return node
    given = fx.node.map_arg((node.args, node.kwargs), lambda _: None)
    return node.op, what, len(node.all_input_nodes), repr(given)


def _settings(module: nn.Module) -> Iterator[tuple[str, type, object] | None]:
    """The attributes of a module that has nothing but plain ones; ``None`` for any other."""
    for name, value in vars(module).items():
        if isinstance(value, (bool, int, float, str, type, NoneType)):
            yield name, type(value), value
        elif not isinstance(value, (dict, set)) or value:
            yield None


def is_identity(module: nn.Module) -> bool:
    """Whether ``module`` holds no tensors and gives its input back in eval mode (drop-path)."""
    if any(True for _ in _tensors(module)):
        return False
    grid = _grid()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            result = deep_copy(module).eval()(grid.clone())
    except Exception:  # it does not take one plain tensor
        return False
    return isinstance(result, torch.Tensor) and torch.equal(result, grid)


def same_function(first: fx.Node, second: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether two pointwise nodes compute the same, bit for bit, on a grid of values."""
    one, two = _probe(first, modules), _probe(second, modules)
    if one is None or two is None:
        return False
    grid = _grid()
    with torch.no_grad():
        return torch.equal(one(grid.clone()), two(grid.clone()))


def _probe(node: fx.Node, modules: dict[str, nn.Module]) -> Probe | None:
    """The node as a function of the one value it takes, or ``None`` if it takes others."""
    if len(node.all_input_nodes) != 1:
        return None
    if node.op == "call_module":
        module = modules[str(node.target)]
        if any(True for _ in _tensors(module)):
            return None
        function: Any = deep_copy(module).eval()
    elif node.op == "call_method":
        function = getattr(torch.Tensor, str(node.target), None)
    else:
        function = node.target
    if not callable(function):
        return None

    def probe(x: torch.Tensor) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda _: x)
        return function(*args, **kwargs)

    return probe


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def real_copy(
    module: nn.Module, fill: Callable[[tuple[int, ...]], torch.Tensor] | None = None
) -> nn.Module:
    """A copy on the CPU, whatever device (also meta) the original is on.

    Args:
        module: what to copy.
        fill: makes the weights for each shape; ones by default.
    """
    memo: dict[int, Any] = {}
    for tensor in _tensors(module):
        if fill is None or not tensor.is_floating_point():
            real = torch.ones(tensor.shape, dtype=tensor.dtype, device="cpu")
        else:
            real = fill(tensor.shape).to("cpu", tensor.dtype)
        memo[id(tensor)] = nn.Parameter(real) if isinstance(tensor, nn.Parameter) else real
    return copy.deepcopy(module, memo)


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    """The same random numbers for each shape."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


@cache
def _grid() -> torch.Tensor:
    """Values of both signs, small and large; no two dimensions have the same size."""
    values = torch.linspace(-9.0, 9.0, 2 * 4 * 3 * 5, dtype=torch.float32, device="cpu")
    return values.reshape(2, 4, 3, 5)
