"""``convert``: from any residual network to an adaptive one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from torch import nn

from . import zoo
from .adaptive.additions import add_additions
from .adaptive.checks import check_opened
from .adaptive.equivalence import OriginalOutput
from .adaptive.graph_model import GraphModel
from .adaptive.in_place import run_in_place
from .adaptive.model import AdaptiveModel
from .adaptive.patches import set_patches
from .adaptive.tracing import Tracing, add_constants
from .adaptive.twins import add_twins
from .errors import (
    ConversionError,
    LostBehaviourError,
    MisreadError,
    ModelError,
    NoResidualError,
    PlanError,
    SubpathError,
    TraceError,
)
from .graph.copies import deep_copy, on_meta
from .graph.inputs import Inputs, in_order
from .graph.read import read, read_run
from .planning import Plan, Run, Skippable, Twins, make_plan


@dataclass(frozen=True)
class _Wish:
    """How a network is to be cut; see :func:`convert`."""

    groups: int | None
    skippable: Skippable
    blocks: Sequence[str] | None
    twin_norms: Twins
    low_rank: int

    def arguments(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def plan(
    model: nn.Module,
    example_input: Any = None,
    *,
    groups: int | None = None,
    skippable: Skippable = None,
    blocks: Sequence[str] | None = None,
    twin_norms: Twins = "mandatory",
    low_rank: int = 0,
    run: Run | None = None,
) -> Plan:
    """Decide how ``model`` would be cut, without converting it (it may be on the meta device).

    See :func:`convert` for the arguments and errors.
    """
    _check_plain(model)
    inputs = zoo.example_inputs(model, example_input)
    wish = _Wish(groups, skippable, blocks, twin_norms, low_rank)
    return _first_that_works(model, inputs, wish, run, lambda found: found)


def convert(
    model: nn.Module,
    example_input: Any = None,
    *,
    plan: Plan | None = None,
    groups: int | None = None,
    skippable: Skippable = None,
    blocks: Sequence[str] | None = None,
    twin_norms: Twins = "mandatory",
    low_rank: int = 0,
    run: Run | None = None,
    check: bool = True,
) -> AdaptiveModel:
    """Turn a residual network into one that can skip the later part of each stage.

    The method is that of Kang and Lee, "Adaptive Depth Networks with Skippable Sub-Paths"
    (NeurIPS 2024), for any network.

    Args:
        model: any residual network; it is copied, weights included, and left as it was.
        example_input: a tensor, a tuple of all positional inputs, or a dict of keyword arguments,
            of shapes the model takes, batch first (use a batch of two or more); models of timm and
            transformers need none.
        plan: cut as this plan says (from an earlier ``model.plan``); excludes the rest.
        groups: into how many stages an isotropic network (ViT) is cut; default 4.
        skippable: how many blocks at the end of each stage (of each row of blocks, where several
            lie on parallel branches) are skippable: a number, a share of the blocks below 1.0,
            ``"all"`` but the first, or a list with one number for each stage of more than one
            block; by default
            ``n - ceil(n / 2)`` of ``n`` blocks.
        blocks: the exact blocks to make skippable, by module path, instead of ``skippable``.
        twin_norms: ``"mandatory"`` gives the norms of mandatory sub-paths a twin, but not those
            in projection shortcuts (as published); ``"all"`` every norm outside the skippable
            sub-paths; ``"none"`` no norm.
        low_rank: if not 0, each linear layer and convolution of the mandatory blocks gets a change
            of its weight of this rank, an *addition*, which is in effect where its stage is
            skipped and learns like a twin norm. It starts at zero; sub-networks have it in their
            weights.
        run: ``"graph"`` runs straight-line code made from the network's graph; ``"in place"`` runs
            the network's own forward, whose skipped blocks hand back what they are given, and the
            result is also an instance of the original's class. By default the graph, where
            torch.fx can open the network and nothing is lost by it; ``plan.why`` says why not.
        check: run the original's copy and the result once on the first sample of the example, or
            on one of its shape, and compare them to the last bit, which costs two forward passes
            (on the whole example where the network decides by sizes or takes no single sample);
            in place, run the base-net once too.

    Returns:
        The adaptive model, in the mode (train or eval) of ``model``.

    Raises:
        NoResidualError: there is no stage with a block that could be skipped.
        TraceError: the model does not run on the example input, or (``run="graph"``) torch.fx
            cannot trace its own forward.
        LostBehaviourError: with ``run="graph"``, hooks or parametrisations would be lost.
        MisreadError: the result does not give what the original gives.
        PlanError: the plan or the arguments do not fit the network.
        ModelError: an example input is needed.
    """
    if isinstance(model, AdaptiveModel):
        raise ConversionError("got a model that is already converted; expected the original")
    _check_plain(model)
    wish = _Wish(groups, skippable, blocks, twin_norms, low_rank)
    if plan is not None:
        if (wish, run) != (_Wish(None, None, None, "mandatory", 0), None):
            raise PlanError("got a plan and other arguments on how to cut; expected the plan alone")
        return _converted(model, _inputs_for(model, plan, example_input), plan, check)
    inputs = zoo.example_inputs(model, example_input)

    def finish(found: Plan) -> AdaptiveModel:
        return _converted(model, inputs, found, check)

    return _first_that_works(model, inputs, wish, run, finish)


Result = TypeVar("Result")


def _first_that_works(
    model: nn.Module,
    inputs: Inputs,
    wish: _Wish,
    run: Run | None,
    finish: Callable[[Plan], Result],
) -> Result:
    """What ``finish`` makes of the plan for the graph, else of the one for running in place."""

    def in_place(why: str) -> Plan:
        def planned() -> Plan:
            reading = read_run(model, inputs)
            arguments = wish.arguments()
            return make_plan(reading.tree, reading.norms, **arguments, run="in place", why=why)

        return _understood(model, planned)

    if run == "in place":
        return finish(in_place("it was asked for"))
    if run not in ("graph", None):
        raise PlanError(f"got run={run!r}; expected 'graph', 'in place' or None")

    def mended(error: ConversionError) -> Result:
        if run == "graph":
            raise error
        try:
            return finish(in_place(_why(error)))
        except (TraceError, NoResidualError) as second:
            raise (second if _tells_more(second, error) else error) from error

    try:
        found = _plan_for_graph(model, inputs, wish)
    except PlanError:  # what was asked for is as wrong in place
        raise
    except ConversionError as error:
        return mended(error)
    try:
        other = _in_place_if_more(found, in_place) if found.opaque and run is None else None
        return finish(other or found)
    except ConversionError as error:
        return mended(error)


def _in_place_if_more(found: Plan, in_place: Callable[[str], Plan]) -> Plan | None:
    """The plan for running in place, if it finds more blocks than torch.fx could look into."""
    try:
        other = in_place(f"torch.fx cannot open {', '.join(o.path for o in found.opaque[:3])}")
    except ConversionError:
        return None
    return other if _blocks_in(other) > _blocks_in(found) else None


def _plan_for_graph(model: nn.Module, inputs: Inputs, wish: _Wish) -> Plan:
    positional = in_order(model, inputs)
    if positional is None:
        raise TraceError(
            f"got inputs by name ({', '.join(inputs.kwargs)}) with gaps between them; expected "
            "positional ones for a graph"
        )

    def planned() -> Plan:
        reading = read(model, positional, zoo.opaque_functions())
        return make_plan(reading.tree, reading.norms, **wish.arguments())

    return _understood(model, planned)


def _understood(model: nn.Module, planned: Callable[[], Plan]) -> Plan:
    """Other people's modules fail in ways nobody foresees: such a network is not understood."""
    try:
        return planned()
    except SubpathError:
        raise
    except Exception as error:
        said = (str(error).strip() or "no message").splitlines()[0]
        raise TraceError(
            f"got a {type(model).__name__} that cannot be read: {type(error).__name__}: {said}. "
            "Expected a network that this library understands; please report it with this message"
        ) from error


def _tells_more(second: ConversionError, first: ConversionError) -> bool:
    """Whether the second reader looked further than the first, and knows why nothing is found."""
    if isinstance(first, NoResidualError) and first.hidden:
        return isinstance(second, NoResidualError)
    return isinstance(first, TraceError)


def _blocks_in(found: Plan) -> int:
    return sum(len(stage.blocks) for stage in found.stages)


def _why(error: ConversionError) -> str:
    """Why a network does not run from its graph."""
    said = str(error).partition(". ")[0]
    if isinstance(error, TraceError):
        return f"torch.fx cannot trace it: {said.rpartition('Error: ')[2]}"
    if isinstance(error, NoResidualError):
        return "torch.fx finds no row of blocks in it"
    if isinstance(error, LostBehaviourError):
        return f"its graph would lose hooks or parametrisations: {said}"
    if isinstance(error, MisreadError):
        return "its graph gives another output"
    return "torch.fx cannot open its blocks"


def _check_plain(model: nn.Module) -> None:
    """Refuse what is no network yet, or none any more."""
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        raise ConversionError(
            "got a network that torch.compile has wrapped; expected the network itself. Convert "
            "that, and compile the result"
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"got a {type(model).__name__} in which {name} has no shape yet; expected a lazy "
                "module that has run once. Call it with an example first"
            )


def _inputs_for(model: nn.Module, plan: Plan, example_input: Any) -> Inputs | None:
    """Example inputs; a plan for running in place does without where they are not known."""
    try:
        return zoo.example_inputs(model, example_input)
    except ModelError:
        if plan.run == "in place":
            return None
        raise


def _converted(model: nn.Module, inputs: Inputs | None, plan: Plan, check: bool) -> AdaptiveModel:
    _check_paths(model, plan)
    if plan.run == "in place":
        root = _copy(model)
        expected = OriginalOutput(root, inputs, True) if check and inputs is not None else None
        add_twins(root, plan.twin_norms)
        set_patches(root, plan.patches)
        add_additions(root, plan.additions)
        adaptive: AdaptiveModel = run_in_place(root, plan, inputs)
    else:
        assert inputs is not None
        positional = in_order(model, inputs)
        assert positional is not None
        check_opened(model, plan.opened)
        tracing = Tracing(plan, on_meta(positional), zoo.opaque_functions())
        graphs = tracing.graphs(model, positional)
        root = _copy(model)
        expected = None
        if check:
            by_size = any(gated.by_size for gated in graphs.values())
            expected = OriginalOutput(root, Inputs(positional), not by_size)
        add_constants(root, graphs)
        add_twins(root, plan.twin_norms)
        set_patches(root, plan.patches)
        add_additions(root, plan.additions)
        adaptive = GraphModel(root, tracing, graphs)
        adaptive.set_grad_checkpointing(zoo.recomputes(model, plan.opened))
    if expected is not None:
        expected.compare(adaptive)
        if plan.run == "in place":
            expected.try_base_net(adaptive)
    return adaptive


def _check_paths(model: nn.Module, plan: Plan) -> None:
    modules = dict(model.named_modules())
    needed = [*plan.opened, *(twin.path for twin in plan.twin_norms)]
    needed += [addition.path for addition in plan.additions]
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
