"""What super-net and base-net begin with: all that comes before the first gate or twin.

The stem, embeddings, the first block up to its first twin norm. What draws random numbers is no
part of it, nor what others write into.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils.checkpoint import get_device_states

from .codegen import compile_forward
from .config_tree import Straight


@dataclass(frozen=True, eq=False)
class Part:
    """Some calls of a graph.

    Attributes:
        run: gives, for the root, the inputs and the values ``takes``, what it is for.
        takes: names of nodes outside it.
    """

    run: Callable[..., Any]
    takes: tuple[str, ...]

    def __call__(self, root: nn.Module, inputs: Sequence[Any], values: Mapping[str, Any]) -> Any:
        """Run it."""
        return self.run(root, *inputs, *[values[name] for name in self.takes])


@dataclass(frozen=True, eq=False)
class Prefix:
    """What several configs begin with; values are known by the names of their nodes.

    Attributes:
        keys: what each of its nodes does, by name.
        first: gives the values ``gives``.
        gives: the values that the rest of a config needs, and those that ``again`` takes.
        again: the calls that may leave something in a buffer, for a further pass.
        modules: paths of the modules it calls.
        attributes: names of the parameters and buffers that it reads otherwise.
        keepers: paths of the modules of ``again``.
    """

    keys: Mapping[str, str]
    first: Part
    gives: tuple[str, ...]
    again: Part | None
    modules: tuple[str, ...]
    attributes: tuple[str, ...]
    keepers: tuple[str, ...]

    def learns(self, root: nn.Module) -> bool:
        """Whether something that it uses gets a gradient."""
        weights = (w for path in self.modules for w in root.get_submodule(path).parameters())
        return any(w.requires_grad for w in weights) or any(
            _attribute(root, name).requires_grad for name in self.attributes
        )

    def keeps(self, root: nn.Module) -> bool:
        """Whether ``again`` may change something, in the present mode of its modules."""
        modules = [root.get_submodule(path) for path in self.keepers]
        return self.again is not None and (
            not modules or any(part.training for module in modules for part in module.modules())
        )


def find_prefix(
    lines: Sequence[Straight], root: nn.Module, inputs: tuple[Any, ...]
) -> Prefix | None:
    """What ``lines`` begin with, or ``None`` if that is nothing.

    Args:
        lines: graphs of configs.
        root: the module that they run on.
        inputs: a batch, on which it is tried what draws random numbers; nothing is changed.
    """
    apart: set[str] = set()
    while True:
        nodes = _alike(lines, apart)
        wrong = _constant(nodes) | _written(lines, nodes) | _kept_elsewhere(lines, nodes, root)
        wrong = wrong or _drawing(nodes, root, inputs)
        if not wrong:
            break
        apart |= wrong
    called = [node for node in nodes if node.op.startswith("call")]
    return _prefix(lines, nodes, root) if called else None


def rest_of(line: Straight, before: Prefix, root: nn.Module) -> Part | None:
    """What follows ``before`` in a config; ``None`` if the config does not begin so."""
    keys = {node.name: _key(node) for node in line.graph.nodes}
    if any(keys.get(name) != key for name, key in before.keys.items()):
        return None
    following = [node for node in line.graph.nodes if node.name not in before.keys]
    part = _part(line.graph, following, root)
    return part if {*part.takes} <= {*before.gives} else None


def _prefix(lines: Sequence[Straight], nodes: Sequence[fx.Node], root: nn.Module) -> Prefix:
    graph, names = lines[0].graph, {node.name for node in nodes}
    called = [node for node in nodes if node.op.startswith("call")]
    keepers = [node for node in called if _may_keep(node, root)]
    leaving = {
        node.name
        for line in lines
        for node in line.graph.nodes
        if any(user.name not in names for user in node.users)
    }
    needed = {parent for keeper in keepers for parent in keeper.all_input_nodes}
    gives = [node for node in called if node.name in leaving or node in needed]
    modules = [node for node in called if node.op == "call_module"]
    return Prefix(
        {node.name: _key(node) for node in nodes},
        _part(graph, called, root, gives),
        tuple(node.name for node in gives),
        _part(graph, keepers, root, ()) if keepers else None,
        tuple(str(node.target) for node in modules),
        tuple(str(node.target) for node in nodes if node.op == "get_attr"),
        tuple(str(node.target) for node in modules if node in keepers),
    )


def _part(
    graph: fx.Graph,
    nodes: Collection[fx.Node],
    root: nn.Module,
    gives: Sequence[fx.Node] | None = None,
) -> Part:
    """Some calls of ``graph``, and what they read of weights; by default with its output."""
    inside = set(nodes)
    read = {parent for node in nodes for parent in node.all_input_nodes} - inside
    takes = [node for node in graph.nodes if node in read and node.op.startswith("call")]
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.find_nodes(op="placeholder"):
        copies[node] = part.node_copy(node)
    for node in takes:
        copies[node] = part.placeholder(node.name)
    for node in graph.nodes:
        if node not in copies and (node in inside or (node in read and node.op == "get_attr")):
            copies[node] = part.node_copy(node, copies.__getitem__)
    if gives is not None:
        part.output(tuple(copies[node] for node in gives))
    return Part(compile_forward(part, root), tuple(node.name for node in takes))


def _key(node: fx.Node) -> str:
    """What a node does, with names for the values it takes."""
    named: Any = fx.node.map_arg((node.args, node.kwargs), _name)
    target = node.target if isinstance(node.target, str) else id(node.target)
    return f"{node.op} {target} {named!r}"


def _name(node: fx.Node) -> Any:
    return _Name(node.name)


@dataclass(frozen=True)
class _Name:
    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _alike(lines: Sequence[Straight], apart: Collection[str]) -> list[fx.Node]:
    """The nodes that all lines have, and whose values depend on no other; none of ``apart``.

    A read of a weight that no other of them needs is left out.
    """
    first, *others = lines
    keys = [{node.name: _key(node) for node in line.graph.nodes} for line in others]
    found: dict[fx.Node, None] = {}
    for node in first.graph.nodes:
        own = _key(node)
        known = node.name in first.facts and node.name not in apart and node.op != "output"
        alike = all(other.get(node.name) == own for other in keys)
        if known and alike and found.keys() >= {*node.all_input_nodes}:
            found[node] = None
    return [n for n in found if n.op != "get_attr" or not found.keys().isdisjoint(n.users)]


def _constant(nodes: Sequence[fx.Node]) -> set[str]:
    """Calls that depend on no input and give something to others: cheap, and not worth keeping."""
    inside, flow = set(nodes), set[fx.Node]()
    for node in nodes:
        if node.op == "placeholder" or not flow.isdisjoint(node.all_input_nodes):
            flow.add(node)
    return {
        node.name
        for node in inside - flow
        if node.op != "get_attr" and not inside.issuperset(node.users)
    }


def _written(lines: Sequence[Straight], nodes: Sequence[fx.Node]) -> set[str]:
    """Those of ``nodes`` that cannot come first, because of who writes into what.

    No other node may write into what they read or give, and they may not write into the inputs,
    nor later into what a call takes that is repeated.
    """
    facts, names = lines[0].facts, {node.name for node in nodes}
    written = {
        storage
        for line in lines
        for node in line.graph.nodes
        if node.name not in names and node.name in line.facts
        for storage in line.facts[node.name].writes
    }
    given = {s for n in nodes if n.op == "placeholder" for s in facts[n.name].storages}
    return {
        node.name
        for node in nodes
        if node.op != "placeholder"
        and (
            not written.isdisjoint((*facts[node.name].storages, *_read(node, facts)))
            or not facts[node.name].writes.isdisjoint(given)
        )
    }


def _read(node: fx.Node, facts: Mapping[str, Any]) -> Iterator[int]:
    """The storages of what a node takes."""
    for parent in node.all_input_nodes:
        yield from facts[parent.name].storages


def _kept_elsewhere(
    lines: Sequence[Straight], nodes: Sequence[fx.Node], root: nn.Module
) -> set[str]:
    """Those that may keep something and cannot be repeated by themselves.

    The module is also called by another node, or a later one of ``nodes`` writes into its inputs.
    """
    facts, names = lines[0].facts, {node.name for node in nodes}
    others = {
        node.target
        for line in lines
        for node in line.graph.find_nodes(op="call_module")
        if node.name not in names
    }
    found, later = set[str](), set[int]()
    for node in reversed(nodes):
        if node.op.startswith("call") and _may_keep(node, root):
            elsewhere = node.op == "call_module" and node.target in others
            if elsewhere or not later.isdisjoint(_read(node, facts)):
                found.add(node.name)
        later |= facts[node.name].writes
    return found


def _may_keep(node: fx.Node, root: nn.Module) -> bool:
    """Whether a call may leave something in a buffer: running statistics, say."""
    if node.op == "call_module":
        return any(True for _ in root.get_submodule(str(node.target)).buffers())
    read = [str(parent.target) for parent in node.all_input_nodes if parent.op == "get_attr"]
    return any(not isinstance(_attribute(root, name), nn.Parameter) for name in read)


def _attribute(root: nn.Module, name: str) -> Any:
    owner, _, last = name.rpartition(".")
    return getattr(root.get_submodule(owner), last)


def _drawing(nodes: Sequence[fx.Node], root: nn.Module, inputs: tuple[Any, ...]) -> set[str]:
    """Those that draw random numbers in one run on ``inputs``, which leaves no trace."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(())
    trial = _Trial(root, graph, inputs)
    buffers = [(buffer, buffer.clone()) for buffer in root.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=get_device_states(inputs)[0]):
        trial.run(*inputs)
        for buffer, value in buffers:
            if not torch.equal(buffer, value):
                buffer.copy_(value)
    return {node.name for node, copied in copies.items() if copied in trial.drew}


def generators(inputs: Any) -> tuple[torch.Tensor, ...]:
    """The states of torch's random generators, of the CPU and of the devices of ``inputs``."""
    return torch.get_rng_state(), *get_device_states(inputs)[1]


def drew(before: Sequence[torch.Tensor], inputs: Any) -> bool:
    """Whether random numbers were drawn since ``generators(inputs)`` gave ``before``."""
    return not all(map(torch.equal, before, generators(inputs)))


class _Trial(fx.Interpreter):
    def __init__(self, root: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...]) -> None:
        super().__init__(root, graph=graph)
        self._inputs, self.drew = inputs, set[fx.Node]()

    def run_node(self, n: fx.Node) -> Any:
        before = generators(self._inputs)
        result = super().run_node(n)
        if drew(before, self._inputs):
            self.drew.add(n)
        return result
