"""Find the blocks and norms of a plan in a traced graph, and mark them as gates and twins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from torch import fx

from ..errors import PlanError
from ..graph.blocks import locate_blocks
from ..graph.module_calls import Block, CallTree
from ..graph.residual import Path
from ..planning import Addition, Plan, TwinNorm
from .gates import Gate, GatedGraph

Changed = TypeVar("Changed", TwinNorm, Addition)


def add_gates(tree: CallTree, plan: Plan) -> GatedGraph:
    """Find the plan's blocks and norms in a trace and mark them.

    Raises:
        PlanError: a block of the plan is not there, or cannot be skipped.
    """
    found = locate_blocks(tree, [name for stage in plan.stages for name in stage.blocks])
    missing = [name for stage in plan.stages for name in stage.skippable if name not in found]
    if missing:
        opaque = tree.residual.traced.opaque
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(opaque.items())[:3])
        raise PlanError(
            f"got a plan that skips {', '.join(missing[:6])}; expected blocks that this network "
            "has and that have an identity shortcut"
            + (f". Some modules could not be looked into ({reasons})" if opaque else "")
        )
    order = tree.residual.order
    gates = [
        Gate(node, shortcut, number, _in_place_sums(tree, found[name]), _after_sum(tree, path))
        for number, stage in enumerate(plan.stages)
        for name in stage.skippable
        for path in found[name].paths
        for node, shortcut in path.gates
    ]
    _check_stages(plan, [order[gate.node] for gate in gates], [gate.stage for gate in gates])
    twins = _calls(tree, "twin norms", plan.twin_norms)
    additions = _calls(tree, "additions", plan.additions)
    return GatedGraph(
        graph=tree.residual.traced.graph,
        gates=tuple(sorted(gates, key=lambda gate: order[gate.node])),
        twins=twins,
        ends=tuple(_end(tree, found, stage.blocks[-1]) for stage in plan.stages),
        facts=tree.residual.traced.facts,
        constants=tree.residual.traced.constants,
        by_size=tree.residual.traced.by_size,
        additions=additions,
    ).with_patches(plan.patches)


def _calls(tree: CallTree, kind: str, changed: Sequence[Changed]) -> dict[fx.Node, Changed]:
    """Each call of the modules that change where their stage is skipped, with its record."""
    by_path = {item.path: item for item in changed}
    found = {
        node: by_path[str(node.target)]
        for node in tree.residual.traced.graph.nodes
        if node.op == "call_module" and node.target in by_path
    }
    if absent := by_path.keys() - {item.path for item in found.values()}:
        raise PlanError(
            f"got a plan with {kind} for {', '.join(sorted(absent)[:6])}; expected modules "
            "that this network calls"
        )
    return found


def _check_stages(plan: Plan, places: Sequence[int], stages: Sequence[int]) -> None:
    """Refuse a plan with a stage that skips nothing, or that runs before the one it follows."""
    names, numbers = [stage.name for stage in plan.stages], range(len(plan.stages))
    idle = [names[number] for number in numbers if number not in stages]
    if idle:
        raise PlanError(
            f"got a plan that skips nothing in {', '.join(idle)}; expected a skippable block in "
            "each of its stages"
        )
    firsts = [min(p for p, s in zip(places, stages, strict=True) if s == n) for n in numbers]
    if firsts != sorted(firsts):
        ran = [names[number] for number in sorted(numbers, key=firsts.__getitem__)]
        raise PlanError(
            f"got a plan with the stages {', '.join(names)}; expected them in the order in which "
            f"this network runs them: {', '.join(ran)}"
        )


def _after_sum(tree: CallTree, path: Path) -> tuple[fx.Node, ...]:
    """The activations that follow the last add of ``path``, in execution order."""
    if not path.exact or not path.units:
        return ()
    after = path.steps[: path.steps.index(path.units[0].add)]
    return tuple(reversed(after)) if all(map(tree.residual.is_activation, after)) else ()


def _in_place_sums(tree: CallTree, block: Block) -> frozenset[fx.Node]:
    facts = tree.residual.traced.facts
    return frozenset(step for path in block.paths for step in path.steps if facts[step].writes)


def _end(tree: CallTree, found: Mapping[str, Block], name: str) -> fx.Node:
    flow, order = tree.residual.flow, tree.residual.order
    if name in found:
        tensors: Iterable[fx.Node] = (end for end in found[name].ends if end in flow)
    else:
        tensors = (
            node
            for call in tree.nodes
            if call.path == name.partition("#")[0]
            for node in tree.exits(call)
            if node in flow
        )
    return max(tensors, key=order.__getitem__)
