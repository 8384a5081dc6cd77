"""Running statistics of a config's own, beside the weights that all configs share.

In the state dict they are ``calibrated.<config>.<path>.running_mean`` and so on, where the path is
that of the norm in the original: buffers, and no parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from ..errors import ConversionError, SkipConfigError
from ..skip import SkipConfig
from .twins import Store

_HOME = "calibrated"
# Parts that run with such statistics lie on the root beside its registries: state dict, modes and
# parameters know them by their originals alone.
_PARTS = "_own_"


def has_statistics(module: nn.Module) -> bool:
    """Whether ``module`` keeps a running mean or variance with a momentum."""
    kept = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    return any(isinstance(value, torch.Tensor) for value in kept) and hasattr(module, "momentum")


def original_key(key: str, stages: int) -> tuple[SkipConfig, str] | None:
    """The config and the original's key that a key of the state dict is of, if it is such a key."""
    home, _, rest = key.partition(".")
    config, _, path = rest.partition(".")
    try:
        return (SkipConfig(config, stages), path) if home == _HOME and path else None
    except SkipConfigError:
        return None


def configs_in(keys: Iterable[str], stages: int) -> tuple[SkipConfig, ...]:
    """The configs that have statistics of their own among the keys of a state dict."""
    found = (original_key(key, stages) for key in keys)
    return tuple(dict.fromkeys(known[0] for known in found if known))


def own_parts(root: nn.Module, paths: Iterable[tuple[str, str]]) -> dict[str, nn.Module]:
    """Copies of modules, in eval mode, by their paths in the original.

    Parameters, hooks and buffers that are no running statistics are those of ``root``, and stay so
    when its own are replaced: the copies share the registries.
    """
    parts: dict[str, nn.Module] = {}
    for path, name in paths:
        module = root.get_submodule(path)
        memo: dict[int, Any] = {}
        for inner in module.modules():
            shared = [vars(inner)["_parameters"], *inner.parameters(recurse=False)]
            if not has_statistics(inner):
                shared += [vars(inner)["_buffers"], *inner.buffers(recurse=False)]
            memo |= {id(value): value for value in shared}
        parts[name] = copy.deepcopy(module, memo).eval()
    return parts


def install(root: nn.Module, config: str, parts: Mapping[str, nn.Module]) -> None:
    """Keep those of ``parts`` that have running statistics, for ``config``.

    Raises:
        ConversionError: ``root`` has something else under the name that they need.
    """
    home = root._modules.get(_HOME)
    if home is None and hasattr(root, _HOME):
        raise ConversionError(
            f"got a {type(root).__name__} with an attribute {_HOME!r}; expected that name to be "
            "free for the statistics of calibrated configs. Rename it"
        )
    running, kept = nn.Module().eval(), nn.Module().eval()
    for path, part in parts.items():
        normalising = {
            f"{path}.{inner}".rstrip("."): module
            for inner, module in part.named_modules()
            if has_statistics(module)
        }
        if normalising:
            _at(running, path.rpartition(".")[0]).add_module(path.rpartition(".")[2], part)
        for name, module in normalising.items():
            place = _at(kept, name)
            for registry in ("_buffers", "_non_persistent_buffers_set"):
                vars(place)[registry] = vars(module)[registry]
    if home is None:
        root.add_module(_HOME, home := Store().eval())
    vars(root)[f"{_PARTS}{config}"] = running
    home.add_module(str(config), kept)


def remove(root: nn.Module, config: str) -> None:
    """Let ``config`` run with the statistics that all share again."""
    home = root._modules[_HOME]
    assert home is not None
    del home._modules[str(config)], vars(root)[f"{_PARTS}{config}"]
    if not home._modules:
        del root._modules[_HOME]


def installed(root: nn.Module) -> tuple[str, ...]:
    """The configs with statistics of their own."""
    return tuple(name.removeprefix(_PARTS) for name in vars(root) if name.startswith(_PARTS))


def own_norms(root: nn.Module, config: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules that have statistics of the own of ``config``, by their paths."""
    for path, module in vars(root)[f"{_PARTS}{config}"].named_modules():
        if has_statistics(module):
            yield path, module


def forget(root: nn.Module, config: str) -> None:
    """Take away what ``config`` runs with, but not what the state dict knows of it."""
    del vars(root)[f"{_PARTS}{config}"]


def use_own(
    root: nn.Module, graph: fx.Graph, config: str, original: Mapping[str, str]
) -> dict[str, str]:
    """Point ``graph`` at the parts of ``config``, if it has some.

    Returns:
        The original's path of each part that the graph now calls instead.
    """
    parts = vars(root).get(f"{_PARTS}{config}")
    paths = {name for name, _ in parts.named_modules()} if parts is not None else set()
    renamed = {}
    for node in graph.find_nodes(op="call_module"):
        name = original.get(str(node.target), str(node.target))
        if name in paths:
            node.target = f"{_PARTS}{config}.{name}"
            renamed[node.target] = name
    return renamed


def _at(module: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else ():
        if name not in module._modules:
            module.add_module(name, nn.Module().eval())
        module = module.get_submodule(name)
    return module
