"""Measure the time of skip configs against each other, and predict that of the others."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from ..adaptive.internals import example_for
from ..adaptive.model import AdaptiveModel
from ..choice import Conditions
from ..errors import MeasureError
from ..graph.inputs import Inputs
from ..progress import OnProgress, first_of, no_progress
from ..skip import SkipConfig
from .device import PRECISIONS, device_name, device_of, precision_of, using_threads
from .in_onnxruntime import onnx_sides
from .latency_table import ConfigLatency, LatencyTable
from .noise import FEWEST, interval, quartiles, resampled_medians
from .timing import interleave

Sides = Mapping[SkipConfig, Callable[[], object]]


def latency(
    model: AdaptiveModel,
    example_input: Any = None,
    *,
    every: bool = False,
    rounds: int | None = None,
    threads: int | None = None,
    precision: str | None = None,
    compiled: bool = False,
    runtime: str = "torch",
    on_progress: OnProgress = no_progress,
) -> LatencyTable:
    """How long one call of each skip config takes, where the model is now.

    The super-net, each stage skipped alone, and the base-net are run in turns, in eval mode without
    gradients. A skipped sub-path saves the same whatever else is skipped, so these ``S + 2``
    measurements predict all other configs; the base-net, which is measured and predicted, tells how
    far off that is.

    Args:
        model: the adaptive model, on a CPU or a CUDA device; it is left as it was.
        example_input: a tensor, or a tuple of all inputs, with the batch size to measure for;
            default: one image of random numbers, of the size the model was converted with.
        every: measure every config instead of predicting.
        rounds: how often each config is timed (at least 6); default: as often as 5 seconds allow,
            at least 15 times.
        threads: of the CPU; default: as torch is set now.
        precision: ``"fp32"`` or ``"bf16"``, in which weights and activations are held; default:
            the model's own. For another one, a copy of the model is measured.
        compiled: measure the sub-networks after ``torch.compile``.
        runtime: ``"torch"``, or ``"onnxruntime"`` for an ONNX file of each config in ONNX Runtime
            (on the CPU, in fp32; needs the extra ``onnx``).
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Raises:
        MeasureError: the model is on several devices, or cannot be run in this way.
    """
    if rounds is not None and rounds < FEWEST:
        raise MeasureError(f"got rounds={rounds}; expected {FEWEST} or more, to tell the noise")
    device, own = device_of(model), precision_of(model)
    precision = own if precision is None else precision
    if precision not in PRECISIONS:
        raise MeasureError(f"got precision={precision!r}; expected one of {', '.join(PRECISIONS)}")
    _check_runtime(runtime, compiled, precision, device)
    inputs = _inputs(model, example_input, device, PRECISIONS[precision])
    subject = model if precision == own else copy.deepcopy(model).to(PRECISIONS[precision])
    was_training = subject.training
    configs = model.skip_configs()
    stages = len(model.stages)
    chosen = [c for c in configs if every or c.count("T") in (0, 1, stages)]
    try:
        subject.eval()
        with using_threads(threads) as used, _without_gradients(compiled):
            if runtime == "torch":
                sides = _sides(subject, inputs, chosen, compiled)
            else:
                sides = onnx_sides(subject, inputs.args, chosen, on_progress)
            times = _timed(sides, rounds, device, on_progress)
            memory = _peak_memory(sides, device)
    finally:
        subject.train(was_training)
    return LatencyTable(
        conditions=Conditions(
            device=device_name(device),
            threads=used if device.type == "cpu" else None,
            precision=precision,
            batch=_batch(inputs),
            runtime=f"{runtime} {version(runtime)}{', compiled' if compiled else ''}",
        ),
        input_shapes=tuple(tuple(x.shape) for x in inputs.tensors()),
        rounds=len(times[configs[0]]),
        configs=summarise(configs, times, memory),
    )


def summarise(
    configs: Sequence[SkipConfig],
    times: Mapping[SkipConfig, Sequence[float]],
    memory: Mapping[SkipConfig, float],
) -> tuple[ConfigLatency, ...]:
    """Medians, spread and savings of what was timed, and a prediction wherever one can be made.

    Args:
        configs: all skip configs, super-net first.
        times: milliseconds in each round, of some of them: the super-net and each stage skipped
            alone are among them.
        memory: peak memory in MiB, of those it was measured for.
    """
    super_net, stages = configs[0], len(configs[0])
    medians = {skip: statistics.median(taken) for skip, taken in times.items()}
    resampled = resampled_medians(times)
    entries = []
    for skip in configs:
        alone = [_alone(stage, stages) for stage in skip.skipped]
        predicted, predictions = None, torch.empty(0)
        if len(alone) > 1:
            total = medians[super_net]
            predicted = max(0.0, total - sum(total - medians[stage] for stage in alone))
            whole = resampled[super_net]
            predictions = whole - sum(whole - resampled[stage] for stage in alone)
            predictions = predictions.clamp(min=0.0)
        measured = medians.get(skip)
        latency_ms = predicted if measured is None else measured
        assert latency_ms is not None
        others = predictions if measured is None else resampled[skip]
        entries.append(
            ConfigLatency(
                skip=skip,
                measured_ms=measured,
                quartiles_ms=None if measured is None else quartiles(times[skip]),
                predicted_ms=predicted,
                predicted_interval_ms=None if predicted is None else interval(predictions),
                saving_ms=medians[super_net] - latency_ms,
                saving_interval_ms=interval(resampled[super_net] - others),
                peak_memory_mib=memory.get(skip),
            )
        )
    return tuple(entries)


def _check_runtime(runtime: str, compiled: bool, precision: str, device: torch.device) -> None:
    if runtime not in ("torch", "onnxruntime"):
        raise MeasureError(f"got runtime={runtime!r}; expected 'torch' or 'onnxruntime'")
    special = [precision] if precision != "fp32" else []
    special += [device.type] if device.type != "cpu" else []
    special += ["torch.compile"] if compiled else []
    if runtime == "onnxruntime" and special:
        raise MeasureError(
            f"got runtime='onnxruntime' with {', '.join(special)}; expected a model in fp32 on a "
            "CPU, not compiled: leave one of them out"
        )


def _alone(stage: int, stages: int) -> SkipConfig:
    return SkipConfig.of([stage], stages)


def _inputs(model: AdaptiveModel, given: Any, device: torch.device, dtype: torch.dtype) -> Inputs:
    def place(x: torch.Tensor) -> torch.Tensor:
        if x.is_meta:
            one = (1, *x.shape[1:])
            x = torch.randn(one) if x.is_floating_point() else torch.zeros(one, dtype=x.dtype)
        return x.to(device, dtype if x.is_floating_point() else x.dtype)

    return example_for(model, given).map(place)


def _batch(inputs: Inputs) -> int:
    return next((len(x) for x in inputs.tensors() if x.ndim), 1)


def _without_gradients(compiled: bool) -> AbstractContextManager[Any]:
    # torch.compile treats inference tensors apart and compiles again when it meets others.
    return torch.no_grad() if compiled else torch.inference_mode()


def _sides(
    model: AdaptiveModel, inputs: Inputs, configs: Sequence[SkipConfig], compiled: bool
) -> Sides:
    if not compiled:
        return {skip: partial(model, *inputs.args, skip=skip, **inputs.kwargs) for skip in configs}
    return {
        skip: partial(
            torch.compile(model.subnet(skip, example_input=inputs)), *inputs.args, **inputs.kwargs
        )
        for skip in configs
    }


def _timed(
    sides: Sides, rounds: int | None, device: torch.device, on_progress: OnProgress
) -> dict[SkipConfig, list[float]]:
    try:
        for run in first_of(sides.values(), None, "calling each config once", on_progress):
            run()  # torch.compile compiles here
        on_progress(f"timing {len(sides)} configs in turns", 0, None)
        if device.type == "cuda":
            return interleave(sides, rounds, finish=partial(torch.cuda.synchronize, device))
        return interleave(sides, rounds)
    except Exception as error:  # the network's own code, and compilers, run here
        raise MeasureError(
            f"got an error while timing: {type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}. Expected a network that runs on "
            f"{device} with these inputs, in this precision"
        ) from error


def _peak_memory(sides: Sides, device: torch.device) -> dict[SkipConfig, float]:
    """What torch held at most during one call, in MiB, weights of all configs included.

    Only CUDA: what a process holds on a CPU says little of one call, as nothing is given back.
    """
    peaks = {}
    if device.type == "cuda":
        for skip, run in sides.items():
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            run()
            torch.cuda.synchronize(device)
            peaks[skip] = torch.cuda.max_memory_allocated(device) / 2**20
    return peaks
