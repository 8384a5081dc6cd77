"""Compare one network with what it is converted to, by numbers.

Each question gets the answer yes, no with the first difference, or the reason why the original
itself cannot do what is asked. Equal means equal to the last bit.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .. import measure, zoo
from ..adaptive.model import AdaptiveModel
from ..checkpoint import Architecture, load, save
from ..errors import SubpathError
from ..graph.equality import unequal
from ..graph.inputs import Inputs
from ..graph.nested import plain, tensors
from ..graph.shapes import NoFastPath
from ..planning import Plan
from ..skip import SkipConfig
from .block_removal import without_blocks
from .comparison import converted, each_tensor, example, planned, run, tensors_of, training_step
from .errors import OnPhase, OriginalFailsError, no_report, one_line, original_runs
from .record import Check
from .subject import Subject, make_original, make_subject

NO_IMAGE = "its input is no image"
MOST_CONFIGS = 64  # with more than six stages, not every one of the 2**S configs is run


def compare(library: str, name: str, on_phase: OnPhase = no_report) -> dict[str, Check]:
    """Ask every question of :data:`QUESTIONS` about one network.

    Args:
        library: a key of :data:`subpath.zoo.LIBRARIES`.
        name: a network that can be converted.
        on_phase: is told what is being done.

    Returns:
        The answers by the name of the question, after one about making the network, which says
        under which conditions the others were asked.
    """
    with same_every_time():
        on_phase("making it with weights")
        try:
            subject = make_subject(zoo.library(library), name)
        except SubpathError as error:
            return {MADE: Check(False, one_line(error))}
        return {MADE: Check(True, subject.conditions), **ask(subject, QUESTIONS, on_phase)}


def ask(subject: Subject, titles: Iterable[str], on_phase: OnPhase) -> dict[str, Check]:
    """The answers to some of :data:`QUESTIONS`."""
    answers = {}
    for title in titles:
        on_phase(title)
        answers[title] = _answer(QUESTIONS[title], subject)
    return answers


def _answer(question: Callable[[Subject], str], subject: Subject) -> Check:
    try:
        difference = question(subject)
    except OriginalFailsError as error:
        return Check(None, str(error))
    except Exception as error:  # the network's own code runs here
        return Check(False, one_line(error))
    return Check(not difference, difference)


@contextmanager
def same_every_time() -> Iterator[None]:
    """Where torch has a way of doing it that gives the same numbers each time, it takes that."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def _same_cut(subject: Subject) -> str:
    """Neither a small input nor dropout changes how the network is cut."""
    with original_runs(), torch.device(subject.device):
        original = subject.library.make(subject.name)
        inputs = subject.library.inputs(subject.name, original)
    expected, got = _cut(planned(original, inputs)), _cut(subject.adaptive.plan)
    return "" if got == expected else f"got {got}; expected {expected}"


def _cut(how: Plan) -> str:
    return ", ".join(f"{s.name} {len(s.skippable)} of {len(s.blocks)}" for s in how.stages)


def _same_output(subject: Subject) -> str:
    return _compare_outputs(subject.original, subject.adaptive, subject.example)


def _another_batch(subject: Subject) -> str:
    return _compare_outputs(subject.original, subject.adaptive, subject.more_samples())


def _another_resolution(subject: Subject) -> str:
    if subject.shape is None:
        raise OriginalFailsError(NO_IMAGE)
    try:
        return _compare_outputs(subject.original, subject.adaptive, subject.larger(32))
    except OriginalFailsError:  # it may take multiples of its own size
        larger = subject.larger(subject.shape[-1])
        return _compare_outputs(subject.original, subject.adaptive, larger)


def _train_step(subject: Subject) -> str:
    with original_runs():
        expected = training_step(subject.original, subject.example)
    got = _without_twins(training_step(subject.adaptive, subject.example))
    tables = {n for n in got if n.startswith("buffer ")} - expected.keys()
    return unequal(expected, {n: value for n, value in got.items() if n not in tables})


def _every_config(subject: Subject) -> str:
    adaptive = subject.adaptive
    with torch.no_grad():
        whole = run(adaptive, subject.example)
    for config in measure.useful_configs(len(subject.base), most=MOST_CONFIGS):
        with torch.no_grad():
            part = run(adaptive, subject.example, skip=config)
        if _shapes(part) != _shapes(whole):
            return f"{config} gives other shapes than the super-net"
        if config.skipped and not unequal(plain(whole), plain(part)):
            return f"{config} gives the same numbers as the super-net"
        found = training_step(adaptive, subject.example, skip=config)
        if not any(name.startswith("gradient of") for name in found):
            return f"{config} gives no gradients"
        for name, value in found.items():
            if not name.startswith("buffer") and not torch.isfinite(value).all():
                return f"{config}: the {name} is not finite"
    return ""


def _base_net_by_hand(subject: Subject) -> str:
    # Not the subject's own: it may keep tensors of the train step, which cannot be copied.
    original = make_original(subject.library, subject.name, subject.arguments)
    with torch.no_grad(), NoFastPath():  # in which torch rounds in another way
        got = plain(run(subject.adaptive, subject.example, skip=subject.base))
        differences = []
        for by_hand in without_blocks(original, subject.adaptive):
            try:
                expected = run(by_hand, subject.example)
            except Exception as error:  # a block may give back more than its input
                differences.append(f"without them, the original does not run: {one_line(error)}")
            else:
                differences.append(unequal(_where_given(plain(expected), got), got))
    return "" if "" in differences else "; ".join(differences)


def _where_given(expected: Any, got: Any) -> Any:
    """``expected`` with ``None`` where ``got`` has it: a block that is skipped draws no map."""
    if got is None:
        return None
    if isinstance(expected, dict) and isinstance(got, dict):
        return {key: _where_given(value, got.get(key, value)) for key, value in expected.items()}
    if isinstance(expected, (tuple, list)) and isinstance(got, type(expected)):
        pairs = zip(expected, got, strict=False)
        return type(expected)(_where_given(*pair) for pair in pairs)
    return expected


def _deep_copy(subject: Subject) -> str:
    copied = copy.deepcopy(subject.adaptive)
    difference = _compare_configs(subject, copied)
    with torch.no_grad():
        expected = run(subject.adaptive, subject.example)
        for parameter in copied.parameters():
            parameter.zero_()
        got = run(subject.adaptive, subject.example)
        return difference or unequal(plain(expected), plain(got))


def _save_and_load(subject: Subject) -> str:
    architecture, model = None, None
    if subject.library.name == "timm":  # made again from its name
        architecture = Architecture(subject.name, subject.arguments)
    else:
        model = make_original(subject.library, subject.name, subject.arguments, seed=1)
    with tempfile.TemporaryDirectory() as directory:
        save(subject.adaptive, directory, architecture, subject.shape)
        return _compare_configs(subject, load(directory, model, example(subject.example)))


def _state_dict(subject: Subject) -> str:
    other = make_original(subject.library, subject.name, subject.arguments, seed=1)
    adaptive = subject.adaptive.state_dict()
    if difference := unequal(dict(subject.original.state_dict()), _without_twins(adaptive)):
        return difference
    loaded = converted(other, subject.example, subject.adaptive.plan)
    loaded.load_state_dict(adaptive)
    return _compare_configs(subject, loaded)


def _bfloat16(subject: Subject) -> str:
    original = copy.deepcopy(subject.original).to(torch.bfloat16)
    adaptive = copy.deepcopy(subject.adaptive).to(torch.bfloat16)
    return _compare_outputs(original, adaptive, each_tensor(subject.example, _as_bfloat16))


def _channels_last(subject: Subject) -> str:
    if subject.shape is None or len(subject.shape) != 3:
        raise OriginalFailsError(NO_IMAGE)
    original = copy.deepcopy(subject.original).to(memory_format=torch.channels_last)
    adaptive = copy.deepcopy(subject.adaptive).to(memory_format=torch.channels_last)
    images = each_tensor(subject.example, lambda t: t.contiguous(memory_format=torch.channels_last))
    return _compare_outputs(original, adaptive, images)


def _compare_outputs(original: nn.Module, adaptive: nn.Module, inputs: Inputs) -> str:
    with torch.no_grad():
        with original_runs():
            expected = run(original, inputs)
        for number in tensors_of(expected):
            if not torch.isfinite(number).all():
                raise OriginalFailsError("the original gives numbers that are not finite")
        return unequal(plain(expected), plain(run(adaptive, inputs)))


def _compare_configs(subject: Subject, other: AdaptiveModel) -> str:
    """Super-net and base-net of two adaptive models."""
    for config in (SkipConfig.super_net(len(subject.base)), subject.base):
        with torch.no_grad():
            expected = run(subject.adaptive, subject.example, skip=config)
            got = run(other, subject.example, skip=config)
            if difference := unequal(plain(expected), plain(got)):
                return f"{config}: {difference}"
    return ""


def _shapes(output: Any) -> list[tuple[torch.dtype, torch.Size]]:
    """Of all tensors; but for the first dimension, as detectors find more or fewer boxes."""
    return [(tensor.dtype, tensor.shape[1:]) for tensor in tensors(output)]


def _as_bfloat16(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def _without_twins(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if "twin_norms." not in name}


MADE = "made with weights"
ALWAYS = ("eval", "train step", "base-net by hand")  # of each small network
QUESTIONS: Mapping[str, Callable[[Subject], str]] = {
    "same cut": _same_cut,
    "eval": _same_output,
    "train step": _train_step,
    "every config": _every_config,
    "base-net by hand": _base_net_by_hand,
    "deepcopy": _deep_copy,
    "save, load": _save_and_load,
    "state dict": _state_dict,
    "bfloat16": _bfloat16,
    "channels last": _channels_last,
    "other batch": _another_batch,
    "other size": _another_resolution,
}
