"""One training step of self-distillation: two passes, two backward passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import SubpathError
from ..planning import StagePlan
from ..skip import SkipConfig
from .losses import feature_loss
from .outputs import Outputs, detached, outputs_of

Criterion = Callable[[Any, Any], Tensor]
Passing = Callable[..., tuple[Any, tuple[Tensor, ...]]]


class OnePass(Protocol):
    """What a single pass asks of a model."""

    @property
    def stages(self) -> Sequence[StagePlan]:
        """The stages that can be skipped."""

    @property
    def forward_features_of_stages(self) -> Passing:
        """Gives, for inputs and ``skip=``, a config's output and the outputs of its stages."""

    @property
    def original_frozen(self) -> bool:
        """Whether the super-net learns nothing and so needs no gradient."""


class Student(OnePass, Protocol):
    """What a step asks of a model; :class:`subpath.AdaptiveModel` has it."""

    @property
    def sharing(self) -> Callable[[], AbstractContextManager[Passing]]:
        """Gives what runs several passes over one batch; see ``AdaptiveModel.sharing``."""


class _Sharing:
    """A student whose passes share what they have in common."""

    def __init__(self, student: Student, passing: Passing) -> None:
        self.stages, self.original_frozen = student.stages, student.original_frozen
        self.forward_features_of_stages = passing


@dataclass(frozen=True)
class StepLosses:
    """What one step computed; all without gradient.

    Attributes:
        task: the task loss of the super-net, not weighted.
        logits: the distillation loss on the logits, not weighted (0 when it is off).
        features: the distillation loss on the stage outputs, not weighted (0 when it is off).
        base_task: the task loss of the base-net, not weighted (0 when it is off).
        total: what the gradients are of.
        output: the tensors of the super-net's output; a dict where it has names.
    """

    task: Tensor
    logits: Tensor
    features: Tensor
    base_task: Tensor
    total: Tensor
    output: Any


@dataclass(frozen=True)
class Distillation:
    """What the base-net learns in its pass, and with which weights.

    ``logits * KL(y_super || y_base) + features * sum_s KL(h_super^s || h_base^s)
    + task * criterion(y_base, targets)``; the method has no third term.

    Attributes:
        temperature: ``T`` of both KL divergences.
        logits: weight of the logits.
        features: weight of the stage outputs.
        stages: numbers of the stages whose outputs are compared; ``None`` takes all.
        task: weight of the base-net's own task loss.
        outputs: how the outputs are compared; ``None``: as :func:`outputs_of` tells.
        mask: true at the places of the outputs that count; ``None``: all.
        feature_mask: true at the tokens of the stage outputs that are pooled; ``None``: all.
    """

    temperature: float = 1.0
    logits: float = 1.0
    features: float = 1.0
    stages: Sequence[int] | None = None
    task: float = 0.0
    outputs: Outputs | None = None
    mask: Tensor | None = None
    feature_mask: Tensor | None = None

    def compared(self, output: Any) -> Outputs:
        """How the parts of ``output`` are compared.

        Raises:
            SubpathError: it is not told, or a part is not there.
        """
        if self.outputs is None:
            return outputs_of(output)
        self.outputs.check(output)
        return self.outputs

    def total(self, logits: Tensor, features: Tensor, task: Tensor) -> Tensor:
        """The weighted sum of the three losses."""
        return self.logits * logits + self.features * features + self.task * task


def two_pass_step(
    model: Student,
    inputs: Any,
    targets: Any,
    criterion: Criterion | None,
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    logits: float = 1.0,
    features: float = 1.0,
    stages: Sequence[int] | None = None,
    base_task: float = 0.0,
    further: Sequence[str] = (),
    outputs: Outputs | None = None,
    mask: Tensor | None = None,
    feature_mask: Tensor | None = None,
    weight: float = 1.0,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> StepLosses:
    """Add the gradients of one mini-batch to ``.grad`` (paper, section 3.2 and algorithm 1).

    The super-net learns the task, and in the same step the base-net learns the super-net's logits
    and stage outputs::

        L = alpha * criterion(y_super, targets)
            + (1 - alpha) * (KL(y_super || y_base) + sum_s KL(h_super^s || h_base^s))

    The first term is backpropagated before the second pass begins, so only one graph is alive at a
    time. No other sub-network is trained. Where the original is frozen
    (:meth:`subpath.AdaptiveModel.freeze_original`), the first term has no gradient and no part in
    ``L``. Calling ``zero_grad`` before and ``step`` after is up to the caller.

    Args:
        model: the adaptive model, in train mode.
        inputs: the batch: a tensor, a tuple of all positional inputs or a dict of inputs by name.
        targets: what ``criterion`` takes as its second argument; the base-net needs none.
        criterion: the task loss, averaged over the batch, for example
            ``torch.nn.functional.cross_entropy``. It takes each head of a tuple of tensors, and
            any other output whole. ``None``: the network's own, its output's ``loss`` (transformers
            with ``labels`` among the inputs) or the sum of a dict of losses (torchvision's
            detectors).
        alpha: weight of the task loss; ``1 - alpha`` weighs the distillation.
        temperature: ``T`` of both distillation losses.
        logits: weight of the distillation of the logits; 0 or ``False`` turns it off.
        features: weight of the distillation of the stage outputs; 0 or ``False`` turns it off.
        stages: numbers of the stages whose outputs are distilled; default: all.
        base_task: weight, beside the distillation, of the base-net's own task loss.
        further: more skip configs that are distilled as the base-net is, each in a pass of its
            own; their losses are added to those of the base-net.
        outputs: what the parts of the output are and how they are compared; default: as names and
            shapes tell, see :func:`outputs_of`.
        mask: true at the places of the outputs that count, for example ``(batch, tokens)``.
        feature_mask: true at the tokens of the stage outputs that are pooled.
        weight: of the whole loss; ``1 / n`` averages over ``n`` batches before one update.
        backward: what backpropagates a loss, for example ``accelerator.backward``.

    Returns:
        The losses, detached.

    Raises:
        SubpathError: ``alpha`` is not in [0, 1], ``temperature`` is not above 0 or a stage is not
            there, the output holds no task loss or it is not clear what its parts are. No
            gradient was added then.
    """
    if not 0 <= alpha <= 1 or not temperature > 0:
        raise SubpathError(
            f"got alpha={alpha} and temperature={temperature}; expected alpha from 0 to 1 and a "
            "temperature above 0"
        )
    if stages is not None and not all(0 <= stage < len(model.stages) for stage in stages):
        raise SubpathError(
            f"got the stages {list(stages)}; expected numbers from 0 to {len(model.stages) - 1}"
        )
    what = Distillation(
        temperature, logits, features, stages, base_task, outputs, mask, feature_mask
    )
    super_net = SkipConfig.super_net(len(model.stages))
    base_net = SkipConfig.base_net(len(model.stages))

    with model.sharing() as passing:
        student = _Sharing(model, passing)
        y_super, h_super, task = task_pass(
            student, inputs, targets, criterion, weight * alpha, super_net, backward, what
        )
        learned = task.new_zeros(3)
        for skip in (base_net, *further):
            losses = distillation_pass(
                student,
                inputs,
                y_super,
                h_super,
                weight * (1 - alpha),
                skip,
                what,
                backward,
                targets,
                criterion,
            )
            learned = learned + torch.stack(losses)
    y, h, own = learned
    total = (1 - alpha) * what.total(y, h, own)
    if not model.original_frozen:
        total = total + alpha * task
    return StepLosses(task, y, h, own, total, y_super)


def task_pass(
    model: OnePass,
    inputs: Any,
    targets: Any,
    criterion: Criterion | None,
    weight: float,
    skip: str,
    backward: Callable[[Tensor], None] = Tensor.backward,
    what: Distillation | None = None,
) -> tuple[Any, tuple[Tensor, ...], Tensor]:
    """The first pass: the task loss of ``skip`` (the super-net), backpropagated with ``weight``.

    A network with several heads has the mean of their losses. If the output cannot be compared as
    ``what`` wants, this is told before the backward pass.

    Returns:
        The output, the stage outputs and the loss, all detached.
    """
    learns = torch.is_grad_enabled() and not model.original_frozen
    with torch.set_grad_enabled(learns):
        output, stage_outputs = run(model, inputs, skip)
        if what is not None and what.logits:
            what.compared(output)
        loss = task_loss(output, targets, criterion)
    if not model.original_frozen:
        backward(weight * loss)
    return detached(output), tuple(h.detach() for h in stage_outputs), loss.detach()


def distillation_pass(
    model: OnePass,
    inputs: Any,
    y_super: Any,
    h_super: tuple[Tensor, ...],
    weight: float,
    skip: str,
    what: Distillation,
    backward: Callable[[Tensor], None] = Tensor.backward,
    targets: Any = None,
    criterion: Criterion | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The second pass: what ``skip`` (the base-net) learns, backpropagated with ``weight``.

    Args:
        model: the adaptive model.
        inputs: the batch of the first pass.
        y_super: the super-net's output of the same step.
        h_super: its stage outputs.
        weight: of the sum of the losses.
        skip: the config that learns.
        what: the terms of the loss.
        backward: what backpropagates a loss.
        targets: for the config's own task loss, if ``what`` has one.
        criterion: for the same.

    Returns:
        The losses on the logits, the stage outputs and the task, detached and not weighted; 0
        where they are off.
    """
    y_base, h_base = run(model, inputs, skip)
    channel_dims = [stage.channel_dim for stage in model.stages]
    logits, features = distillation_losses(y_base, h_base, y_super, h_super, channel_dims, what)
    task = logits.new_zeros(())
    if what.task:
        task = task_loss(y_base, targets, criterion)
    backward(weight * what.total(logits, features, task))
    return logits.detach(), features.detach(), task.detach()


def distillation_losses(
    y_base: Any,
    h_base: Sequence[Tensor],
    y_super: Any,
    h_super: Sequence[Tensor],
    channel_dims: Sequence[int],
    what: Distillation,
) -> tuple[Tensor, Tensor]:
    """The two divergences of ``what``, not weighted; 0 where they are off."""
    logits = features = torch.zeros((), device=h_base[0].device)
    if what.logits:
        compared = what.compared(y_super)
        logits = compared.loss(y_base, y_super, what.temperature, what.mask)
    if what.features:
        chosen = range(len(h_base)) if what.stages is None else what.stages
        features = feature_loss(
            [h_base[stage] for stage in chosen],
            [h_super[stage] for stage in chosen],
            [channel_dims[stage] for stage in chosen],
            what.temperature,
            what.feature_mask,
        )
    return logits, features


def run(model: OnePass, inputs: Any, skip: str) -> tuple[Any, tuple[Tensor, ...]]:
    """The output and the stage outputs of one config."""
    if isinstance(inputs, Mapping):
        return model.forward_features_of_stages(**inputs, skip=skip)
    if isinstance(inputs, tuple):
        return model.forward_features_of_stages(*inputs, skip=skip)
    return model.forward_features_of_stages(inputs, skip=skip)


def task_loss(output: Any, targets: Any, criterion: Criterion | None) -> Tensor:
    """The criterion's mean over the heads, or the loss that the network gives itself."""
    if criterion is None:
        return own_loss(output)
    if isinstance(output, (Tensor, tuple, list)):
        return torch.stack([criterion(head, targets) for head in heads(output)]).mean()
    return criterion(output, targets)


def own_loss(output: Any) -> Tensor:
    """``output["loss"]``, or the sum of a dict of scalar losses."""
    losses = dict(output) if isinstance(output, Mapping) else {}
    if isinstance(losses.get("loss"), Tensor):
        losses = {"loss": losses["loss"]}
    if not losses or not all(isinstance(x, Tensor) and x.dim() == 0 for x in losses.values()):
        raise SubpathError(
            f"got criterion=None and a model output of type {type(output).__name__} with "
            f"{', '.join(map(repr, losses)) or 'no names'}; expected an output with 'loss' (give "
            "the labels among the inputs), a dict of losses, or a criterion"
        )
    return torch.stack(list(losses.values())).sum()


def heads(output: Any) -> tuple[Tensor, ...]:
    """The tensors of an output; a distilled DeiT has two in train mode."""
    heads = output if isinstance(output, (tuple, list)) else (output,)
    if not heads or not all(isinstance(head, Tensor) for head in heads):
        raise SubpathError(
            f"got a model output of type {type(output).__name__}; expected a tensor of logits or a "
            "tuple of them, one for each head"
        )
    return tuple(heads)
