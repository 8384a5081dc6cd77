"""An adaptive model that runs in place: the original's own forward, with blocks that step aside."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn

from ..errors import ConversionError, PlanError, SubpathError
from ..graph.copies import try_out
from ..graph.cost import Cost, cost_of
from ..graph.inputs import Inputs, as_inputs
from ..graph.shapes import NoFastPath
from ..planning import Patch, Plan
from ..skip import SkipConfig
from .features import Layout, layouts_by_shape
from .forward_override import AT_PATCHES, CAPTURED, COUNTS, ForwardOverrides, without_overrides
from .model import AdaptiveModel
from .module_paths import addition_path, patch_path, twin_path
from .patches import can_be_patched, set_patches
from .statistics import configs_in, has_statistics, install, own_parts, remove
from .switch import Switch
from .twins import SKIP_AWARE

_OWN = ("_switch", "_root", "_cut", "_overrides", "_given", "_work", "_frozen", "measured")
_ADDED = (*SKIP_AWARE, "calibrated")


class InPlaceModel(AdaptiveModel):
    """See :class:`.model.AdaptiveModel`; it is also an instance of the original's class.

    Two objects share one ``__dict__``: this one, which has the methods of both classes, and
    ``_root``, of the original's class alone, whose forward runs. So what the original calls
    ``stages`` or ``features`` stays its own inside that forward, and everything else (``generate``,
    ``config``, ``save_pretrained``, hooks) is reached here.
    """

    _cut: Plan
    _overrides: ForwardOverrides
    _given: Inputs | None
    _work: dict[str, int]

    # Blocks ask a context variable, of which torch.compile knows nothing. A sub-network asks none.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, skip: str | None = None, **kwargs: Any) -> Any:
        """Run one sub-network, uncompiled; compile ``model.subnet(skip)`` instead.

        Args:
            *args: what the original takes.
            skip: one letter a stage, ``T`` skips it; default: the config set by :meth:`using` or
                :attr:`skip`, else the super-net.
            **kwargs: what the original takes by name.

        Returns:
            What the original returns.

        Raises:
            SkipConfigError: ``skip`` is not a config of this model.
        """
        switch = self._switch
        self._overrides.keep_up()
        token = None if skip is None else switch.activate(switch.config(skip))
        counts = COUNTS.set({}) if self._overrides.counted else None
        try:
            if self._overrides.may_be_passed_by and "T" in switch.active():
                with NoFastPath():
                    output = self._root(*args, **kwargs)
            else:
                output = self._root(*args, **kwargs)
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                switch.note_backward(output)
            return output
        finally:
            if counts is not None:
                COUNTS.reset(counts)
            if token is not None:
                switch.back(token)

    @property
    def plan(self) -> Plan:
        """How the network is cut; give it to ``convert`` to cut another copy the same way."""
        return self._cut

    def forward_features_of_stages(
        self, *args: Any, skip: str | None = None, **kwargs: Any
    ) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The output and the stages' outputs."""
        nowhere = [
            s.name for s, end in zip(self.stages, self._cut.ends, strict=True) if end is None
        ]
        if nowhere:
            raise SubpathError(
                f"got a network in which no module returns or receives the output of "
                f"{', '.join(nowhere)}; expected one whose stage outputs can be seen. "
                "Distil from the network's output alone"
            )
        found: dict[int, torch.Tensor] = {}
        token = CAPTURED.set(found)
        try:
            output = self(*args, skip=skip, **kwargs)
        finally:
            CAPTURED.reset(token)
        if len(found) < len(self.stages):
            missing = [s.name for number, s in enumerate(self.stages) if number not in found]
            raise SubpathError(
                f"got a call in which {', '.join(missing)} did not run; expected one of the whole "
                "network"
            )
        return output, tuple(found[number] for number in range(len(self.stages)))

    def subnet(
        self,
        skip: str,
        copy_weights: bool = False,
        example_input: Any = None,
        *,
        features: bool = False,
    ) -> nn.Module:
        """One sub-network, of the original's class; its skipped blocks hold no weights any more.

        Its twins stand where the originals stood.

        Args:
            skip: the skip config.
            copy_weights: give it weights of its own instead of sharing this model's.
            example_input: not needed here.
            features: not to be had here; call :meth:`forward_features_of_stages`.

        Returns:
            A network in this model's present mode (train or eval).
        """
        if features:
            raise SubpathError(
                "got features=True for a network that runs in place; expected features=False, or a "
                "call of model.forward_features_of_stages(..., skip=...)"
            )
        config = self._switch.config(skip)
        memo: dict[int, Any] = {}
        if not copy_weights:
            tensors = (*self._root.parameters(), *self._root.buffers())
            memo = {id(tensor): tensor for tensor in tensors}
        alone: Any = copy.deepcopy(self._root, memo)
        alone._overrides.make_permanent(config)
        for name in _OWN:
            vars(alone).pop(name)
        bare: nn.Module = alone
        return bare

    def share_of_work(self, skip: str) -> float:
        """Multiply-adds of a config as a share of the super-net's, for the example input."""
        whole, part = (
            self._macs(config)
            for config in (SkipConfig.super_net(len(self.stages)), self._switch.config(skip))
        )
        return part / whole if whole else 1.0

    def _macs(self, config: SkipConfig) -> int:
        if config not in self._work:
            self._work[config] = self.work(config).total
        return self._work[config]

    def parameters_of(self, config: SkipConfig) -> list[nn.Parameter]:
        """The parameters that ``config`` uses, each once; a twin's instead of its original's."""
        skipped = self._overrides.skipped(config)
        twins = {twin.path: twin_path(twin) for twin in self.plan.twin_norms}
        used = {
            path: module
            for path, module in self._root.named_modules()
            if path.partition(".")[0] not in _ADDED
            and not any(f"{path}.".startswith(f"{block}.") for block in skipped)
        }
        for twin in self.plan.twin_norms:
            if config.skips(twin.stage) and twin.path in used:
                used[twin.path] = self._root.get_submodule(twins[twin.path])
        patches = [(patch.stage, patch_path(patch)) for patch in self.plan.patches]
        additions = [(item.stage, addition_path(item)) for item in self.plan.additions]
        for stage, path in patches + additions:
            if config.skips(stage):
                used |= dict(self._root.get_submodule(path).named_modules(prefix=path))
        found = {id(p): p for module in used.values() for p in module.parameters(recurse=False)}
        return list(found.values())

    def possible_patches(self) -> tuple[Patch, ...]:
        """A full map for each stage whose last block hands back the stream."""
        found = []
        for number, stage in enumerate(self.stages):
            shape = (1, *stage.output_shape)
            if self._overrides.end_to_patch(number) and can_be_patched(shape, stage.channel_dim):
                channels = shape[stage.channel_dim]
                found.append(Patch(number, 0, channels, stage.channel_dim, len(shape)))
        return tuple(found)

    def set_patches(self, patches: Iterable[Patch]) -> None:
        """Give the stages these patches, which change nothing yet, and no others."""
        plan = replace(self.plan, patches=tuple(patches))
        possible = self.possible_patches()
        wrong = [patch for patch in plan.patches if replace(patch, rank=None) not in possible]
        if wrong:
            raise PlanError(
                f"got the patch {wrong[0]}; expected one of {list(possible)}, with any rank"
            )
        set_patches(self._root, plan.patches)
        vars(self._root)["_cut"] = plan
        self._work.clear()
        self._overrides.set_plan(plan)

    def at_patches(self, *args: Any, skip: str, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """What each patch of the plan gives, or the value at its place if its stage is kept."""
        found: dict[int, torch.Tensor] = {}
        token = AT_PATCHES.set(found)
        try:
            self(*args, skip=skip, **kwargs)
        finally:
            AT_PATCHES.reset(token)
        return tuple(found[number] for number in range(len(self.plan.patches)))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Turn the original's own gradient checkpointing on or off."""
        root: Any = self._root
        if hasattr(root, "set_grad_checkpointing"):
            root.set_grad_checkpointing(enable)
            return
        done = "enable" if enable else "disable"
        # transformers has had two names for it
        for name in ("activation_checkpointing", "gradient_checkpointing"):
            if hasattr(root, f"{name}_{done}"):
                getattr(root, f"{name}_{done}")()
                return
        if enable:
            raise SubpathError(
                f"got a {type(root).__name__}, which runs in place and has no gradient "
                "checkpointing of its own; expected one that has"
            )

    def train(self, mode: bool = True) -> InPlaceModel:
        """Set train or eval mode, as the original does it."""
        self._set_mode(mode)
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """The submodule at a path of the original, also below a child named ``stages``."""
        return self if target == "" else self._root.get_submodule(target)

    def prepare_statistics(self, configs: Iterable[str]) -> None:
        """Give configs statistics of their own, equal to those that they run with now."""
        for config in map(self._switch.config, configs):
            if config not in self.calibrated:
                self._keep_statistics(config, self._own_parts(config)[1])

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what ``state_dict`` gave; the calibrated configs become those found in it."""
        found = set(configs_in(state_dict, len(self.stages)))
        self.prepare_statistics(found)
        for config in set(self.calibrated) - found if strict else ():
            remove(self._root, config)
        self._overrides.install()
        return super().load_state_dict(state_dict, strict, assign)

    def work(self, config: SkipConfig, given: Any = None) -> Cost:
        """What one run of ``config`` costs on inputs of the shapes given, batch included.

        It runs without data where it can, else on a copy.
        """
        inputs = self._example(given)

        def run(root: nn.Module, given: Inputs) -> Cost:
            return cost_of(lambda: view_of(root)(*given.args, skip=config, **given.kwargs))

        return try_out(self._root, inputs, run)

    def _own_parts(self, config: SkipConfig) -> tuple[nn.Module, dict[str, nn.Module]]:
        """A sub-network in eval mode with statistics of its own, and its parts by path."""
        twins = {twin.path: twin for twin in self.plan.twin_norms if config.skips(twin.stage)}
        skipped = self._overrides.skipped(config)
        paths = [
            (twin_path(twins[path]) if path in twins else path, path)
            for path, module in self._root.named_modules()
            if has_statistics(module)
            and path.partition(".")[0] not in _ADDED
            and not any(f"{path}.".startswith(f"{block}.") for block in skipped)
        ]
        parts = {path: without_overrides(m) for path, m in own_parts(self._root, paths).items()}
        alone = self.subnet(config).eval()
        for path, part in parts.items():
            alone.set_submodule(path, part)
        return alone, parts

    def _keep_statistics(self, config: SkipConfig, parts: Mapping[str, nn.Module]) -> None:
        install(self._root, config, parts)
        self._overrides.install()

    def _example(self, given: Any) -> Inputs:
        if given is not None:
            return as_inputs(self._root, given)
        if self._given is None:
            raise SubpathError(
                "got a model that was converted from a plan alone, without an example input; "
                "expected example_input=..., as the model takes it"
            )
        return self._given

    def _features_alone(
        self, skip: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        return self.forward_features_of_stages(*args, skip=skip, **kwargs)[1]

    @property
    def _layouts(self) -> tuple[Layout, ...]:
        return layouts_by_shape(self.stages, None if self._given is None else self.input_shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> InPlaceModel:
        copied = view_of(copy.deepcopy(self._root, memo))
        copied._overrides.install()  # a copy of a scripted module has none of its attributes
        memo[id(self)] = copied
        return copied


def run_in_place(root: nn.Module, plan: Plan, given: Inputs | None) -> InPlaceModel:
    """Let the network ``root`` step aside where ``plan`` says.

    Args:
        root: a copy of the caller's network that already holds the twins; it becomes a part of the
            result.
        plan: how it is cut.
        given: example inputs, if there are some.

    Raises:
        ConversionError: ``root`` has attributes of the names that are needed.
        PlanError: a module of the plan is not there.
    """
    taken = [name for name in _OWN if hasattr(root, name)]
    if taken:
        raise ConversionError(
            f"got a {type(root).__name__} with attributes called {', '.join(taken)}; expected "
            "those names to be free. Rename them"
        )
    switch = Switch(len(plan.stages))
    vars(root).update(
        _switch=switch,
        _root=root,
        _cut=plan,
        _given=given,
        _work={},
        measured=None,
        _frozen=None,
        _overrides=ForwardOverrides(root, plan, switch),
    )
    root._overrides.install()  # type: ignore[operator, union-attr]
    return view_of(root)


def plain_copy(model: InPlaceModel) -> nn.Module:
    """The network without what :func:`run_in_place` put into it, over the same weights.

    It keeps twins, patches and statistics of configs, so that it can be prepared again.
    """
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    plain = without_overrides(copy.deepcopy(model._root, memo))
    for name in _OWN:
        vars(plain).pop(name)
    return plain


def view_of(root: nn.Module) -> InPlaceModel:
    """The adaptive model of a network that :func:`run_in_place` prepared."""
    original: Any = type(root)
    model: InPlaceModel = object.__new__(_class_for(original))
    object.__setattr__(model, "__dict__", vars(root))
    return model


@cache
def _class_for(original: Any) -> type[InPlaceModel]:
    """A class that is adaptive and still the original's, by name too, which files may hold."""
    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(original.__name__, (InPlaceModel, original), names)
