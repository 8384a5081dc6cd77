"""Which nodes of a folded graph are needed: for their value, or because they write into memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import fx

from ..graph.facts import Fact

if TYPE_CHECKING:
    from .gates import Gate


def live_nodes(
    nodes: Iterable[fx.Node],
    facts: Mapping[fx.Node, Fact],
    ignored: Iterable[fx.Node],
    stands_for: Mapping[fx.Node, fx.Node] = MappingProxyType({}),
) -> Iterable[fx.Node]:
    """The nodes whose value or whose writing is needed for the output.

    A node that writes into a tensor is needed as long as that tensor is, even if its own result
    is not used: torch.fx's elimination drops such writes (timm #800).

    Args:
        nodes: in execution order.
        facts: what is known of them.
        ignored: nodes whose writing does not count.
        stands_for: other nodes whose values are used instead of those of some.
    """
    ignored = set(ignored)
    needed: set[fx.Node] = set()
    storages: set[int] = set()
    for node in reversed(list(nodes)):
        fact = facts.get(node)
        writes = fact is not None and node not in ignored and bool(fact.writes & storages)
        if node.op in ("output", "placeholder") or node in needed or writes:
            yield node
            for parent in node.all_input_nodes:
                needed.add(value := stands_for.get(parent, parent))
                if value in facts:
                    storages.update(facts[value].storages)


def facts_after(
    closed: Iterable[Gate],
    facts: Mapping[fx.Node, Fact],
    origin: Mapping[fx.Node, fx.Node],
    patched: Mapping[fx.Node, fx.Node] = MappingProxyType({}),
) -> dict[fx.Node, Fact]:
    """The facts of the copied nodes; who writes into a sum later now writes into its stand-in.

    Only what comes after the gate: what made the sum may have written into the same memory. What
    a patch gives has memory of its own.
    """
    shortcuts = {gate.node: gate.shortcut for gate in closed}
    moved: dict[int, int] = {}
    found: dict[fx.Node, Fact] = {}
    for copied, node in origin.items():
        if node in patched:
            own = -1 - len(found)
            moved |= dict.fromkeys(facts[node].storages, own)
            found[patched[node]] = Fact(facts[node].shapes, (own,))
        elif node in shortcuts:
            pairs = zip(facts[node].storages, facts[shortcuts[node]].storages, strict=False)
            moved |= {old: moved.get(new, new) for old, new in pairs}
        fact = facts.get(node)
        if fact is not None and not moved.keys().isdisjoint((*fact.storages, *fact.writes)):
            fact = replace(
                fact,
                storages=tuple(moved.get(s, s) for s in fact.storages),
                writes=frozenset(moved.get(s, s) for s in fact.writes),
            )
        if fact is not None:
            found[copied] = fact
    return found


def stand_ins(closed: Iterable[Gate]) -> dict[fx.Node, fx.Node]:
    """For the node of each closed gate what takes its place in the end."""
    stands_for: dict[fx.Node, fx.Node] = {}
    for gate in closed:
        stands_for[gate.node] = stands_for.get(gate.shortcut, gate.shortcut)
    return stands_for


def is_written(
    node: fx.Node, facts: Mapping[fx.Node, Fact], by: Collection[fx.Node] | None = None
) -> bool:
    """Whether one of the users of ``node`` (or of those in ``by``) writes into its value."""
    storages = set(facts[node].storages)
    users = node.users if by is None else by
    return any(user in facts and facts[user].writes & storages for user in users)


def nodes_after(node: fx.Node) -> set[fx.Node]:
    """All nodes that ``node`` leads to."""
    found: set[fx.Node] = set()
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user not in found:
            found.add(user)
            waiting += user.users
    return found
