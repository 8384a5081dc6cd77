"""Modules of a network that runs in place, and what they do when their stage is skipped.

Each override stands in for the ``forward`` of one module. So hooks, keys of the state dict, classes
and modules stay what they are, and whoever calls the module, however deep inside code of its own,
calls the override.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..errors import PlanError, SubpathError
from ..graph.signature import signature_of
from ..graph.skipped_output import Template
from ..graph.tensors import Place, at
from ..graph.trace import is_torch_layer
from ..planning import Plan, StageEnd
from ..skip import SkipConfig
from .additions import merged
from .module_paths import addition_path, patch_path, twin_path
from .statistics import forget, installed, own_norms
from .switch import Switch
from .twins import SKIP_AWARE

# Where the stages' outputs go in a call that asks for them.
CAPTURED: ContextVar[dict[int, torch.Tensor] | None] = ContextVar("subpath_captured", default=None)
# Where the values at the patches go in a call that asks for them.
AT_PATCHES: ContextVar[dict[int, torch.Tensor] | None] = ContextVar("subpath_patches", default=None)
# How often each module that is called several times was called in this call of the network.
COUNTS: ContextVar[dict[int, int] | None] = ContextVar("subpath_counts", default=None)


class ForwardOverride:
    """Stands in for the ``forward`` of one module.

    Attributes:
        module: that module.
        original: its own ``forward``, or whatever stood there before.
        hands_back: by the number of the call (``None`` if there is one in a run of the network),
            in which stage it is skipped and what it then hands back.
        ends: by the number of the call, stages whose output it returns or is given.
        patches: by the number of the call, where in what is handed back the stream is that gets a
            patch, the patch, and its number in the plan.
        twin: the norm that takes its place when stage number ``stage`` is skipped.
        addition: what is added to what it gives when stage number ``stage`` is skipped.
        own: copies with statistics of a config's own.
        counted: whether its calls are told apart by their number.
    """

    def __init__(self, switch: Switch, module: nn.Module) -> None:
        self.switch = switch
        self.module = module
        self.original = module.forward
        self.hands_back: dict[int | None, tuple[int, Template]] = {}
        self.ends: dict[int | None, dict[int, StageEnd]] = {}
        self.patches: dict[int | None, tuple[Place, nn.Module, int]] = {}
        self.twin: nn.Module | None = None
        self.addition: nn.Module | None = None
        self.stage = -1
        self.own: dict[str, nn.Module] = {}
        self.counted = False
        self.__signature__ = signature_of(module.forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module or what stands in for it, or hand back what is given."""
        config = self.switch.running()
        call = self._count() if self.counted else None
        if self.ends:
            self._capture("given", call, partial(_argument, self.__signature__, args, kwargs))
        if call in self.hands_back and config[self.hands_back[call][0]] == "T":
            result = hand_back(self.hands_back[call][1], self, args, kwargs)
            if call in self.patches:
                result = patched(result, *self.patches[call][:2])
        else:
            result = self._forward(config)(*args, **kwargs)
            if self.addition is not None and config[self.stage] == "T":
                result = self.addition(args[0] if args else next(iter(kwargs.values())), result)
        if call in self.patches and (found := AT_PATCHES.get()) is not None:
            place, _, number = self.patches[call]
            found[number] = at(result, place).clone()
        if self.ends:
            self._capture("returned", call, partial(at, result))
        return result

    def _capture(self, side: str, call: int | None, found_at: Callable[[Place], Any]) -> None:
        captured = CAPTURED.get()
        if captured is not None:
            for number, end in self.ends.get(call, {}).items():
                if end.side == side:
                    found = found_at(end.place)
                    captured[number] = found.clone() if end.copied else found

    def _forward(self, config: str) -> Callable[..., Any]:
        if self.own and not self.module.training and config in self.own:
            return self.own[config].forward
        if self.twin is not None and config[self.stage] == "T":
            return self.twin.forward
        return self.original

    def _count(self) -> int:
        counts = COUNTS.get()
        if counts is None:
            raise SubpathError(
                "got a call of a submodule alone; expected a call of the whole network, as calls "
                "of a block that is used several times are told apart by counting them"
            )
        number = counts.get(id(self), 0)
        counts[id(self)] = number + 1
        return number


class HandingBack:
    """The ``forward`` of a block that is skipped for good; its patch is a part of the block."""

    def __init__(
        self, template: Template, override: ForwardOverride, patched_at: Place | None
    ) -> None:
        self.template = template
        self.module = override.module
        self.patched_at = patched_at
        self.__signature__ = override.__signature__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Hand back what is given."""
        result = hand_back(self.template, self, args, kwargs)
        if self.patched_at is None:
            return result
        return patched(result, self.patched_at, self.module.get_submodule("patch"))


class ForwardOverrides:
    """All overrides of one network, and the modules that they are on.

    Attributes:
        counted: whether there are blocks that are told apart by the number of their call.
        may_be_passed_by: whether there are norms that torch may fuse into one call with what is
            around them, in eval mode and without gradients: their twins would not be asked.
    """

    def __init__(self, root: nn.Module, plan: Plan, switch: Switch) -> None:
        self._root, self._plan, self._switch = root, plan, switch
        self._places: list[tuple[dict[str, Any], str, nn.Module]] = []
        self.counted = False
        parents = {twin.path.rpartition(".")[0] for twin in plan.twin_norms}
        self.may_be_passed_by = any(is_torch_layer(root.get_submodule(p)) for p in parents if p)

    def install(self) -> None:
        """Put an override onto each module of the plan that has none yet.

        Raises:
            PlanError: such a module is not there.
        """
        paths: dict[str, None] = {}
        numbers = {name: n for n, stage in enumerate(self._plan.stages) for name in stage.skippable}
        for item in self._plan.hands_back:
            override = self._override(item.path, paths)
            override.hands_back[item.call] = numbers[item.block], item.result
        for _, override in self._all():
            override.patches.clear()
        for index, patch in enumerate(self._plan.patches):
            end = self.end_to_patch(patch.stage)
            if end is None or patch.number:
                raise PlanError(
                    f"got a plan with a patch for {self._plan.stages[patch.stage].name}; expected "
                    "patches where the last skippable block hands back the stage's output"
                )
            module = self._module(patch_path(patch), paths)
            self._override(end.path, paths).patches[end.call] = end.place, module, index
        for number, end in enumerate(self._plan.ends):
            if end is not None:
                self._override(end.path, paths).ends.setdefault(end.call, {})[number] = end
        for twin in self._plan.twin_norms:
            norm = self._override(twin.path, paths)
            norm.stage, norm.twin = twin.stage, self._module(twin_path(twin), paths)
        for addition in self._plan.additions:
            layer = self._override(addition.path, paths)
            layer.stage = addition.stage
            layer.addition = self._module(addition_path(addition), paths)
        for config in installed(self._root):
            for path, part in own_norms(self._root, config):
                self._override(path, paths).own[config] = part
        for _, override in self._all():
            override.counted = any(
                call is not None for call in (*override.hands_back, *override.ends)
            )
        self.counted = any(override.counted for _, override in self._all())
        self._places = [self._place(path) for path in paths]

    def keep_up(self) -> None:
        """Follow modules that were put in the place of others since."""
        for registry, name, module in self._places:
            if registry.get(name) is not module:
                self.install()
                return

    def end_to_patch(self, stage: int) -> StageEnd | None:
        """The end of a stage, if its last block hands back there what it is given when skipped.

        Then a patch belongs there; elsewhere an outer forward adds, and nobody sees the sum.
        """
        end = self._plan.ends[stage]
        if end is None or end.side != "returned":
            return None
        last = self._plan.stages[stage].skippable[-1]
        for item in self._plan.hands_back:
            if item.block == last and (item.path, item.call) == (end.path, end.call):
                return end if _template_at(item.result, end.place)[0] == "input" else None
        return None

    def set_plan(self, plan: Plan) -> None:
        """Take a plan that differs from the present one in its patches alone."""
        self._plan = plan
        self.install()

    def skipped(self, config: SkipConfig) -> list[str]:
        """Paths of the modules that do not run at all in ``config``."""
        names = {name for stage in config.skipped for name in self._plan.stages[stage].skippable}
        items = (item for item in self._plan.hands_back if item.block in names)
        return [item.path for item in items if item.call is None]

    def make_permanent(self, config: SkipConfig) -> None:
        """Take all overrides away; what ``config`` skips is gone for good, with its weights."""
        if self.counted:
            raise SubpathError(
                "got subnet(...) of a network that calls one block several times and skips some of "
                "these calls; expected one call of each block. Use model.using(skip) instead"
            )
        root = self._root
        for path, override in self._all():
            _restore(override.module, override.original)
            if None in override.hands_back and config.skips(override.hands_back[None][0]):
                template = override.hands_back[None][1]
                place, patch, _ = override.patches.get(None, (None, None, 0))
                vars(override.module)["forward"] = HandingBack(template, override, place)
                for registry in (
                    override.module._modules,
                    override.module._parameters,
                    override.module._buffers,
                ):
                    registry.clear()
                if patch is not None:
                    override.module.add_module("patch", patch)
                continue
            part = override.own.get(config) if not override.module.training else None
            if part is None and config.skips(override.stage):
                part = override.twin
                if override.addition is not None:
                    part = merged(override.module, override.addition)
            if part is not None:
                root.set_submodule(path, part)
        for name in (*SKIP_AWARE, "calibrated"):
            root._modules.pop(name, None)
        for own in installed(root):
            forget(root, own)

    def _all(self) -> list[tuple[str, ForwardOverride]]:
        found = ((p, vars(m).get("forward")) for p, m in self._root.named_modules())
        return [
            (path, override) for path, override in found if isinstance(override, ForwardOverride)
        ]

    def _override(self, path: str, paths: dict[str, None]) -> ForwardOverride:
        module = self._module(path, paths)
        if not isinstance(vars(module).get("forward"), ForwardOverride):
            vars(module)["forward"] = ForwardOverride(self._switch, module)
        override: ForwardOverride = vars(module)["forward"]
        return override

    def _module(self, path: str, paths: dict[str, None]) -> nn.Module:
        names = path.split(".")
        paths |= dict.fromkeys(".".join(names[: n + 1]) for n in range(len(names)))
        try:
            return self._root.get_submodule(path)
        except AttributeError as error:
            raise PlanError(
                f"got a plan for another network: there is no module {path} in this "
                f"{type(self._root).__name__}"
            ) from error

    def _place(self, path: str) -> tuple[dict[str, Any], str, nn.Module]:
        owner, _, name = path.rpartition(".")
        return self._root.get_submodule(owner)._modules, name, self._root.get_submodule(path)


def without_overrides(module: nn.Module) -> nn.Module:
    """``module`` itself, a copy whose parts have overrides; they get their own ``forward`` back."""
    for inner in module.modules():
        override = vars(inner).get("forward")
        if isinstance(override, ForwardOverride):
            _restore(inner, override.original)
    return module


def _restore(module: nn.Module, original: Any) -> None:
    """Give ``module`` its own ``forward`` back."""
    if getattr(original, "__func__", None) is getattr(type(module), "forward", None):
        del vars(module)["forward"]
    else:  # somebody had replaced it before
        vars(module)["forward"] = original


def hand_back(
    template: Template, called: ForwardOverride | HandingBack, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """What ``template`` makes of the arguments of one call."""
    kind, *rest = template
    if kind == "input":
        return _argument(called.__signature__, args, kwargs, tuple(rest))
    if kind == "zeros":
        return torch.zeros_like(_argument(called.__signature__, args, kwargs, tuple(rest)))
    if kind == "sized zeros":
        dim, size, *place = rest
        given = _argument(called.__signature__, args, kwargs, tuple(place))
        return given.new_zeros([*given.shape[:dim], size, *given.shape[dim + 1 :]])
    if kind == "value":
        return rest[0]
    if kind in ("dict", "record"):
        make = dict if kind == "dict" else _record_class(called.module, rest.pop(0))
        return make(**{key: hand_back(item, called, args, kwargs) for key, item in rest})
    items = (hand_back(item, called, args, kwargs) for item in rest)
    return list(items) if kind == "list" else tuple(items)


def patched(result: Any, place: Place, patch: nn.Module) -> Any:
    """What is handed back, with ``h + patch(h)`` where ``h`` was."""
    if not place:
        return result + patch(result)
    key, *rest = place
    inner = patched(at(result, (key,)), tuple(rest), patch)
    if isinstance(result, dict):
        return {**result, key: inner}
    if isinstance(result, (tuple, list)):
        return type(result)(inner if n == key else item for n, item in enumerate(result))
    return replace(result, **{key: inner})


def _template_at(template: Template, place: Place) -> Template:
    """The part of a template that gives what lies at ``place`` of the result."""
    for key in place:
        kind, *rest = template
        if kind in ("tuple", "list"):
            template = rest[key]
        elif kind in ("dict", "record"):
            template = dict(rest[kind == "record" :])[key]
        else:
            return template
    return template


def _record_class(module: nn.Module, name: str) -> Any:
    """The dataclass of that name that the source file of the module's class knows."""
    found = getattr(sys.modules.get(type(module).__module__), name, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise PlanError(
            f"got a plan in which a {type(module).__name__} hands back a {name}, which "
            f"{type(module).__module__} does not know; expected the network it was made for"
        )
    return found


def _argument(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Any, place: Place
) -> Any:
    name, *rest = place
    if name in kwargs:
        return at(kwargs[name], tuple(rest))
    for number, parameter in enumerate(signature.parameters.values()):
        if parameter.name == name and parameter.kind is parameter.VAR_POSITIONAL:
            return at(args[number:], tuple(rest))
        if parameter.name == name:
            return at(args[number] if number < len(args) else parameter.default, tuple(rest))
    raise SubpathError(
        f"got a call of a skipped block without {name}, which it would have handed back; expected "
        "a call as in the example that the network was converted with"
    )
