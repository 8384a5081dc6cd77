"""The recipe's training phases: optimiser, schedule, and what is done to each batch and update."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .section import Arguments, Names, NotNegative, Positive, PositiveNumber, Section, Share


class OptimiserSection(Section):
    """The optimiser, by timm's ``create_optimizer_v2``."""

    name: str = "sgd"
    """timm's ``sgd`` is Nesterov's; ``momentum`` is plain SGD with momentum."""
    lr: PositiveNumber = 0.05
    weight_decay: NotNegative = 0.0
    """Not applied to norms and biases."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Each layer learns this much slower than the one after it; a twin norm as its original."""
    twin_lr: PositiveNumber = 1.0
    """Twin norms learn at this many times the rate: in a trained network they are new."""
    patch_lr: PositiveNumber = 1.0
    """So do patches. What suits a small network (10, with a rate of 0.002) ruins a large one."""
    arguments: Arguments = Field(default_factory=dict)
    """Further keyword arguments, for example ``betas``."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        from timm.optim import list_optimizers

        known = [str(optimiser) for optimiser in list_optimizers()]
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), known, 4) or ["sgd", "adamw", "lamb"]
            raise ValueError(f"expected one of timm's optimisers, for example {', '.join(near)}")
        return name


class ScheduleSection(Section):
    """The learning rate over time, by timm's ``create_scheduler_v2``, changed at every update."""

    name: Literal["cosine", "tanh", "step", "multistep", "poly", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs in which the rate rises linearly from ``warmup_lr`` to ``optimiser.lr``."""
    warmup_lr: NotNegative = 1e-5
    warmup_first: bool = False
    """The schedule begins after the warm-up, with the epochs that are left (as torchvision's);
    else it runs from the first epoch, its beginning hidden by the warm-up (as timm's)."""
    min_lr: NotNegative = 0.0
    decay_epochs: PositiveNumber | None = None
    """``step``: epochs between two decays."""
    decay_milestones: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    """``multistep``: the first epochs (counted from 0) that have the next, lower rate."""
    decay_rate: PositiveNumber = 0.1


class MixupSection(Section):
    """Mixup and cutmix, by timm."""

    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    probability: Share = 1.0
    switch: Share = 0.5
    """How often cutmix is taken where both are on."""


class ClipSection(Section):
    """Clipping of the gradients of an update, by timm."""

    mode: Literal["norm", "value", "agc"] = "norm"
    """``norm``: of all gradients together; ``agc``: adaptive, all weights but the classifier's."""
    value: PositiveNumber = 1.0


class EmaSection(Section):
    """A moving average of all weights, by timm's ``ModelEmaV3``; it is evaluated and kept."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9999
    warmup: bool = True
    """Begin with a shorter memory; without this, a short run keeps much of its first weights."""


class PhaseSection(Section):
    """One training phase."""

    epochs: Positive
    batch_size: Annotated[int, Field(gt=1)] = 64
    """Images of one batch of one process."""
    accumulate: Positive = 1
    """Batches whose gradients are averaged for one update of the weights."""
    optimiser: OptimiserSection = OptimiserSection()
    schedule: ScheduleSection = ScheduleSection()
    clip: ClipSection | None = None
    ema: EmaSection | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: MixupSection | None = None
    original: Literal["trained", "frozen"] = "trained"
    """``frozen``: only what the original does not have learns: twin norms, patches (``fit``) and
    additions (``convert.low_rank``). The super-net stays the original bit for bit, and its pass
    needs no gradient."""
    freeze: Names = ()
    """Names of weights that stay as they are, for example ``["conv1.*", "layer1.*"]``. Norms that
    are frozen whole keep their statistics too."""

    @model_validator(mode="after")
    def _possible(self) -> PhaseSection:
        if self.mixup is not None and self.batch_size % 2:
            raise ValueError("expected an even batch_size: mixup pairs the images of a batch")
        if self.mixup is not None and not (self.mixup.mixup or self.mixup.cutmix):
            raise ValueError("expected mixup.mixup or mixup.cutmix above 0, or no mixup at all")
        schedule = self.schedule
        if schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"expected schedule.warmup_epochs below epochs, got "
                f"{schedule.warmup_epochs} of {self.epochs}"
            )
        if (schedule.name == "multistep") != bool(schedule.decay_milestones):
            raise ValueError("expected schedule.decay_milestones with multistep, and only then")
        return self
