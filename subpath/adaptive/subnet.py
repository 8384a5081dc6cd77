"""One sub-network as an ordinary module."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn


def straight_module(
    root: nn.Module,
    graph: fx.Graph,
    original: Mapping[str, str],
    training: bool,
    copy_weights: bool = False,
    instead: Mapping[str, nn.Module] | None = None,
) -> fx.GraphModule:
    """The module that runs ``graph``, with the parts of ``root`` that the graph uses.

    Args:
        root: the module that owns the weights; the modes of its parts stay as they are.
        graph: a straight-line graph over paths of ``root``; its targets are changed.
        original: other names for some paths: of a twin norm, that of the norm it stands for.
        training: the mode of the new module.
        copy_weights: copy the parts instead of sharing them.
        instead: other modules for some of the original's paths.
    """
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            name = original.get(str(node.target), str(node.target))
            part = (instead or {}).get(name)
            parts[name] = root.get_submodule(str(node.target)) if part is None else part
            node.target = name
        elif node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            parts[str(node.target)] = getattr(root.get_submodule(owner), name)
    if copy_weights:
        parts = copy.deepcopy(parts)
    subnet = fx.GraphModule(parts, graph, class_name=type(root).__name__)
    kept = {id(m) for part in parts.values() if isinstance(part, nn.Module) for m in part.modules()}
    for module in subnet.modules():
        if id(module) not in kept:  # a frozen norm stays in eval mode
            module.training = training
    return subnet


def part_paths(graph: fx.Graph, original: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each module that ``graph`` calls, and its path in the original."""
    for path in dict.fromkeys(str(node.target) for node in graph.find_nodes(op="call_module")):
        yield path, original.get(path, path)
