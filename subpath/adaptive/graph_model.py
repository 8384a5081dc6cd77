"""An adaptive model that runs from its graph: one straight-line forward for each skip config."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map_only

from ..errors import SubpathError
from ..graph.inputs import Inputs, as_inputs, in_order
from ..planning import Patch, Plan
from ..skip import SkipConfig
from .additions import merge
from .codegen import dispatches
from .config_tree import outputs
from .features import Layout
from .folding import Returns, fold
from .forwards import Forwards
from .gates import GatedGraph
from .model import AdaptiveModel, Passing
from .original_methods import for_twins_too, graphs_after_reset
from .passes import Passes
from .patches import can_be_patched, set_patches
from .statistics import configs_in, own_parts
from .subnet import part_paths, straight_module
from .switch import Switch
from .tracing import Tracing, add_constants, check_shapes

# The registries the adaptive model shares with the network it runs on.
_SHARED = (
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_modules",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class GraphModel(AdaptiveModel):
    """See :class:`.model.AdaptiveModel`; every config has straight-line code over one root."""

    def __init__(
        self, root: nn.Module, tracing: Tracing, graphs: Mapping[bool, GatedGraph]
    ) -> None:
        """Take over ``root`` (a copy of the caller's model that already holds the twins).

        Args:
            root: the module that the graphs were traced from, with every parameter.
            tracing: how they were made: the plan, and what stays closed.
            graphs: the gated graph of eval mode (``False``) and of train mode (``True``), for
                the example input.
        """
        super().__init__()
        # Sharing the registries (not their contents) keeps root in step with .to(), with
        # load_state_dict(assign=True) and with modules the user replaces, and leaves every key of
        # the state dict as it was.
        vars(self).update({name: vars(root)[name] for name in _SHARED})
        vars(self)["_root"] = root
        self._tracing = tracing
        self._forwards = Forwards(root, tracing, graphs)
        self._switch = Switch(len(tracing.plan.stages))
        self.measured = None
        self._frozen = None
        self.training = root.training

    @dispatches
    def forward(self, *args: Any, skip: str | None = None, **kwargs: Any) -> Any:
        """Run one sub-network.

        Args:
            *args: what the original's forward takes.
            skip: one letter a stage, ``T`` skips it; default: the config set by :meth:`using` or
                :attr:`skip`, else the super-net.
            **kwargs: the same inputs by name.

        Returns:
            What the original returns.

        Raises:
            SkipConfigError: ``skip`` is not a config of this model.
        """
        if kwargs:
            args = self._positional(args, kwargs)
        if skip is None:
            skip = self._switch.active()
        return self._forwards.get(skip, self.training, "output", args)(self._root, *args)

    @dispatches
    def forward_features_of_stages(
        self, *args: Any, skip: str | None = None, **kwargs: Any
    ) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The output and the stages' outputs."""
        if kwargs:
            args = self._positional(args, kwargs)
        if skip is None:
            skip = self._switch.active()
        run = self._forwards.get(skip, self.training, "both", args)
        output: tuple[Any, tuple[torch.Tensor, ...]] = run(self._root, *args)
        return output

    @contextmanager
    def sharing(self) -> Iterator[Passing]:
        """What configs begin with is computed once, unless stages are computed again."""
        if self.training and self._forwards.recompute:
            yield self.forward_features_of_stages
            return
        passes = Passes(self._forwards, self._root, self.training)

        def run(*args: Any, skip: str, **kwargs: Any) -> Any:
            given = self._positional(args, kwargs) if kwargs else args
            shared, found = passes.run(skip, given)
            return found if shared else self.forward_features_of_stages(*given, skip=skip)

        yield run
        passes.backward()

    def outputs(
        self,
        *args: Any,
        skips: Sequence[str] | None = None,
        features: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[SkipConfig, Any]]:
        """The outputs of several configs; in eval mode what they share is computed once."""
        if self.training:
            yield from super().outputs(*args, skips=skips, features=features, **kwargs)
            return
        inputs = self._positional(args, kwargs) if kwargs else args
        given = self.skip_configs() if skips is None else skips
        configs = [SkipConfig(skip, len(self.stages)) for skip in dict.fromkeys(given)]
        if configs:
            found = self._forwards.tree(configs, inputs, "both" if features else "output")
            yield from outputs(found, self._root, inputs)

    @property
    def plan(self) -> Plan:
        """How the network is cut; give it to ``convert`` to cut another copy the same way."""
        return self._tracing.plan

    def subnet(
        self,
        skip: str,
        copy_weights: bool = False,
        example_input: Any = None,
        *,
        features: bool = False,
    ) -> fx.GraphModule:
        """One sub-network as an ordinary module that knows nothing of this library.

        Its twins stand where the originals stood, and it holds only the weights it uses; a layer
        with an addition gets a weight of its own that has it. If the
        network decides by sizes (it pads to a multiple, say), the sub-network takes inputs of
        one shape, but for the batch, and refuses others.

        Args:
            skip: the skip config.
            copy_weights: give it weights of its own instead of sharing this model's.
            example_input: a tensor, or a tuple of all inputs, of the shape to make it for;
                default: that of the conversion.
            features: let it return what :meth:`forward_features_of_stages` does.

        Returns:
            A ``torch.fx.GraphModule`` for this model's present mode (train or eval).
        """
        config = SkipConfig(skip, len(self.stages))
        inputs = self._example_inputs(example_input)
        gated = self._graphs_for(inputs)[self.training]
        returns: Returns = "both" if features else "output"
        graph, original = self._forwards.straight(gated, config, self.training, returns)
        self._check_shapes(graph, inputs, self.training)
        own = merge(self._root, graph, self.plan.additions)
        return straight_module(self._root, graph, original, self.training, copy_weights, own)

    def possible_patches(self) -> tuple[Patch, ...]:
        """A full map for each end of each stage that can have one."""
        gated = self._graphs[False]
        found = []
        for number, stage in enumerate(self.stages):
            for end, gate in enumerate(gated.last_gates(number)):
                shape = gated.facts[gate.node].shape
                if shape is not None and can_be_patched(shape, stage.channel_dim):
                    channels = shape[stage.channel_dim]
                    found.append(Patch(number, end, channels, stage.channel_dim, len(shape)))
        return tuple(found)

    def set_patches(self, patches: Iterable[Patch]) -> None:
        """Give the stages these patches, which change nothing yet, and no others."""
        plan = replace(self.plan, patches=tuple(patches))
        for gated in self._graphs.values():
            gated.with_patches(plan.patches)  # refused before anything is changed
        set_patches(self._root, plan.patches)
        self._tracing = replace(self._tracing, plan=plan)
        self._forwards.set_plan(self._tracing)

    def at_patches(self, *args: Any, skip: str, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """What each patch of the plan gives, or the value at its place if its stage is kept."""
        if kwargs:
            args = self._positional(args, kwargs)
        run = self._forwards.get(skip, self.training, "patches", args)
        found: tuple[torch.Tensor, ...] = run(self._root, *args)
        return found

    def share_of_work(self, skip: str) -> float:
        """Multiply-adds of a config as a share of the super-net's, for the example input."""
        gated = self._graphs[False]
        whole = gated.macs(SkipConfig.super_net(len(self.stages)))
        return gated.macs(SkipConfig(skip, len(self.stages))) / whole if whole else 1.0

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the stages' outputs alone in train mode; compute the rest again for gradients.

        Running statistics count a batch once, unlike under timm's own checkpointing.
        """
        self._forwards.set_recompute(enable)

    def _adapted(self, name: str, found: Any) -> Any:
        """An attribute of the original, whose effect reaches the straight-line code and twins."""
        if name == "group_matcher":
            return lambda *args, **kwargs: for_twins_too(found(*args, **kwargs))
        if name == "reset_classifier":
            return self._reset_classifier
        return found

    def _reset_classifier(self, *args: Any, **kwargs: Any) -> None:
        inputs = self._example_inputs(None)
        graphs = graphs_after_reset(self._root, self._tracing, inputs, (args, kwargs))
        root: Any = self._root
        root.reset_classifier(*args, **kwargs)
        add_constants(self._root, graphs)
        self._forwards.replace(graphs)

    def train(self, mode: bool = True) -> GraphModel:
        """Set train or eval mode, as the original does it."""
        self._set_mode(mode)
        self.training = self._root.training
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The original's state dict and the twins'."""
        return self._root.state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what :meth:`state_dict` gave; the calibrated configs become those found in it.

        With ``strict=False``, those that it does not hold stay as they are.
        """
        before, found = set(self.calibrated), set(configs_in(state_dict, len(self.stages)))
        self.prepare_statistics(found)
        if strict:
            self._forwards.set_statistics(dict.fromkeys(before - found))
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError:
            self._forwards.set_statistics(dict.fromkeys(found - before))
            raise

    def prepare_statistics(self, configs: Iterable[str]) -> None:
        """Give configs statistics of their own, equal to those that they run with now."""
        new = [SkipConfig(c, len(self.stages)) for c in configs if c not in self.calibrated]
        self._forwards.set_statistics({config: self._own_parts(config)[1] for config in new})

    def _own_parts(self, config: SkipConfig) -> tuple[fx.GraphModule, dict[str, nn.Module]]:
        """A sub-network in eval mode with statistics of its own, and its parts by path."""
        graph = fold(self._graphs[False], config)
        self._check_shapes(graph, self._example_inputs(None), False)
        original = self._forwards.original
        parts = own_parts(self._root, part_paths(graph, original))
        return straight_module(self._root, graph, original, False, instead=parts), parts

    def get_submodule(self, target: str) -> nn.Module:
        """The submodule at a path of the original, also below a child named ``stages``."""
        return self if target == "" else self._root.get_submodule(target)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            root = vars(self).get("_root")
            if root is None or name.startswith("__"):
                raise
            return self._adapted(name, getattr(root, name))

    def _keep_statistics(self, config: SkipConfig, parts: Mapping[str, nn.Module]) -> None:
        self._forwards.set_statistics({config: parts})

    @property
    def _layouts(self) -> tuple[Layout, ...]:
        return self._forwards.layouts

    @dispatches
    def _features_alone(
        self, skip: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """The stages' outputs; what comes after the last does not run."""
        if kwargs:
            args = self._positional(args, kwargs)
        run = self._forwards.get(skip, self.training, "features", args)
        found: tuple[torch.Tensor, ...] = run(self._root, *args)
        return found

    def _example(self, given: Any) -> Inputs:
        return Inputs(self._example_inputs(given))

    def _graphs_for(self, inputs: tuple[Any, ...]) -> Mapping[bool, GatedGraph]:
        return self._forwards.graphs_for(inputs)

    @property
    def _graphs(self) -> Mapping[bool, GatedGraph]:
        return self._forwards.example

    def _example_inputs(self, given: Any) -> tuple[Any, ...]:
        """Inputs of the shapes given, by default of those at conversion, without data."""
        if given is not None:
            positional = in_order(self._root, as_inputs(self._root, given))
            if positional is None:
                raise SubpathError(
                    "got inputs by name with gaps between them; expected those that the model was "
                    f"converted with: {', '.join(self._forwards.inputs)}"
                )
            return positional
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        example: tuple[Any, ...] = tree_map_only(
            torch.Tensor,
            lambda x: x.to(dtype) if x.is_floating_point() else x,
            self._tracing.example,
        )
        return example

    def _check_shapes(self, graph: fx.Graph, inputs: tuple[Any, ...], training: bool) -> None:
        """Let a graph that sizes decided refuse others; which batches it takes is tried."""
        gated = self._graphs_for(inputs)[training]
        if gated.by_size:
            check_shapes(graph, inputs, self._any_batch(gated, inputs, training))

    def _any_batch(self, gated: GatedGraph, inputs: tuple[Any, ...], training: bool) -> bool:
        """Whether the graph for ``inputs`` also holds for other batch sizes."""

        def with_one_more(x: torch.Tensor) -> torch.Tensor:
            return x.new_empty((x.shape[0] + 1, *x.shape[1:]))

        larger = self._graphs_for(tree_map_only(torch.Tensor, with_one_more, inputs))[training]
        return str(larger.graph) == str(gated.graph)

    @dispatches
    def _positional(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        names = self._forwards.inputs[len(args) :]
        if set(names) != set(kwargs):
            raise SubpathError(
                f"got the inputs {', '.join(kwargs)} by name; expected {', '.join(names) or 'none'}"
                ", the inputs that the model was converted with (see example_input of convert)"
            )
        return (*args, *[kwargs[name] for name in names])

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModel:
        copied = GraphModel(copy.deepcopy(self._root, memo), self._tracing, self._graphs)
        copied._switch.default = self._switch.default
        copied.measured = self.measured
        if self._frozen is not None:
            copied._frozen = tuple(copy.deepcopy(parameter, memo) for parameter in self._frozen)
        copied.set_grad_checkpointing(self._forwards.recompute)
        memo[id(self)] = copied
        return copied
