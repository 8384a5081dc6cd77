"""Why a network has no stage, read off its graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import fx

from .module_calls import CallTree
from .residual import ResidualGraph, Unit
from .stages import Stage


def findings(tree: CallTree, stages: Sequence[Stage], norms: Collection[str]) -> str:
    """What was found where branches meet, and why that makes no stage.

    Args:
        tree: the calls of the network.
        stages: what :func:`find_stages` found.
        norms: paths of its normalisation layers.
    """
    residual = tree.residual
    adds = [n for n in residual.flow if n in residual.order and residual.operands(n) is not None]
    units = {add for add, unit in residual.units.items() if _has_weights(residual, unit)}
    concatenations = [n for n in residual.dominators if getattr(n.target, "__name__", "") == "cat"]
    counts = (
        f"{_many(len(adds), 'addition')} ({len(units)} onto an identity shortcut) and "
        f"{_many(len(concatenations), 'concatenation')} of branches"
    )
    held = [stage for stage in stages if any(block.block for block in stage.blocks)]
    longer = [stage for stage in held if any(len(row) > 1 for row in stage.rows)]
    if longer:
        why = f"{_many(len(longer), 'stage')} with no such block in the later half"
    elif held:
        why = f"{_many(len(held), 'stage')} with one such block each, which always runs"
    elif units and not _on_the_chain(residual, units):
        why = "no identity shortcut spans all that flows at its place (cells, dual paths, widening)"
    elif units:
        why = "no two blocks with an identity shortcut follow each other"
    elif normed := sum(_has_normed_shortcut(residual, add, norms) for add in adds):
        why = f"{_many(normed, 'shortcut')} through a norm, which is no identity"
    elif adds:
        why = "every addition has weights on both sides"
    elif concatenations:
        why = "branches are only concatenated"
    elif joins := _joins(residual):
        why = f"branches meet in no sum, but in {', '.join(joins[:4])}, and that is no shortcut"
    else:
        why = "there is one path without branches"
    return f"{counts}: {why}"


def _has_weights(residual: ResidualGraph, unit: Unit) -> bool:
    """Whether the branch has any; a softmax less its maximum has none."""
    return residual.has_weights(residual.between(unit.fork, unit.branch))


def _joins(residual: ResidualGraph) -> list[str]:
    """The names of what takes several values of the flow, the last in the network first."""
    names = []
    for node in reversed(residual.order):
        if node in residual.flow and len(residual.flow.pred[node]) > 1:
            target: Any = node.target
            if node.op == "call_module":
                target = type(residual.modules[str(target)])
            names.append(getattr(target, "__name__", str(target)).partition(".")[0].strip("_"))
    return list(dict.fromkeys(names))


def _on_the_chain(residual: ResidualGraph, units: Collection[fx.Node]) -> bool:
    """Whether a residual add dominates the output: all that flows runs through it."""
    (output,) = residual.traced.graph.find_nodes(op="output")
    ends = [node for node in output.all_input_nodes if node in residual.dominators]
    for end in ends:
        node: fx.Node | None = end
        while node is not None:
            if node in units:
                return True
            node = residual.dominators.get(node)
    return False


def _has_normed_shortcut(residual: ResidualGraph, add: fx.Node, norms: Collection[str]) -> bool:
    """Whether an operand of ``add`` is its dominator, but for a norm (RepVGG, MobileOne)."""
    for operand in residual.operands(add) or ():
        if operand.op == "call_module" and operand.target in norms:
            (source, *_) = operand.all_input_nodes
            if source is residual.dominators[add]:
                return True
    return False


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
