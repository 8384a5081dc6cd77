"""What a block hands back when it is skipped in place: of its arguments, each in its place.

A block that is run in place is one call of one module. Skipped, it returns what it was given, in
the form in which it would have returned its result: a tuple stays a tuple, a cache the same cache.
The form is a template of nested tuples, plain enough to be written as JSON::

    ("input", "hidden_states")          the argument of that name; more keys lead into it
    ("value", None)                     a constant
    ("tuple", template, ...)            also "list"; ("dict", (key, template), ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from .calls import Block, CallTree
from .tensors import Place, leaves
from .trace import Call, Handed

Template = tuple[Any, ...]
_CONSTANTS = (bool, int, float, str, type(None))


def is_template(value: Any) -> bool:
    """Whether ``value`` (lists for tuples, as JSON has them) is a template."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    kind, *rest = value
    if kind == "input":
        return bool(rest) and all(isinstance(key, (str, int)) for key in rest)
    if kind == "value":
        return len(rest) == 1 and isinstance(rest[0], _CONSTANTS)
    if kind == "dict":
        pairs = [item for item in rest if isinstance(item, (list, tuple)) and len(item) == 2]
        named = all(isinstance(key, str) and is_template(inner) for key, inner in pairs)
        return named and len(pairs) == len(rest)
    return kind in ("tuple", "list") and all(map(is_template, rest))


class UnhandableError(Exception):
    """A block that cannot be skipped in place, with the reason."""


def call_of(tree: CallTree, block: Block) -> Call:
    """The call that ``block`` is.

    Raises:
        UnhandableError: it is no single call, or leaves a part of itself when it is skipped.
    """
    for call, other in tree.removable.items():
        if other.nodes == block.nodes and call in tree.residual.traced.handed:
            return call
    raise UnhandableError(
        "it leaves a norm or a layer of its own on the shortcut"
        if any(other.nodes == block.nodes for other in tree.reducible.values())
        else "it is no call of one module"
    )


def which_call(tree: CallTree, call: Call) -> int | None:
    """Which call of its module it is, from 0; ``None`` if it is the only one."""
    handed = tree.residual.traced.handed
    numbers = sorted(other.number for other in handed if other.path == call.path)
    return numbers.index(call.number) if len(numbers) > 1 else None


def template(tree: CallTree, block: Block) -> Template:
    """What ``block`` hands back when it is skipped.

    Raises:
        UnhandableError: something of it is none of its inputs.
    """
    handed = tree.residual.traced.handed[call_of(tree, block)]
    if not all(path.exact for path in block.paths):
        raise UnhandableError("a scale or an activation stays on its shortcut")
    return _Template(tree, block, handed).of(handed.result)


def output_place(tree: CallTree, call: Call, end: fx.Node) -> Place:
    """Where in the result of ``call`` the tensor of node ``end`` lies."""
    handed = tree.residual.traced.handed[call]
    places = (p for p, leaf in leaves(handed.result) if handed.nodes.get(id(leaf)) is end)
    return next(places, ())


class _Template:
    def __init__(self, tree: CallTree, block: Block, handed: Handed) -> None:
        self._tree, self._block, self._handed = tree, block, handed
        self._starts: Mapping[fx.Node, fx.Node] = {p.end: p.start for p in block.paths}

    def of(self, value: Any) -> Template:
        if isinstance(value, torch.Tensor):
            return self._tensor(self._handed.nodes[id(value)])
        if type(value) in (tuple, list):
            return (type(value).__name__, *(self.of(item) for item in value))
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return ("dict", *((key, self.of(item)) for key, item in value.items()))
        for place, given in self._handed.given:
            if given is value and not isinstance(value, _CONSTANTS):
                return ("input", *place)
        if isinstance(value, _CONSTANTS):
            return ("value", value)
        raise UnhandableError(f"it returns a {type(value).__name__} of its own")

    def _tensor(self, node: fx.Node) -> Template:
        start = self._starts.get(node, node)
        if start in self._block.nodes:
            if any(user not in self._block.nodes for user in node.users):
                raise UnhandableError("it returns a tensor that is none of its inputs")
            return ("value", None)  # nobody used it
        for place, given in self._handed.given:
            if given is start and all(isinstance(key, (str, int)) for key in place):
                return ("input", *place)
        raise UnhandableError("its shortcut does not begin at one of its arguments")
