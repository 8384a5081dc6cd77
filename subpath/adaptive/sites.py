"""Modules of a network that runs in place, and what they do when their stage is skipped.

Each site stands in for the ``forward`` of one module. So hooks, keys of the state dict, classes
and modules stay what they are, and whoever calls the module, however deep inside code of its own,
calls the site.
"""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from ..errors import PlanError, SubpathError
from ..graph.handing import Template
from ..graph.tensors import Place, at
from ..graph.trace import is_torch_layer
from ..plan import Plan
from ..skip import SkipConfig
from .gates import twin_path
from .statistics import forget, installed, own_norms
from .switch import Switch

# Where the stages' outputs go in a call that asks for them.
CAPTURED: ContextVar[dict[int, torch.Tensor] | None] = ContextVar("subpath_captured", default=None)
# How often each module that is called several times was called in this call of the network.
COUNTS: ContextVar[dict[int, int] | None] = ContextVar("subpath_counts", default=None)


class BlockSite:
    """A block: when its stage is skipped it hands back what it is given."""

    def __init__(self, switch: Switch, module: nn.Module) -> None:
        self.switch = switch
        self.original = module.forward
        # By the number of the call; None if there is one call in a run of the network.
        self.stages: dict[int | None, int] = {}
        self.templates: dict[int | None, Template] = {}
        self.ends: dict[int | None, tuple[int, Place]] = {}
        self.__signature__ = inspect.signature(module.forward)

    @property
    def counted(self) -> bool:
        """Whether its calls are told apart."""
        return None not in self.stages and None not in self.ends

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block, or hand back what it is given."""
        call = self._count() if self.counted else None
        stage = self.stages.get(call)
        if stage is not None and self.switch.running()[stage] == "T":
            result = hand_back(self.templates[call], self.__signature__, args, kwargs)
        else:
            result = self.original(*args, **kwargs)
        captured = CAPTURED.get()
        if captured is not None and call in self.ends:
            number, place = self.ends[call]
            captured[number] = at(result, place)
        return result

    def _count(self) -> int:
        counts = COUNTS.get()
        if counts is None:
            raise SubpathError(
                "got a call of a part of the network; expected one of the whole network, which "
                "tells the first call of a shared block from the next"
            )
        number = counts.get(id(self), 0)
        counts[id(self)] = number + 1
        return number


class NormSite:
    """A norm for which another stands in: its twin, or a copy with statistics of a config's own."""

    def __init__(self, switch: Switch, module: nn.Module) -> None:
        self.switch = switch
        self.module = module
        self.original = module.forward
        self.twin: nn.Module | None = None
        self.stage = -1
        self.own: dict[str, nn.Module] = {}
        self.__signature__ = inspect.signature(module.forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the norm, or what stands in for it."""
        config = self.switch.running()
        if self.own and not self.module.training and config in self.own:
            return self.own[config].forward(*args, **kwargs)
        if self.twin is not None and config[self.stage] == "T":
            return self.twin.forward(*args, **kwargs)
        return self.original(*args, **kwargs)


class HandingBack:
    """The ``forward`` of a block that is skipped for good."""

    def __init__(self, template: Template, signature: inspect.Signature) -> None:
        self.template = template
        self.__signature__ = signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Hand back what is given."""
        return hand_back(self.template, self.__signature__, args, kwargs)


class Sites:
    """All sites of one network, and the modules that they are on.

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
        """Put a site onto each module of the plan that has none yet.

        Raises:
            PlanError: such a module is not there.
        """
        paths: dict[str, None] = {}
        numbers = {name: n for n, stage in enumerate(self._plan.stages) for name in stage.skippable}
        for item in self._plan.hands_back:
            site = self._block(item.block.partition("#")[0], paths)
            site.stages[item.call] = numbers[item.block]
            site.templates[item.call] = item.result
            self.counted |= item.call is not None
        for number, end in enumerate(self._plan.ends):
            self._block(end.path, paths).ends[end.call] = number, end.place
            self.counted |= end.call is not None
        for twin in self._plan.twin_norms:
            norm = self._norm(twin.path, paths)
            norm.stage, norm.twin = twin.stage, self._module(twin_path(twin), paths)
        for config in installed(self._root):
            for path, part in own_norms(self._root, config):
                self._norm(path, paths).own[config] = part
        self._places = [self._place(path) for path in paths]

    def keep_up(self) -> None:
        """Follow modules that were put in the place of others since."""
        for registry, name, module in self._places:
            if registry.get(name) is not module:
                self.install()
                return

    def skipped(self, config: SkipConfig) -> list[str]:
        """Paths of the modules that do not run at all in ``config``."""
        skipped = [self._plan.stages[stage].skippable for stage in config.skipped]
        return [name for names in skipped for name in names if "#" not in name and name]

    def make_permanent(self, config: SkipConfig) -> None:
        """Take all sites away; what ``config`` skips is skipped for good and loses its weights."""
        if self.counted:
            raise SubpathError(
                "got a network that calls one block several times; expected blocks of their own "
                "for a sub-network without a switch. Use model.using(skip) instead"
            )
        root, skipped = self._root, self.skipped(config)
        for path, site in self._sites(BlockSite):
            module = root.get_submodule(path)
            if path in skipped:
                template = site.templates[None]
                vars(module)["forward"] = HandingBack(template, site.__signature__)
                for registry in (module._modules, module._parameters, module._buffers):
                    registry.clear()
            else:
                _restore(module, site.original)
        for path, norm in self._sites(NormSite):
            _restore(norm.module, norm.original)
            part = norm.own.get(config) if not norm.module.training else None
            if part is None and norm.twin is not None and config.skips(norm.stage):
                part = norm.twin
            if part is not None:
                root.set_submodule(path, part)
        for name in ("twin_norms", "calibrated"):
            root._modules.pop(name, None)
        for own in installed(root):
            forget(root, own)

    def _sites(self, kind: type[Any]) -> list[tuple[str, Any]]:
        modules = self._root.named_modules()
        found = [(path, vars(module).get("forward")) for path, module in modules]
        return [(path, site) for path, site in found if type(site) is kind]

    def _block(self, path: str, paths: dict[str, None]) -> BlockSite:
        module = self._module(path, paths)
        if not isinstance(vars(module).get("forward"), BlockSite):
            vars(module)["forward"] = BlockSite(self._switch, module)
        site: BlockSite = vars(module)["forward"]
        return site

    def _norm(self, path: str, paths: dict[str, None]) -> NormSite:
        module = self._module(path, paths)
        if not isinstance(vars(module).get("forward"), NormSite):
            vars(module)["forward"] = NormSite(self._switch, module)
        site: NormSite = vars(module)["forward"]
        return site

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


def without_sites(module: nn.Module) -> nn.Module:
    """``module`` itself, a copy whose parts have sites; they get their own ``forward`` back."""
    for inner in module.modules():
        site = vars(inner).get("forward")
        if isinstance(site, (BlockSite, NormSite)):
            _restore(inner, site.original)
    return module


def _restore(module: nn.Module, original: Any) -> None:
    """Give ``module`` its own ``forward`` back."""
    if getattr(original, "__func__", None) is getattr(type(module), "forward", None):
        del vars(module)["forward"]
    else:  # somebody had replaced it before
        vars(module)["forward"] = original


def hand_back(
    template: Template, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """What ``template`` makes of the arguments of one call."""
    kind = template[0]
    if kind == "input":
        return _argument(signature, args, kwargs, template[1:])
    if kind == "value":
        return template[1]
    if kind == "dict":
        return {key: hand_back(item, signature, args, kwargs) for key, item in template[1:]}
    items = (hand_back(item, signature, args, kwargs) for item in template[1:])
    return list(items) if kind == "list" else tuple(items)


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
