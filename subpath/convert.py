"""``convert``: from any residual network to an adaptive one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from . import zoo
from .adaptive.checks import check_opened
from .adaptive.graphs import Tracing, add_constants
from .adaptive.model import AdaptiveModel
from .adaptive.twins import add_twins
from .errors import ConversionError, PlanError
from .graph.copies import deep_copy
from .graph.read import read
from .plan import Plan, Share, Twins, make_plan


def plan(
    model: nn.Module,
    example_input: Any = None,
    *,
    groups: int | None = None,
    skippable: Share | Sequence[Share] | None = None,
    blocks: Sequence[str] | None = None,
    twin_norms: Twins = "mandatory",
) -> Plan:
    """Decide how ``model`` would be cut, without converting it (it may be on the meta device).

    See :func:`convert` for the arguments and errors.
    """
    inputs = zoo.example_inputs(model, example_input).args
    reading = read(model, inputs, zoo.opaque_functions())
    return make_plan(
        reading.tree,
        reading.norms,
        groups=groups,
        skippable=skippable,
        blocks=blocks,
        twin_norms=twin_norms,
    )


def convert(
    model: nn.Module,
    example_input: Any = None,
    *,
    plan: Plan | None = None,
    groups: int | None = None,
    skippable: Share | Sequence[Share] | None = None,
    blocks: Sequence[str] | None = None,
    twin_norms: Twins = "mandatory",
) -> AdaptiveModel:
    """Turn a residual network into one that can skip the later part of each stage.

    The method is that of Kang and Lee, "Adaptive Depth Networks with Skippable Sub-Paths"
    (NeurIPS 2024), for any network that torch.fx can trace.

    Args:
        model: any residual network; it is copied, weights included, and left as it was.
        example_input: a tensor, or a tuple of all positional inputs, of a shape the model takes,
            batch first (use a batch of two or more); timm models need none.
        plan: cut as this plan says (from an earlier ``model.plan``); excludes the rest.
        groups: into how many stages an isotropic network (ViT) is cut; default 4.
        skippable: how many blocks at the end of each stage (of each row of blocks, where several
            lie on parallel branches) are skippable: a number, a share of the blocks below 1.0, or
            a list with one of these for each stage of more than one block; by default
            ``n - ceil(n / 2)`` of ``n`` blocks.
        blocks: the exact blocks to make skippable, by module path, instead of ``skippable``.
        twin_norms: ``"mandatory"`` gives the norms of mandatory sub-paths a twin, but not those
            in projection shortcuts (as published); ``"all"`` every norm outside the skippable
            sub-paths; ``"none"`` no norm.

    Returns:
        The adaptive model, in the mode (train or eval) of ``model``.

    Raises:
        NoResidualError: there is no stage with a block that could be skipped.
        TraceError: torch.fx cannot trace the model's own forward.
        LostBehaviourError: hooks or parametrisations would be lost.
        PlanError: the plan or the arguments do not fit the network.
        ModelError: an example input is needed.
    """
    if isinstance(model, AdaptiveModel):
        raise ConversionError("got a model that is already converted; expected the original")
    inputs = zoo.example_inputs(model, example_input).args
    if plan is None:
        reading = read(model, inputs, zoo.opaque_functions())
        plan = make_plan(
            reading.tree,
            reading.norms,
            groups=groups,
            skippable=skippable,
            blocks=blocks,
            twin_norms=twin_norms,
        )
    elif (groups, skippable, blocks, twin_norms) != (None, None, None, "mandatory"):
        raise PlanError("got a plan and other arguments on how to cut; expected the plan alone")
    _check_paths(model, plan)
    check_opened(model, plan.opened)
    tracing = Tracing(plan, zoo.opaque_functions())
    graphs = tracing.graphs(model, inputs)
    root = _copy(model)
    add_constants(root, graphs)
    add_twins(root, plan.twin_norms)
    adaptive = AdaptiveModel(root, tracing, graphs)
    adaptive.set_grad_checkpointing(zoo.recomputes(model, plan.opened))
    return adaptive


def _check_paths(model: nn.Module, plan: Plan) -> None:
    modules = dict(model.named_modules())
    needed = [*plan.opened, *(twin.path for twin in plan.twin_norms)]
    missing = [path for path in needed if path not in modules]
    if missing:
        raise PlanError(
            f"got a plan for another network: there is no module {', '.join(missing[:6])} in this "
            f"{type(model).__name__}"
        )


def _copy(model: nn.Module) -> nn.Module:
    try:
        return deep_copy(model)
    except Exception as error:  # user modules refuse in many ways
        raise ConversionError(
            f"got a {type(model).__name__} that cannot be copied ({type(error).__name__}: "
            f"{error}); expected a module that copy.deepcopy takes. Weights kept by the old "
            "torch.nn.utils.weight_norm cannot be copied: use "
            "torch.nn.utils.parametrizations.weight_norm"
        ) from error
