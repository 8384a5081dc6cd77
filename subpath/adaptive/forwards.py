"""The straight-line functions of a network, one for each skip config, made when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map_only

from ..skip import SkipConfig
from .codegen import compile_forward, dispatches
from .config_tree import Branch, Straight, straight, tree
from .features import layouts
from .folding import Returns, fold
from .gates import GatedGraph
from .module_paths import twin_path
from .prefix import Part, Prefix, find_prefix, rest_of
from .recompute import recomputed_forward
from .statistics import install, remove, use_own
from .tracing import Shapes, Tracing, add_constants, shapes_of

Forward = Callable[..., Any]


class Forwards:
    """Functions ``forward(root, ...)`` over the weights of one root module.

    Any number of threads may ask; what is asked for first is made by one of them.

    Attributes:
        example: the gated graphs of eval (``False``) and train mode (``True``) for the example.
        inputs: the names of the inputs.
        original: for the path of each twin that of its norm.
        layouts: of the stages' outputs.
        by_size: whether other input shapes have graphs of their own.
        recompute: whether train mode keeps the stages' outputs alone for the backward pass.
    """

    def __init__(
        self, root: nn.Module, tracing: Tracing, example: Mapping[bool, GatedGraph]
    ) -> None:
        self._root, self._tracing = root, tracing
        self._making = threading.RLock()
        self.original = {twin_path(twin): twin.path for twin in tracing.plan.twin_norms}
        self.recompute = False
        self.replace(example)

    def replace(self, example: Mapping[bool, GatedGraph]) -> None:
        """Take other graphs of the same root: its head has changed."""
        with self._making:
            self.example = dict(example)
            placeholders = self.example[False].graph.find_nodes(op="placeholder")
            self.inputs = tuple(str(node.target) for node in placeholders)
            self.layouts = layouts(self.example[False], self._tracing.plan.stages)
            self.by_size = any(gated.by_size for gated in example.values())
            self._by_shapes: dict[Shapes | None, Mapping[bool, GatedGraph]] = {None: self.example}
            self._made: dict[tuple[str, bool, Returns, Shapes | None], Forward] = {}
            self._trees: dict[tuple[tuple[SkipConfig, ...], Returns, Shapes | None], Branch] = {}
            self.forget_prefixes()

    def set_plan(self, tracing: Tracing) -> None:
        """Take a plan that differs from the present one in its patches alone."""
        with self._making:
            self._tracing = tracing
            self._by_shapes = {
                shapes: {mode: gated.with_patches(tracing.plan.patches) for mode, gated in both}
                for shapes, both in ((s, graphs.items()) for s, graphs in self._by_shapes.items())
            }
            self.example = dict(self._by_shapes[None])
            self._made = {}
            self._trees = {}
            self.forget_prefixes()

    def set_recompute(self, enable: bool) -> None:
        """Turn gradient checkpointing on or off."""
        with self._making:
            if enable != self.recompute:
                self.recompute = enable
                self._made = {key: made for key, made in self._made.items() if not key[1]}

    @dispatches
    def get(self, skip: str, training: bool, returns: Returns, inputs: tuple[Any, ...]) -> Forward:
        """The function of a config.

        Raises:
            SkipConfigError: there is no such config.
            TraceError: the network cannot be traced for inputs of these shapes.
        """
        shapes = shapes_of(inputs) if self.by_size else None
        # A wrong config may be anything, also what no dictionary takes as a key.
        made = self._made.get((skip, training, returns, shapes)) if isinstance(skip, str) else None
        return self._make(skip, training, returns, inputs) if made is None else made

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the buffers that graphs read and the original does not have."""
        both = (gated for graphs in self._by_shapes.values() for gated in graphs.values())
        return tuple({name: None for gated in both for name in gated.constants})

    def graphs_for(self, inputs: tuple[Any, ...]) -> Mapping[bool, GatedGraph]:
        """The graphs that hold for these inputs: those of the example, unless sizes decide."""
        shapes = shapes_of(inputs) if self.by_size else None
        with self._making:
            if shapes not in self._by_shapes:
                with torch.inference_mode(False):  # its tensors do not say who wrote into them
                    own = tree_map_only(torch.Tensor, torch.Tensor.clone, inputs)
                    graphs = self._tracing.graphs(self._root, own)
                add_constants(self._root, graphs)
                self._by_shapes[shapes] = graphs
            return self._by_shapes[shapes]

    def straight(
        self, gated: GatedGraph, config: SkipConfig, training: bool, returns: Returns
    ) -> tuple[fx.Graph, dict[str, str]]:
        """The graph of a config, and the original's path of what it calls in another's place."""
        graph = fold(gated, config, returns)
        own = {} if training else use_own(self._root, graph, config, self.original)
        return graph, {**self.original, **own}

    def tree(
        self, skips: Sequence[SkipConfig], inputs: tuple[Any, ...], returns: Returns
    ) -> Branch:
        """Some configs in eval mode, with what they share computed once."""
        shapes = shapes_of(inputs) if self.by_size else None
        with self._making:
            if (key := (tuple(skips), returns, shapes)) not in self._trees:
                gated = self.graphs_for(inputs)[False]
                lines = [self._line(gated, skip, False, returns) for skip in skips]
                self._trees = {key: tree(lines, self._root)}  # the last alone
            return self._trees[key]

    def prefix(self, training: bool, inputs: tuple[Any, ...]) -> Prefix | None:
        """What super-net and base-net have in common before their first difference, if anything."""
        key = training, shapes_of(inputs) if self.by_size else None
        with self._making:
            if key not in self._prefixes:
                gated, stages = self.graphs_for(inputs)[training], len(self._tracing.plan.stages)
                ends = SkipConfig.super_net(stages), SkipConfig.base_net(stages)
                lines = [self._line(gated, skip, training, "both") for skip in ends]
                self._prefixes[key] = find_prefix(lines, self._root, inputs)
            return self._prefixes[key]

    def rest(
        self, before: Prefix, skip: str, training: bool, inputs: tuple[Any, ...]
    ) -> Part | None:
        """What follows the prefix in a config; ``None`` if the config does not begin so."""
        config = SkipConfig(skip, len(self._tracing.plan.stages))
        key = before, config, training
        with self._making:
            if key not in self._rests:
                gated = self.graphs_for(inputs)[training]
                line = self._line(gated, config, training, "both")
                self._rests[key] = rest_of(line, before, self._root)
            return self._rests[key]

    def forget_prefixes(self) -> None:
        """Look anew for what may be shared."""
        self._prefixes: dict[tuple[bool, Shapes | None], Prefix | None] = {}
        self._rests: dict[tuple[Prefix, SkipConfig, bool], Part | None] = {}

    def _line(
        self, gated: GatedGraph, skip: SkipConfig, training: bool, returns: Returns
    ) -> Straight:
        return straight(gated, skip, self.straight(gated, skip, training, returns)[0])

    def set_statistics(self, parts: Mapping[str, Mapping[str, nn.Module] | None]) -> None:
        """Give configs statistics of their own, or (``None``) take them away."""
        with self._making:
            for config, own in parts.items():
                if own is None:
                    remove(self._root, config)
                else:
                    install(self._root, config, own)
            self._made = {key: made for key, made in self._made.items() if key[0] not in parts}
            self._trees = {}
            self.forget_prefixes()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _make(
        self, skip: str, training: bool, returns: Returns, inputs: tuple[Any, ...]
    ) -> Forward:
        config = SkipConfig(skip, len(self._tracing.plan.stages))
        key = str(config), training, returns, shapes_of(inputs) if self.by_size else None
        with self._making:
            if key not in self._made:
                gated = self.graphs_for(inputs)[training]
                if training and self.recompute:
                    self._made[key] = recomputed_forward(self._root, gated, config, returns)
                else:
                    graph, _ = self.straight(gated, config, training, returns)
                    self._made[key] = compile_forward(graph, self._root)
            return self._made[key]
