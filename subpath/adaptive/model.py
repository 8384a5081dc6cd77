"""The adaptive model: one set of weights, as many depths as there are skip configs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal

import torch
from torch import nn

from ..choice import MeasuredTable
from ..errors import ChoiceError, SubpathError
from ..graph.inputs import Inputs
from ..planning import Patch, Plan, StagePlan
from ..skip import SkipConfig, skip_configs
from .codegen import dispatches
from .features import FeatureInfo, Layout
from .statistics import installed
from .switch import Switch
from .twins import SKIP_AWARE

Passing = Callable[..., tuple[Any, tuple[torch.Tensor, ...]]]


class AdaptiveModel(nn.Module):
    """A network that can skip the second half of each residual stage (Kang and Lee, 2024).

    Made by :func:`subpath.convert`. Calling it runs the super-net, which is the original network
    bit for bit; ``model(x, skip="TTFF")`` runs a sub-network over the same weights. The state dict
    has the original's keys and, under ``twin_norms``, those of the twin norms. Attributes that this
    class does not define (``num_classes``, ``pretrained_cfg``, ``config``, ...) are the original's.

    There are two ways of running, and ``plan.run`` tells which: from the network's graph
    (:class:`.graph_model.GraphModel`), or in place (:class:`.in_place.InPlaceModel`).

    Attributes:
        measured: what each config costs and achieves, if it was measured; saved with the weights.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ForkingPickler.register(cls, _in_parts)  # dispatched by the exact class

    measured: MeasuredTable | None
    _switch: Switch
    _root: nn.Module
    _frozen: tuple[nn.Parameter, ...] | None

    @property
    def plan(self) -> Plan:
        """How the network is cut; give it to ``convert`` to cut another copy the same way."""
        raise NotImplementedError

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """The stages that can be skipped, one letter of a skip config each."""
        return self.plan.stages

    def skip_configs(self) -> tuple[SkipConfig, ...]:
        """All ``2**S`` skip configs, super-net first, base-net last."""
        return tuple(skip_configs(len(self.stages)))

    def outputs(
        self,
        *args: Any,
        skips: Sequence[str] | None = None,
        features: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[SkipConfig, Any]]:
        """The outputs of several configs for one batch, each when it is computed.

        Where the model runs from its graph, in eval mode, configs share what they have in common:
        stage 1 is computed in two variants for all of them, stage 2 in four, and so on.

        Args:
            *args: what a call takes.
            skips: the configs; default: all. Each comes once, the first of them first, in an order
                that suits sharing.
            features: give what :meth:`forward_features_of_stages` gives.
            **kwargs: what a call takes by name.

        Raises:
            SkipConfigError: one is not a config of this model.
        """
        given = self.skip_configs() if skips is None else skips
        run: Callable[..., Any] = self.forward_features_of_stages if features else self
        for skip in [SkipConfig(skip, len(self.stages)) for skip in dict.fromkeys(given)]:
            yield skip, run(*args, skip=skip, **kwargs)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of the example input of the conversion; ``None`` unless it was one tensor."""
        inputs = self._example(None)
        one = len(inputs.args) == 1 and not inputs.kwargs
        return tuple(inputs.args[0].shape) if one and _is_tensor(inputs.args[0]) else None

    @property
    @dispatches
    def skip(self) -> SkipConfig:
        """The config that runs when a call names none; set it to change the default."""
        return self._switch.active()

    @skip.setter
    def skip(self, config: str) -> None:
        self._switch.default = self._switch.config(config)

    @contextmanager
    def using(self, skip: str) -> Iterator[Any]:
        """Run ``skip`` by default inside a ``with`` block, in this thread or task alone."""
        token = self._switch.activate(self._switch.config(skip))
        try:
            yield self
        finally:
            self._switch.back(token)

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
                "got a model without measurements; expected a table in model.measured, as "
                "subpath.measure.measured_table makes it, or a run saved with one"
            )
        config = self.measured.choose(
            max_latency_ms=max_latency_ms, max_gmacs=max_gmacs, min_top1=min_top1
        )
        self._switch.activate(self._switch.config(config))
        return config

    def subnet(
        self,
        skip: str,
        copy_weights: bool = False,
        example_input: Any = None,
        *,
        features: bool = False,
    ) -> Any:
        """One sub-network as an ordinary module; the way of running tells which kind."""
        raise NotImplementedError

    def forward_features_of_stages(
        self, *args: Any, skip: str | None = None, **kwargs: Any
    ) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The output and, for each stage, its output tensor (layout as in the network).

        The distillation of features compares these (paper, section 3.2); the channels are in
        dimension ``model.stages[i].channel_dim``.
        """
        raise NotImplementedError

    @contextmanager
    def sharing(self) -> Iterator[Passing]:
        """Several passes over one batch; what configs begin with is computed once if it can be.

        Gives a function that is called as :meth:`forward_features_of_stages` is, always with a
        ``skip``. Each result is backpropagated before the ``with`` block ends; at its end follows
        the backward pass of what was shared, with the sum of the gradients. Running statistics
        count the batch once for each pass.
        """
        yield self.forward_features_of_stages

    @dispatches
    def features(
        self,
        *args: Any,
        skip: str | None = None,
        output_fmt: Literal["network", "NCHW"] = "network",
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """The output of each stage in :attr:`stages`.

        Args:
            *args: what the model takes.
            skip: the skip config; default: the active one.
            output_fmt: ``"network"`` gives them as the network has them (the channels are in
                dimension ``model.stages[i].channel_dim``); ``"NCHW"`` as feature maps: batch,
                channels, rows, columns. Tokens beside the patches', which are taken to stand
                first (class token, registers), are then left out.
            **kwargs: inputs by name.

        Returns:
            One tensor a stage; :attr:`feature_info` tells their channels and strides.

        Raises:
            SkipConfigError: ``skip`` is not a config of this model.
            SubpathError: a stage's output is no feature map.
        """
        if output_fmt not in ("network", "NCHW"):
            raise SubpathError(f"got output_fmt={output_fmt!r}; expected 'network' or 'NCHW'")
        found = self._features_alone(self.skip if skip is None else skip, args, kwargs)
        if output_fmt == "network":
            return list(found)
        given = args[0] if args else next(iter(kwargs.values()))
        maps = []  # a comprehension would be a frame of its own to torch.compile
        for layout, feature in zip(self._layouts, found, strict=True):
            maps.append(layout.feature_map(feature, given.shape))
        return maps

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels, stride and module path of what :meth:`features` gives, as timm tells them."""
        return FeatureInfo(
            {
                "num_chs": stage.output_shape[stage.channel_dim - 1],
                "reduction": layout.reduction,
                "module": stage.blocks[-1],
            }
            for stage, layout in zip(self.stages, self._layouts, strict=True)
        )

    def save(self, directory: str | os.PathLike[str], **options: Any) -> None:
        """Write weights, plan and measured table; :func:`subpath.save` has the details."""
        from ..checkpoint import save  # a higher room: this method is there for convenience

        save(self, directory, **options)

    def save_adapter(self, directory: str | os.PathLike[str], **options: Any) -> None:
        """Write what the original does not have; :func:`subpath.save_adapter` has the details."""
        from ..checkpoint import save_adapter

        save_adapter(self, directory, **options)

    def share_of_work(self, skip: str) -> float:
        """Multiply-adds of a config as a share of the super-net's, for the example input.

        Counts matrix products and convolutions; ``subpath.measure`` counts everything.
        """
        raise NotImplementedError

    @property
    def calibrated(self) -> tuple[SkipConfig, ...]:
        """The configs that run with statistics of their own in eval mode (see ``calibrate``)."""
        return tuple(SkipConfig(config) for config in sorted(installed(self._root)))

    def possible_patches(self) -> tuple[Patch, ...]:
        """A full map for each end of each stage that can have one (see ``subpath.fit``)."""
        raise NotImplementedError

    def set_patches(self, patches: Iterable[Patch]) -> None:
        """Give the stages these patches and no others; fresh ones change nothing.

        Args:
            patches: as :meth:`possible_patches` gives them, with a ``rank`` or without.

        Raises:
            PlanError: one of them has no place here.
        """
        raise NotImplementedError

    def at_patches(self, *args: Any, skip: str, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """What each patch of the plan gives, or the value at its place if its stage is kept."""
        raise NotImplementedError

    def skip_aware_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that the original does not have, by name.

        Those of twin norms, patches and additions.
        """
        for name, parameter in self.named_parameters():
            if name.partition(".")[0] in SKIP_AWARE:
                yield name, parameter

    @property
    def original_frozen(self) -> bool:
        """Whether only skip-aware parameters learn; see :meth:`freeze_original`."""
        return self._frozen is not None

    def freeze_original(self, freeze: bool = True) -> None:
        """Let only skip-aware parameters learn: those of twin norms, patches and additions.

        The original's parameters get no gradient, and in train mode its modules stay in eval mode:
        statistics and dropout are as in use. So the super-net stays the original, bit for bit, and
        :func:`subpath.distill.two_pass_step` runs it without gradient. ``model.train()`` brings the
        twin norms alone into train mode.

        Args:
            freeze: ``False`` undoes it.
        """
        if freeze == self.original_frozen:
            return
        mode = any(module.training for module in self.modules())
        for parameter in self._frozen or ():
            parameter.requires_grad = True
        own = {id(parameter) for _, parameter in self.skip_aware_parameters()}
        learning = tuple(p for p in self.parameters() if p.requires_grad and id(p) not in own)
        for parameter in learning if freeze else ():
            parameter.requires_grad = False
        vars(self)["_frozen"] = learning if freeze else None
        self.train(mode)

    def _set_mode(self, mode: bool) -> None:
        """Set the mode of the original's modules, and of those it does not have."""
        self._root.train(mode and not self.original_frozen)
        for name in SKIP_AWARE if self.original_frozen else ():
            if (added := self._root._modules.get(name)) is not None:
                added.train(mode)

    def prepare_statistics(self, configs: Iterable[str]) -> None:
        """Give configs statistics of their own, equal to those that they run with now."""
        raise NotImplementedError

    def __repr__(self) -> str:
        active = self.skip
        lines = [f"AdaptiveModel of {type(self._root).__name__}"]
        for number, stage in enumerate(self.stages):
            state = "skips" if active.skips(number) else "keeps"
            count, blocks = len(stage.skippable), len(stage.blocks)
            lines.append(f"  {active[number]}  {stage.name}: {state} {count} of {blocks} blocks")
        lines.append(f"  skip={str(active)!r}: {self.share_of_work(active):.1%} of the MACs")
        if self.plan.patches:
            ranks = ", ".join("full" if p.rank is None else str(p.rank) for p in self.plan.patches)
            lines.append(f"  patches of rank {ranks}")
        if self.plan.additions:
            highest = max(addition.rank for addition in self.plan.additions)
            lines.append(f"  {len(self.plan.additions)} additions of rank {highest}")
        if self.calibrated:
            lines.append(f"  with statistics of their own: {', '.join(self.calibrated)}")
        return "\n".join(lines)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less for the backward pass in train mode; compute it again for gradients."""
        raise NotImplementedError

    def _own_parts(self, config: SkipConfig) -> tuple[nn.Module, dict[str, nn.Module]]:
        """A sub-network in eval mode with statistics of its own, and its parts by path."""
        raise NotImplementedError

    def _keep_statistics(self, config: SkipConfig, parts: Mapping[str, nn.Module]) -> None:
        """Let ``config`` run with the statistics of ``parts`` from now on."""
        raise NotImplementedError

    def _example(self, given: Any) -> Inputs:
        """Inputs of the shapes given, by default of those at conversion, without data."""
        raise NotImplementedError

    def _features_alone(
        self, skip: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """The stages' outputs."""
        raise NotImplementedError

    @property
    def _layouts(self) -> tuple[Layout, ...]:
        """Of the stages' outputs."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        raise SubpathError(
            "got a request to pickle an AdaptiveModel; expected subpath.save(model, directory), "
            "which writes safetensors and JSON (pickles can run code when they are loaded). "
            "Processes of multiprocessing and torch.multiprocessing exchange models as they are; "
            "for another library's workers (joblib, ray) give them subpath.sendable(model)"
        )


def _in_parts(model: AdaptiveModel) -> tuple[Any, ...]:
    """How a model goes to another process of this machine; see :mod:`.sending`."""
    from .sending import in_parts  # it knows both kinds of model

    return in_parts(model)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)
