"""Compare one network with what it is converted to, by numbers.

Each question gets the answer yes, no with the first difference, or the reason why the original
itself cannot do what is asked. Equal means equal to the last bit.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import measure, zoo
from ..adaptive.model import AdaptiveModel
from ..checkpoint import Architecture, load, save
from ..convert import convert, plan
from ..errors import SubpathError
from ..plan import Plan
from ..skip import SkipConfig
from .asking import OriginalRefusesError, Tell, original_runs, said, silent
from .by_hand import without_blocks
from .equality import step, tensors_of, unequal
from .record import Check
from .subject import Subject, make_original, make_subject

MOST_CONFIGS = 64  # with more than six stages, not every one of the 2**S configs is run


def compare(library: str, name: str, tell: Tell = silent) -> dict[str, Check]:
    """Ask every question of :data:`QUESTIONS` about one network.

    Args:
        library: ``timm`` or ``torchvision``.
        name: a network that can be converted.
        tell: is told what is being done.

    Returns:
        The answers by the name of the question, after one about making the network, which says
        under which conditions the others were asked.
    """
    with _same_every_time():
        tell("making it with weights")
        try:
            subject = make_subject(zoo.library(library), name)
        except SubpathError as error:
            return {MADE: Check(False, said(error))}
        answers = {MADE: Check(True, subject.conditions)}
        for title, ask in QUESTIONS.items():
            tell(title)
            answers[title] = _answer(ask, subject)
    return answers


def _answer(ask: Callable[[Subject], str], subject: Subject) -> Check:
    try:
        difference = ask(subject)
    except OriginalRefusesError as error:
        return Check(None, str(error))
    except Exception as error:  # the network's own code runs here
        return Check(False, said(error))
    return Check(not difference, difference)


@contextmanager
def _same_every_time() -> Iterator[None]:
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
        inputs = subject.library.inputs(subject.name, original).args
    expected, got = _cut(plan(original, inputs)), _cut(subject.adaptive.plan)
    return "" if got == expected else f"got {got}; expected {expected}"


def _cut(how: Plan) -> str:
    return ", ".join(f"{s.name} {len(s.skippable)} of {len(s.blocks)}" for s in how.stages)


def _same_output(subject: Subject) -> str:
    return _compare_outputs(subject.original, subject.adaptive, subject.images())


def _another_batch(subject: Subject) -> str:
    return _compare_outputs(subject.original, subject.adaptive, subject.images(batch=3))


def _another_resolution(subject: Subject) -> str:
    try:
        return _compare_outputs(subject.original, subject.adaptive, subject.images(more=32))
    except OriginalRefusesError:  # it may take multiples of its own size
        size = subject.shape[-1]
        return _compare_outputs(subject.original, subject.adaptive, subject.images(more=size))


def _train_step(subject: Subject) -> str:
    with original_runs():
        expected = step(subject.original, subject.images())
    got = _without_twins(step(subject.adaptive, subject.images()))
    tables = {n for n in got if n.startswith("buffer ")} - expected.keys()
    return unequal(expected, {n: value for n, value in got.items() if n not in tables})


def _every_config(subject: Subject) -> str:
    adaptive = subject.adaptive
    with torch.no_grad():
        whole = adaptive(subject.images())
    for config in measure.useful_configs(len(subject.base), most=MOST_CONFIGS):
        with torch.no_grad():
            part = adaptive(subject.images(), skip=config)
        if [t.shape for t in tensors_of(part)] != [t.shape for t in tensors_of(whole)]:
            return f"{config} gives other shapes than the super-net"
        if config.skipped and not unequal(whole, part):
            return f"{config} gives the same numbers as the super-net"
        found = step(adaptive, subject.images(), skip=config)
        if not any(name.startswith("gradient of") for name in found):
            return f"{config} gives no gradients"
        for name, value in found.items():
            if not name.startswith("buffer") and not torch.isfinite(value).all():
                return f"{config}: the {name} is not finite"
    return ""


def _base_net_by_hand(subject: Subject) -> str:
    with torch.no_grad():
        got = subject.adaptive(subject.images(), skip=subject.base)
        differences = []
        for by_hand in without_blocks(subject.original, subject.adaptive):
            try:
                expected = by_hand(subject.images())
            except Exception as error:  # a block may give back more than its input
                differences.append(f"without them, the original does not run: {said(error)}")
            else:
                differences.append(unequal(expected, got))
    return "" if "" in differences else "; ".join(differences)


def _deep_copy(subject: Subject) -> str:
    copied = copy.deepcopy(subject.adaptive)
    difference = _compare_configs(subject, copied)
    with torch.no_grad():
        expected = subject.adaptive(subject.images())
        for parameter in copied.parameters():
            parameter.zero_()
        return difference or unequal(expected, subject.adaptive(subject.images()))


def _save_and_load(subject: Subject) -> str:
    architecture, model = None, None
    if subject.library.name == "timm":  # made again from its name
        architecture = Architecture(subject.name, subject.arguments)
    else:
        model = make_original(subject.library, subject.name, subject.arguments, seed=1)
    with tempfile.TemporaryDirectory() as directory:
        save(subject.adaptive, directory, architecture, subject.shape)
        return _compare_configs(subject, load(directory, model))


def _state_dict(subject: Subject) -> str:
    other = make_original(subject.library, subject.name, subject.arguments, seed=1)
    adaptive = subject.adaptive.state_dict()
    if difference := unequal(dict(subject.original.state_dict()), _without_twins(adaptive)):
        return difference
    loaded = convert(other, subject.images(), plan=subject.adaptive.plan)
    loaded.load_state_dict(adaptive)
    return _compare_configs(subject, loaded)


def _bfloat16(subject: Subject) -> str:
    original = copy.deepcopy(subject.original).to(torch.bfloat16)
    adaptive = copy.deepcopy(subject.adaptive).to(torch.bfloat16)
    return _compare_outputs(original, adaptive, subject.images().to(torch.bfloat16))


def _channels_last(subject: Subject) -> str:
    if len(subject.shape) != 3:
        raise OriginalRefusesError("its input is no image")
    original = copy.deepcopy(subject.original).to(memory_format=torch.channels_last)
    adaptive = copy.deepcopy(subject.adaptive).to(memory_format=torch.channels_last)
    images = subject.images().contiguous(memory_format=torch.channels_last)
    return _compare_outputs(original, adaptive, images)


def _compare_outputs(original: nn.Module, adaptive: nn.Module, images: Tensor) -> str:
    with torch.no_grad():
        with original_runs():
            expected = original(images)
        for number in tensors_of(expected):
            if not torch.isfinite(number).all():
                raise OriginalRefusesError("the original gives numbers that are not finite")
        return unequal(expected, adaptive(images))


def _compare_configs(subject: Subject, other: AdaptiveModel) -> str:
    """Super-net and base-net of two adaptive models."""
    for config in (SkipConfig.super_net(len(subject.base)), subject.base):
        with torch.no_grad():
            expected = subject.adaptive(subject.images(), skip=config)
            if difference := unequal(expected, other(subject.images(), skip=config)):
                return f"{config}: {difference}"
    return ""


def _without_twins(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if "twin_norms." not in name}


MADE = "made with weights"
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
