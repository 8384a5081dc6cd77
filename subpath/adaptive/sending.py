"""Models on their way to another process of this machine.

A pickle in a file may be anyone's and runs code when it is read, so an adaptive model refuses to be
pickled. What ``multiprocessing`` sends is another matter: it comes through a pipe, from a process
that this one started or that started it. The pickler of that channel alone knows :func:`in_parts`.
The model goes as its plan and as the original with twins and patches, which is sent as any module
is, with its tensors in shared memory. Graphs and generated code are made anew where it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from ..choice import MeasuredTable
from ..errors import SubpathError
from ..graph.inputs import Inputs
from ..planning import Plan
from ..skip import SkipConfig
from .graph_model import GraphModel
from .in_place import InPlaceModel, plain_copy, run_in_place
from .model import AdaptiveModel
from .tracing import Tracing, add_constants

Parts = tuple[Callable[..., AdaptiveModel], tuple[Any, ...]]


@dataclass(frozen=True)
class _State:
    """What a model knows beside its network and its plan.

    Attributes:
        default: the config that runs when a call names none.
        measured: its table.
        frozen: names of the parameters that :meth:`.model.AdaptiveModel.freeze_original` froze;
            ``None``: it did not.
        recompute: whether train mode keeps the stages' outputs alone.
    """

    default: SkipConfig
    measured: MeasuredTable | None
    frozen: tuple[str, ...] | None
    recompute: bool = False


class Sendable:
    """An adaptive model in a form that every pickler takes; see :func:`sendable`."""

    def __init__(self, model: AdaptiveModel) -> None:
        self._model = model

    def __reduce__(self) -> Parts:
        return in_parts(self._model)


def sendable(model: AdaptiveModel) -> Any:
    """What to give to the workers of another library; in a worker it is the model itself.

    Processes of ``multiprocessing``, ``torch.multiprocessing`` and ``DataLoader`` need it not: they
    exchange models as they are. joblib, ray and others pickle in ways of their own, which an
    adaptive model refuses; with this you say that the channel is yours::

        Parallel(n_jobs=2)(delayed(evaluate)(subpath.sendable(model), part) for part in parts)

    Do not write it to a file: whoever reads that has to trust it as a program. Files are what
    :func:`subpath.save` is for.

    Args:
        model: as :func:`subpath.convert` made it. The worker must be able to import the original's
            class, and traces the network anew, which takes as long as the conversion did.

    Raises:
        SubpathError: ``model`` is no adaptive model.
    """
    if not isinstance(model, AdaptiveModel):
        raise SubpathError(
            f"got a {type(model).__name__}; expected a converted model. Other modules can be sent "
            "as they are"
        )
    return Sendable(model)


def in_parts(model: AdaptiveModel) -> Parts:
    """A function and the arguments with which it makes the model again, as picklers want them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    frozen = None if model._frozen is None else tuple(names[id(p)] for p in model._frozen)
    state = _State(model._switch.default, model.measured, frozen)
    if isinstance(model, GraphModel):
        state = replace(state, recompute=model._forwards.recompute)
        return _graph_model, (model._root, model._tracing, model._forwards.constants, state)
    assert isinstance(model, InPlaceModel)
    return _in_place_model, (plain_copy(model), model.plan, model._given, state)


def _graph_model(
    root: nn.Module, tracing: Tracing, constants: Collection[str], state: _State
) -> AdaptiveModel:
    sent = {name: _taken(root, name) for name in constants}
    zeros = tree_map_only(torch.Tensor, partial(torch.zeros_like, device="cpu"), tracing.example)
    graphs = tracing.graphs(root, zeros)  # with data: not every network runs without
    add_constants(root, graphs)
    for name, value in sent.items():  # where the model was moved since, they are there
        if hasattr(root, name):
            setattr(root, name, value)
    model = GraphModel(root, tracing, graphs)
    model.set_grad_checkpointing(state.recompute)
    return _in_state(model, state)


def _taken(root: nn.Module, name: str) -> Any:
    value = getattr(root, name)
    delattr(root, name)
    return value


def _in_place_model(
    root: nn.Module, plan: Plan, given: Inputs | None, state: _State
) -> AdaptiveModel:
    return _in_state(run_in_place(root, plan, given), state)


def _in_state(model: AdaptiveModel, state: _State) -> AdaptiveModel:
    model._switch.default = state.default
    model.measured = state.measured
    if state.frozen is not None:
        parameters = dict(model.named_parameters())
        vars(model)["_frozen"] = tuple(parameters[name] for name in state.frozen)
    return model
