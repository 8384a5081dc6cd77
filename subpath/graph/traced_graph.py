"""What reading a network gives: one frozen record, whichever reader made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from .facts import Fact
from .tensors import Place


@dataclass(frozen=True)
class Call:
    """One call of one module: its path, and a number that tells repeated calls apart."""

    path: str
    number: int


@dataclass(frozen=True)
class CallValues:
    """What went in and out of one call in a concrete run.

    Attributes:
        given: each value inside the arguments with its place (the argument's name, then keys):
            the node of a tensor, any other value itself.
        result: what the call gave.
        nodes: the node of each tensor in it, by ``id``.
    """

    given: tuple[tuple[Place, Any], ...]
    result: Any
    nodes: Mapping[int, fx.Node]


@dataclass(frozen=True)
class TracedGraph:
    """A network that was read: traced with torch.fx, or recorded in a concrete run.

    Attributes:
        graph: straight-line torch.fx graph; ``call_module`` targets are paths in the model.
        calls: for each node the module calls it was made in, outermost first; for a leaf module
            the last entry is its own call.
        facts: what a run without data showed of each node.
        constants: tensors that the forward made from numbers alone, by the name the graph reads.
        opaque: modules that could not be opened, with the reason.
        by_size: whether a forward that was opened decided by sizes: then the graph holds for
            inputs of the example's shapes alone.
        handed: of a concrete run, what each opened call was given and gave.
    """

    graph: fx.Graph
    calls: Mapping[fx.Node, tuple[Call, ...]]
    facts: Mapping[fx.Node, Fact]
    constants: Mapping[str, torch.Tensor]
    opaque: Mapping[str, str]
    by_size: bool
    handed: Mapping[Call, CallValues] = field(default_factory=dict)

    @property
    def opened(self) -> frozenset[str]:
        """Paths of the modules whose own forward was traced through (without the root)."""
        opened: set[str] = set()
        for node, stack in self.calls.items():
            own = stack[:-1] if node.op == "call_module" else stack
            opened.update(call.path for call in own)
        return frozenset(opened)
