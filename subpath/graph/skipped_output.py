"""What a block hands back when it is skipped in place: of its arguments, each in its place.

A block that is one call of one module returns, when it is skipped, what it was given, in the form
in which it would have returned its result: a tuple stays a tuple, a cache the same cache. Where an
outer forward calls the parts and adds them itself (``x = x + attention(norm(x))``), the last part
of the branch returns zeros and those before it what they were given.
The form is a template of nested tuples, plain enough to be written as JSON::

    ("input", "hidden_states")          the argument of that name; more keys lead into it
    ("zeros", "hidden_states")          zeros like that argument
    ("sized zeros", -1, 64, "hidden_states")
                                        the same, but for the size of one dimension
    ("value", None)                     a constant
    ("tuple", template, ...)            also "list"; ("dict", (key, template), ...)
    ("record", "Cached", (field, template), ...)
                                        a dataclass of that name in the module's own source file
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import fx

from .module_calls import Block, CallTree
from .residual import SOURCE
from .tensors import Place, leaves
from .traced_graph import Call, CallValues

Template = tuple[Any, ...]
_CONSTANTS = (bool, int, float, str, type(None))


def is_template(value: Any) -> bool:
    """Whether ``value`` (lists for tuples, as JSON has them) is a template."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    kind, *rest = value
    if kind in ("input", "zeros"):
        return bool(rest) and all(isinstance(key, (str, int)) for key in rest)
    if kind == "sized zeros":
        sizes = rest[:2]
        plain = len(sizes) == 2 and all(isinstance(n, int) for n in sizes) and sizes[1] > 0
        return plain and is_template(("input", *rest[2:]))
    if kind == "value":
        return len(rest) == 1 and isinstance(rest[0], _CONSTANTS)
    if kind in ("dict", "record"):
        if kind == "record" and not isinstance(rest.pop(0) if rest else None, str):
            return False
        pairs = [item for item in rest if isinstance(item, (list, tuple)) and len(item) == 2]
        named = all(isinstance(key, str) and is_template(inner) for key, inner in pairs)
        return named and len(pairs) == len(rest)
    return kind in ("tuple", "list") and all(map(is_template, rest))


class NoSkippedOutputError(Exception):
    """A block that cannot be skipped in place, with the reason."""


def handed_back(tree: CallTree, block: Block) -> tuple[tuple[Call, Template], ...]:
    """The calls that hand something back when ``block`` is skipped, and what.

    Raises:
        NoSkippedOutputError: ``block`` cannot be skipped in this way.
    """
    if all(path.exact for path in block.paths):
        for call, other in tree.removable.items():
            if other.nodes == block.nodes and call in tree.residual.traced.handed:
                _check_what_runs_in_vain(tree, block)
                return ((call, _of_whole_call(tree, block, call)),)
    return tuple(_Parts(tree, block).handed_back())


def which_call(tree: CallTree, call: Call) -> int | None:
    """Which call of its module it is, from 0; ``None`` if it is the only one."""
    handed = tree.residual.traced.handed
    numbers = sorted(other.number for other in handed if other.path == call.path)
    return numbers.index(call.number) if len(numbers) > 1 else None


def returned_at(tree: CallTree, nodes: frozenset[fx.Node], end: fx.Node) -> tuple[Call, Place]:
    """Where the value of ``end`` is returned: by the call that computes ``nodes``, or another.

    Raises:
        LookupError: no call returns it.
    """
    handed = tree.residual.traced.handed
    whole = [call for call in handed if tree.nodes.get(call) == nodes]
    for call in (*whole, *handed):
        for place, leaf in leaves(handed[call].result):
            if handed[call].nodes.get(id(leaf)) is end:
                return call, place
    raise LookupError("no call returns it")


def given_at(tree: CallTree, end: fx.Node) -> tuple[Call, Place]:
    """The first call that is given the value of ``end``, and as which argument.

    Raises:
        LookupError: no call is given it.
    """
    for call, handed in tree.residual.traced.handed.items():
        for place, value in handed.given:
            if value is end and _is_plain(place):
                return call, place
    raise LookupError("no call is given it")


def _of_whole_call(tree: CallTree, block: Block, call: Call) -> Template:
    """What a block hands back that is ``call``."""
    handed = tree.residual.traced.handed[call]
    starts: Mapping[fx.Node, fx.Node] = {path.end: path.start for path in block.paths}

    def tensor(node: fx.Node) -> Template:
        start = starts.get(node, node)
        if start in block.nodes:
            if not tree.is_side_output(node, block.nodes):
                raise NoSkippedOutputError("it returns a tensor that is none of its inputs")
            return ("value", None)  # nothing in the network uses it
        for place, given in handed.given:
            if given is start and _is_plain(place):
                return ("input", *place)
        raise NoSkippedOutputError("its shortcut does not begin at one of its arguments")

    return _form(handed, handed.result, tensor)


def _check_what_runs_in_vain(tree: CallTree, block: Block) -> None:
    """More work may not go on outside the block, for it alone, than is saved inside."""
    residual, facts = tree.residual, tree.residual.traced.facts
    alone: set[fx.Node] = set()
    outside = residual.flow.nodes - block.nodes - block.starts - {SOURCE}
    for node in sorted(outside, key=residual.order.__getitem__, reverse=True):
        if node.users and all(user in block.nodes or user in alone for user in node.users):
            alone.add(node)
    if sum(facts[node].macs for node in alone) > sum(facts[node].macs for node in block.nodes):
        raise NoSkippedOutputError("most of what it adds is computed outside of it")


class _Parts:
    """A block whose parts step aside one by one, while what adds them goes on.

    So it is where an outer forward calls the parts, and where a block keeps a norm or a scale of
    its own on the shortcut.
    """

    def __init__(self, tree: CallTree, block: Block) -> None:
        self._tree, self._block = tree, block
        self._residual, self._traced = tree.residual, tree.residual.traced
        self._units = [unit for path in block.paths for unit in path.units]
        steps = {step for path in block.paths if path.exact for step in path.steps}
        self._norms_on_path = set(filter(self._residual.is_norm, steps))
        owners = {call for unit in self._units for call in tree.owner(unit)}
        self._calls: dict[fx.Node, Call] = {}  # the outermost call around each that holds no owner
        for node in sorted(block.nodes, key=self._residual.order.__getitem__):
            call = next((call for call in self._traced.calls[node] if call not in owners), None)
            if call is not None:
                self._calls[node] = call

    def handed_back(self) -> Iterator[tuple[Call, Template]]:
        zeros: set[fx.Node] = set()
        for unit in self._units:
            found = self._zeros_for(unit.branch) if self._residual.is_sum(unit.add) else None
            if found is None:
                raise NoSkippedOutputError(f"no module gives what {unit.add} adds to its stream")
            zeros |= found
        left_to_run = set(self._block.skipped)
        adds = {unit.add for unit in self._units}
        for call in dict.fromkeys(self._calls.values()):
            nodes = self._tree.nodes[call]
            needed = not (zeros | self._norms_on_path).isdisjoint(self._nodes_of_result(call))
            optional = not needed and (
                self._is_free(call) or not adds.isdisjoint(nodes) or self._is_used_outside(nodes)
            )
            if optional:
                continue
            try:
                result = self._result_of(call, zeros)
            except NoSkippedOutputError:
                if needed:
                    raise
                continue
            left_to_run -= nodes
            yield call, result
        self._check_what_still_runs(left_to_run - adds)

    def _check_what_still_runs(self, nodes: set[fx.Node]) -> None:
        for node in sorted(nodes, key=self._residual.order.__getitem__):
            fact = self._traced.facts[node]
            if fact.macs:
                raise NoSkippedOutputError(f"{self._told(node)} would still run")
            if fact.writes and node not in self._calls:
                raise NoSkippedOutputError(f"{self._told(node)} writes into what it is given")

    def _told(self, node: fx.Node) -> str:
        return self._calls[node].path if node in self._calls else str(node)

    def _is_free(self, call: Call) -> bool:
        """Whether it may as well run: a dropout, which one network often calls many times."""
        weights = any(True for _ in self._tree.modules[call.path].parameters())
        return not weights and not any(self._traced.facts[n].macs for n in self._tree.nodes[call])

    def _is_used_outside(self, nodes: frozenset[fx.Node]) -> bool:
        flowing = {node for node in nodes if node in self._residual.flow}
        return not flowing <= self._block.skipped

    def _zeros_for(self, node: fx.Node) -> set[fx.Node] | None:
        """What calls have to give as zeros, so that ``node`` is zero; ``None`` if none can."""
        if node not in self._block.nodes:
            return None
        call = self._calls.get(node)
        is_dropout = self._residual.leaves_zeros(node)
        if call is not None and not (is_dropout and call.path == node.target):
            return {node} if node in self._nodes_of_result(call) else None
        for together in self._residual.zero_if(node):
            found = [self._zeros_for(parent) for parent in together]
            if found and all(nodes is not None for nodes in found):
                return set().union(*(nodes for nodes in found if nodes is not None))
        return None

    def _nodes_of_result(self, call: Call) -> set[fx.Node]:
        """The tensors that ``call`` gives; what lies inside one node counts as the node too."""
        handed = self._traced.handed.get(call)
        given = set() if handed is None else set(handed.nodes.values())
        return (
            given
            | {parent for node in given for parent in node.all_input_nodes[:1]}
            & (self._tree.nodes[call])
        )

    def _result_of(self, call: Call, zeros: set[fx.Node]) -> Template:
        handed = self._traced.handed[call]

        def tensor(node: fx.Node) -> Template:
            inside = self._block.nodes - self._tree.nodes[call]
            used = any(user in inside for user in node.users)
            outside = any(user not in self._block.nodes for user in node.users)
            outside &= node not in self._block.ends
            kind = "zeros" if zeros & {node, *node.all_input_nodes[:1]} else "input"
            if outside:
                raise NoSkippedOutputError(f"what {call.path} gives is used elsewhere too")
            if not used and node not in self._block.ends:
                return ("value", None)
            tensors = [(p, n) for p, n in handed.given if isinstance(n, fx.Node) and _is_plain(p)]
            for place, given in tensors:
                if self._residual.other_sizes(given, node) == []:
                    return (kind, *place)
            for place, given in tensors if node not in self._block.ends else ():
                sizes = self._residual.other_sizes(given, node)
                if sizes is not None and len(sizes) == 1:
                    return ("sized zeros", *sizes[0], *place)
            raise NoSkippedOutputError(f"what {call.path} gives is shaped like none of its inputs")

        return _form(handed, handed.result, tensor)


def _form(handed: CallValues, value: Any, tensor: Callable[[fx.Node], Template]) -> Template:
    """The template of ``value``, whose tensors ``tensor`` tells."""
    if isinstance(value, torch.Tensor):
        return tensor(handed.nodes[id(value)])
    if type(value) in (tuple, list):
        return (type(value).__name__, *(_form(handed, item, tensor) for item in value))
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return ("dict", *((key, _form(handed, item, tensor)) for key, item in value.items()))
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value) if hasattr(value, field.name))
        items = ((name, _form(handed, getattr(value, name), tensor)) for name in names)
        return ("record", type(value).__qualname__, *items)
    for place, given in handed.given:
        if given is value and not isinstance(value, _CONSTANTS) and _is_plain(place):
            return ("input", *place)
    if isinstance(value, _CONSTANTS):
        return ("value", value)
    raise NoSkippedOutputError(f"it returns a {type(value).__name__} of its own")


def _is_plain(place: Place) -> bool:
    return all(isinstance(key, (str, int)) for key in place)
