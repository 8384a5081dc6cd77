"""From gradients to changed weights: optimiser, schedule, clipping, moving average."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import nn

from ..adaptive.model import AdaptiveModel
from ..distill import average_gradients
from ..errors import RecipeError
from .parameter_names import UnderOriginalNames, classifier_weights, skip_aware_weights
from .phase import ClipSection, OptimiserSection, PhaseSection, ScheduleSection
from .processes import Processes


@dataclass
class WeightUpdater:
    """What changes the weights of one phase.

    Attributes:
        model: whose weights change.
        optimiser: over all weights that are not frozen.
        schedule: timm's scheduler, stepped after every update.
        clip: clips the gradients.
        ema: the moving average of the weights, if the recipe wants one.
        frozen: weights that stay as they are.
        frozen_norms: norms that are frozen whole; they stay in eval mode.
        processes: who else has gradients of the same update.
        done: updates so far.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Any
    clip: Callable[[], None]
    ema: ModelEmaV3 | None
    frozen: tuple[nn.Parameter, ...]
    frozen_norms: tuple[nn.Module, ...]
    processes: Processes
    done: int = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update (of the first parameter group)."""
        return float(self.optimiser.param_groups[0]["lr"])

    def train_mode(self) -> None:
        """Put the model in train mode, but for frozen norms."""
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()

    def step(self) -> None:
        """One update, from the gradients of all processes to the next learning rate."""
        average_gradients(self.model.parameters())
        scaler = self.processes.accelerator.scaler
        if scaler is None:
            self.clip()
            self.optimiser.step()
        else:  # fp16: a step whose scaled gradients overflowed is left out
            scaler.unscale_(self.optimiser)
            self.clip()
            scaler.step(self.optimiser)
            scaler.update()
        self.done += 1
        self.schedule.step_update(self.done)
        if self.ema is not None:
            self.ema.update(self.model, step=self.done)

    def unfreeze(self) -> None:
        """Let frozen weights learn again."""
        for parameter in self.frozen:
            parameter.requires_grad = True

    @property
    def kept(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average if there is one."""
        return self.model if self.ema is None else self.ema.module


def make_updater(
    model: nn.Module, phase: PhaseSection, per_epoch: int, processes: Processes
) -> WeightUpdater:
    """Optimiser, schedule, clipping and moving average of a phase.

    Args:
        model: the network, on its device.
        phase: what the recipe says.
        per_epoch: updates in each epoch.
        processes: who takes part.

    Raises:
        RecipeError: timm refuses the arguments of the optimiser or the schedule, or a name of a
            frozen weight is not there.
    """
    frozen = freeze(model, phase.freeze)
    try:
        optimiser = _optimiser(model, phase.optimiser)
        schedule = _schedule(optimiser, phase.schedule, phase.epochs, per_epoch)
    except Exception as error:  # optimisers check their arguments in many ways
        raise RecipeError(
            f"got an optimiser or schedule that timm refuses ({type(error).__name__}: {error}); "
            f"expected arguments that {phase.optimiser.name} and {phase.schedule.name} take"
        ) from error
    schedule.step_update(0)
    ema = None
    if phase.ema is not None:
        ema = ModelEmaV3(model, decay=phase.ema.decay, use_warmup=phase.ema.warmup)
    clip, frozen_norms = _clip(model, phase.clip), _frozen_norms(model, frozen)
    return WeightUpdater(model, optimiser, schedule, clip, ema, frozen, frozen_norms, processes)


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> tuple[nn.Parameter, ...]:
    """Freeze the weights whose names match, and give them back.

    Raises:
        RecipeError: a pattern matches nothing.
    """
    parameters = dict(model.named_parameters())
    chosen: dict[str, nn.Parameter] = {}
    for pattern in patterns:
        matching = fnmatch.filter(parameters, pattern)
        if not matching:
            first = ", ".join(list(parameters)[:4])
            raise RecipeError(
                f"got freeze: {pattern!r}, which matches no weight; expected a pattern for names "
                f"such as {first}"
            )
        chosen |= {name: parameters[name] for name in matching if parameters[name].requires_grad}
    for parameter in chosen.values():
        parameter.requires_grad = False
    return tuple(chosen.values())


def _frozen_norms(model: nn.Module, frozen: tuple[nn.Parameter, ...]) -> tuple[nn.Module, ...]:
    """The norms with running statistics all of whose weights are frozen."""
    still = {id(parameter) for parameter in frozen}
    norms = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    weights = {norm: [id(p) for p in norm.parameters()] for norm in norms}
    return tuple(norm for norm, own in weights.items() if own and still.issuperset(own))


def _optimiser(model: nn.Module, section: OptimiserSection) -> torch.optim.Optimizer:
    named: Any = model
    if section.layer_decay is not None and isinstance(model, AdaptiveModel):
        named = UnderOriginalNames(model)
    optimiser: torch.optim.Optimizer = create_optimizer_v2(
        named,
        opt=section.name,
        lr=section.lr,
        weight_decay=section.weight_decay,
        momentum=section.momentum,
        layer_decay=section.layer_decay,
        **section.arguments,
    )
    for home, scale in (("twin_norms", section.twin_lr), ("patches", section.patch_lr)):
        if scale != 1:
            _scale_rate(optimiser, skip_aware_weights(model, home), scale)
    return optimiser


def _scale_rate(optimiser: torch.optim.Optimizer, chosen: set[int], scale: float) -> None:
    """Give weights, told by id, groups of their own, whose rate timm's scheduler scales."""
    for group in list(optimiser.param_groups):
        own = [p for p in group["params"] if id(p) in chosen]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in chosen]
            scaled = {"params": own, "lr_scale": scale * group.get("lr_scale", 1.0)}
            optimiser.add_param_group({**group, **scaled})


def _schedule(
    optimiser: torch.optim.Optimizer, section: ScheduleSection, epochs: int, per_epoch: int
) -> Any:
    # Half an update later: timm's multistep decays one update before a milestone.
    milestones: Any = [milestone + 0.5 / per_epoch for milestone in section.decay_milestones]
    schedule, _ = create_scheduler_v2(
        optimiser,
        sched=section.name,
        num_epochs=epochs - section.warmup_epochs if section.warmup_first else epochs,
        warmup_epochs=section.warmup_epochs,
        warmup_lr=section.warmup_lr,
        warmup_prefix=section.warmup_first,
        min_lr=section.min_lr,
        decay_epochs=section.decay_epochs or epochs,
        decay_milestones=milestones,
        decay_rate=section.decay_rate,
        step_on_epochs=False,
        updates_per_epoch=per_epoch,
    )
    return schedule


def _clip(model: nn.Module, section: ClipSection | None) -> Callable[[], None]:
    if section is None:
        return lambda: None
    spared = classifier_weights(model) if section.mode == "agc" else set()
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in spared]

    def clip() -> None:
        dispatch_clip_grad(parameters, section.value, section.mode)

    return clip
