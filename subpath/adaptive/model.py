"""The adaptive model: one set of weights, one straight-line forward for each skip config."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map_only

from ..choice import MeasuredTable
from ..errors import ChoiceError, SubpathError
from ..plan import Plan, StagePlan
from ..skip import SkipConfig, skip_configs
from .backbone import Backbone
from .code import dispatches
from .forwards import Forwards
from .gates import GatedGraph, Returns, fold
from .graphs import Tracing, check_shapes
from .methods import METHODS
from .statistics import configs_in, installed, own_parts
from .subnet import straight_module

_ACTIVE: ContextVar[Mapping[int, SkipConfig]] = ContextVar("subpath_active_configs")
_NONE: Mapping[int, SkipConfig] = {}
_NUMBERS = itertools.count()

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


class AdaptiveModel(Backbone):
    """A network that can skip the second half of each residual stage (Kang and Lee, 2024).

    Made by :func:`subpath.convert`. Calling it runs the super-net, which is the original network
    bit for bit; ``model(x, skip="TTFF")`` runs a sub-network over the same weights. The state dict
    has the original's keys and, under ``twin_norms``, those of the twin norms. Attributes that this
    class does not define (``num_classes``, ``pretrained_cfg``, ``reset_classifier``, ...) are the
    original's.

    Attributes:
        measured: what each config costs and achieves, if it was measured; saved with the weights.
    """

    measured: MeasuredTable | None

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
        self._default = SkipConfig.super_net(len(tracing.plan.stages))
        self._number = next(_NUMBERS)
        self.measured = None
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
            skip = _ACTIVE.get(_NONE).get(self._number, self._default)
        return self._forwards.get(skip, self.training, "output", args)(self._root, *args)

    @dispatches
    def forward_features_of_stages(
        self, *args: Any, skip: str | None = None
    ) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The output and, for each stage, its output tensor (layout as in the network).

        The distillation of features compares these (paper, section 3.2); the channels are in
        dimension ``model.stages[i].channel_dim``.
        """
        if skip is None:
            skip = _ACTIVE.get(_NONE).get(self._number, self._default)
        run = self._forwards.get(skip, self.training, "both", args)
        output: tuple[Any, tuple[torch.Tensor, ...]] = run(self._root, *args)
        return output

    @property
    def plan(self) -> Plan:
        """How the network is cut; give it to ``convert`` to cut another copy the same way."""
        return self._tracing.plan

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """The stages that can be skipped, one letter of a skip config each."""
        return self.plan.stages

    def skip_configs(self) -> tuple[SkipConfig, ...]:
        """All ``2**S`` skip configs, super-net first, base-net last."""
        return tuple(skip_configs(len(self.stages)))

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of the example input of the conversion; ``None`` unless it was one tensor."""
        inputs = self._example_inputs(None)
        one = len(inputs) == 1 and isinstance(inputs[0], torch.Tensor)
        return tuple(inputs[0].shape) if one else None

    @property
    @dispatches
    def skip(self) -> SkipConfig:
        """The config that runs when a call names none; set it to change the default."""
        return _ACTIVE.get(_NONE).get(self._number, self._default)

    @skip.setter
    def skip(self, config: str) -> None:
        self._default = SkipConfig(config, len(self.stages))

    @contextmanager
    def using(self, skip: str) -> Iterator[AdaptiveModel]:
        """Run ``skip`` by default inside a ``with`` block, in this thread or task alone."""
        config = SkipConfig(skip, len(self.stages))
        token = self._activate(config)
        try:
            yield self
        finally:
            _ACTIVE.reset(token)

    def choose(
        self,
        *,
        max_latency_ms: float | None = None,
        max_gmacs: float | None = None,
        min_top1: float | None = None,
    ) -> SkipConfig:
        """Run the best config within a budget by default, in this thread or task alone.

        It is looked up in :attr:`measured`, in microseconds: the most accurate config within the
        budget (where no accuracy is known, the costliest), or, with ``min_top1`` alone, the
        cheapest that reaches it.

        Args:
            max_latency_ms: time of one call at most, under the conditions of the measurement.
            max_gmacs: multiply-adds for one input at most, in units of 1e9.
            min_top1: accuracy at least, in percent.

        Returns:
            The config, to give to a call as ``skip`` where another thread makes it.

        Raises:
            ChoiceError: nothing was measured that the budget asks for, or no config fits.
        """
        if self.measured is None:
            raise ChoiceError(
                "got a model of which nothing was measured; expected a table in model.measured, as "
                "subpath.measure.measured_table makes it, or a run saved with one"
            )
        config = self.measured.choose(
            max_latency_ms=max_latency_ms, max_gmacs=max_gmacs, min_top1=min_top1
        )
        self._activate(SkipConfig(config, len(self.stages)))
        return config

    def subnet(
        self,
        skip: str,
        copy_weights: bool = False,
        example_input: Any = None,
        *,
        features: bool = False,
    ) -> fx.GraphModule:
        """One sub-network as an ordinary module that knows nothing of this library.

        Its twins stand where the originals stood, and it holds only the weights it uses. If the
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
        return straight_module(self._root, graph, original, self.training, copy_weights)

    def save(self, directory: str | os.PathLike[str], **options: Any) -> None:
        """Write weights, plan and measured table; :func:`subpath.save` has the details."""
        METHODS["save"](self, directory, **options)

    def share_of_work(self, skip: str) -> float:
        """Multiply-adds of a config as a share of the super-net's, for the example input.

        Counts matrix products and convolutions; ``subpath.measure`` counts everything.
        """
        gated = self._graphs[False]
        whole = gated.macs(SkipConfig.super_net(len(self.stages)))
        return gated.macs(SkipConfig(skip, len(self.stages))) / whole if whole else 1.0

    def train(self, mode: bool = True) -> AdaptiveModel:
        """Set train or eval mode, as the original does it."""
        self._root.train(mode)
        self.training = mode
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

    @property
    def calibrated(self) -> tuple[SkipConfig, ...]:
        """The configs that run with statistics of their own in eval mode (see ``calibrate``)."""
        return tuple(SkipConfig(config) for config in sorted(installed(self._root)))

    def prepare_statistics(self, configs: Iterable[str]) -> None:
        """Give configs statistics of their own, equal to those that they run with now."""
        new = [SkipConfig(c, len(self.stages)) for c in configs if c not in self.calibrated]
        self._forwards.set_statistics({config: self._own_parts(config)[1] for config in new})

    def _own_parts(self, config: SkipConfig) -> tuple[fx.GraphModule, dict[str, nn.Module]]:
        """A sub-network in eval mode with statistics of its own, and its parts by path."""
        graph = fold(self._graphs[False], config)
        self._check_shapes(graph, self._example_inputs(None), False)
        original = self._forwards.original
        parts = own_parts(self._root, graph, original)
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

    def __repr__(self) -> str:
        active = self.skip
        lines = [f"AdaptiveModel of {type(self._root).__name__}"]
        for number, stage in enumerate(self.stages):
            state = "skips" if active.skips(number) else "keeps"
            count, blocks = len(stage.skippable), len(stage.blocks)
            lines.append(f"  {active[number]}  {stage.name}: {state} {count} of {blocks} blocks")
        lines.append(f"  skip={str(active)!r}: {self.share_of_work(active):.1%} of the MACs")
        if self.calibrated:
            lines.append(f"  with statistics of their own: {', '.join(self.calibrated)}")
        return "\n".join(lines)

    def _activate(self, config: SkipConfig) -> Token[Mapping[int, SkipConfig]]:
        return _ACTIVE.set({**_ACTIVE.get(_NONE), self._number: config})

    def _graphs_for(self, inputs: tuple[Any, ...]) -> Mapping[bool, GatedGraph]:
        return self._forwards.graphs_for(inputs)

    @property
    def _graphs(self) -> Mapping[bool, GatedGraph]:
        return self._forwards.example

    def _example_inputs(self, given: Any) -> tuple[Any, ...]:
        """Inputs of the shapes given, by default of those at conversion, without data."""
        if given is not None:
            return tuple(given) if isinstance(given, (tuple, list)) else (given,)
        gated = self._graphs[False]
        facts = [gated.facts[node] for node in gated.graph.find_nodes(op="placeholder")]
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        return tuple(
            torch.empty(fact.shape, dtype=dtype, device="meta") if fact.shape else fact.value
            for fact in facts
        )

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

    def __deepcopy__(self, memo: dict[int, Any]) -> AdaptiveModel:
        copied = AdaptiveModel(copy.deepcopy(self._root, memo), self._tracing, self._graphs)
        copied._default = self._default
        copied.measured = self.measured
        copied.set_grad_checkpointing(self._forwards.recompute)
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> Any:
        raise SubpathError(
            "got a request to pickle an AdaptiveModel; expected subpath.save(model, directory), "
            "which writes safetensors and JSON (pickles can run code when they are loaded)"
        )
