"""``fit``: patches and statistics for the skipped stages, without a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from .adaptive.model import AdaptiveModel
from .adaptive.module_paths import patch_path, twin_path
from .adaptive.patches import write_map
from .adaptive.statistics import has_statistics
from .adaptive.twins import SKIP_AWARE
from .errors import SubpathError
from .graph.inputs import Inputs, inputs_in
from .planning import Patch
from .progress import OnProgress, no_progress
from .skip import SkipConfig


@dataclass(frozen=True)
class FittedPatch:
    """What one patch is.

    Attributes:
        stage: name of its stage.
        patch: its place and rank in the plan.
        explained: share of the variance of what the skipped blocks would have added that it gives,
            on the inputs that it was fitted to; at most 1.
    """

    stage: str
    patch: Patch
    explained: float


@dataclass(frozen=True)
class Fit:
    """What :func:`fit` did.

    Attributes:
        patches: one entry for each patch.
        samples: how many inputs were seen.
        cost: multiply-adds of all patches as a share of the super-net's.
    """

    patches: tuple[FittedPatch, ...]
    samples: int
    cost: float


@torch.no_grad()
def fit(
    model: AdaptiveModel,
    loader: Iterable[Any],
    batches: int | None = None,
    *,
    rank: int | None = None,
    max_cost: float = 0.02,
    ridge: float = 1e-3,
    mask: str | None = None,
    on_progress: OnProgress = no_progress,
) -> Fit:
    """Make skipping cheap in accuracy without training: a few hundred unlabelled inputs will do.

    Stage after stage, the twin norms get running statistics of their own, and then a patch at the
    stage's end: the linear map over channels that comes closest, in the sense of least squares, to
    what the skipped blocks would have added. The original's weights and the super-net stay as they
    are. (After ReplaceMe, Shopkhoev et al., NeurIPS 2025, which cuts a language model once; here
    every stage has its switch.)

    Args:
        model: the adaptive model; patches that it has are replaced. Train it afterwards if you
            like (:meth:`AdaptiveModel.freeze_original`).
        loader: batches of inputs that can be gone through several times (a list, a ``DataLoader``),
            about 1,000 samples in all; of a tuple or list the first element counts, a dict holds
            inputs by name. No labels are looked at.
        batches: how many of them to take; default: all.
        rank: of every patch; default: full where ``max_cost`` allows, else as large as it allows.
        max_cost: multiply-adds of all patches, as a share of the super-net's, if no rank is given.
        ridge: penalty on the weights of the maps, as a share of the mean variance of a channel.
        mask: name of an input that is true at the tokens that count, ``(batch, tokens)``, for
            example ``"attention_mask"``.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Returns:
        What each patch explains and what all of them cost.

    Raises:
        SubpathError: there is no batch, or an argument is out of range.
    """
    if not max_cost > 0 or not ridge >= 0 or (rank is not None and rank < 1):
        raise SubpathError(
            f"got max_cost={max_cost}, ridge={ridge} and rank={rank}; expected a cost above 0, a "
            "ridge of at least 0 and a rank of at least 1"
        )
    if iter(loader) is loader:
        raise SubpathError(
            "got an iterator, which gives its batches once; expected a list or a DataLoader, which "
            "can be gone through for each stage"
        )
    training, modes = model.training, {module: module.training for module in model.modules()}
    patches, state = model.plan.patches, _skip_aware_state(model)
    model.eval()
    try:
        return _Fitter(model, loader, batches, ridge, mask, on_progress).fit(rank, max_cost)
    except BaseException:  # a loader fails, or somebody interrupts
        model.set_patches(patches)
        model.load_state_dict(state, strict=False)
        raise
    finally:
        model.train(training)
        for module, mode in modes.items():
            module.training = mode


def _skip_aware_state(model: AdaptiveModel) -> dict[str, torch.Tensor]:
    state = model.state_dict().items()
    return {key: value.clone() for key, value in state if key.partition(".")[0] in SKIP_AWARE}


class _Fitter:
    def __init__(
        self,
        model: AdaptiveModel,
        loader: Iterable[Any],
        batches: int | None,
        ridge: float,
        mask: str | None,
        on_progress: OnProgress,
    ) -> None:
        self._model, self._loader, self._batches = model, loader, batches
        self._ridge, self._mask = ridge, mask
        self._like = next(model.parameters())
        self._on_progress = on_progress
        self._done = 0

    def fit(self, rank: int | None, max_cost: float) -> Fit:
        model, stages = self._model, len(self._model.stages)
        samples, self._count = self._look()
        self._total = 2 * stages * self._count
        patches, cost = self._ranked(rank, max_cost)
        model.set_patches(patches)
        fitted: list[FittedPatch] = []
        for number in range(stages):
            self._measure_statistics(number)
            chosen = {i: p for i, p in enumerate(patches) if p.stage == number}
            for index, moments in self._moments(number, chosen).items():
                weight, bias = moments.solve(self._ridge, chosen[index].rank)
                write_map(model.get_submodule(patch_path(chosen[index])), weight, bias)
                name = model.stages[number].name
                fitted.append(FittedPatch(name, chosen[index], moments.explained(weight)))
        return Fit(tuple(fitted), samples, cost)

    def _look(self) -> tuple[int, int]:
        """How many samples and batches there are."""
        sizes = []
        for inputs in self._inputs():
            sizes.append(len(next(inputs.tensors())))
            if self._mask is not None and self._mask not in inputs.kwargs:
                raise SubpathError(
                    f"got mask={self._mask!r} and a batch with "
                    f"{', '.join(map(repr, inputs.kwargs)) or 'no names'}; expected the name of "
                    "one of its inputs"
                )
        if not sizes:
            raise SubpathError("got no batch to fit to; expected a few hundred inputs in batches")
        return sum(sizes), len(sizes)

    def _inputs(self) -> Iterator[Inputs]:
        for batch in islice(self._loader, self._batches):
            yield inputs_in(batch, self._like)

    def _ranked(self, rank: int | None, max_cost: float) -> tuple[list[Patch], float]:
        """The patches, each of the rank that it may have, and what they cost together."""
        model = self._model
        possible = model.possible_patches()
        stages = len(model.stages)
        alone = {patch.stage: SkipConfig.of([patch.stage], stages) for patch in possible}
        model.set_patches(())
        bare = {stage: model.share_of_work(config) for stage, config in alone.items()}
        model.set_patches(possible)
        full = {stage: model.share_of_work(c) - bare[stage] for stage, c in alone.items()}
        shares: dict[int, float] = {}
        left = max_cost
        for done, stage in enumerate(sorted(full, key=lambda stage: full[stage])):
            shares[stage] = min(full[stage], left / (len(full) - done))
            left -= shares[stage]
        patches, cost = [], 0.0
        for patch in possible:
            share = shares[patch.stage] / full[patch.stage] if full[patch.stage] else 1.0
            own = rank if rank is not None else int(share * patch.channels / 2)
            if rank is None and share == 1:
                ranked = patch
            elif own:
                ranked = replace(patch, rank=min(own, patch.channels))
            else:
                continue
            patches.append(ranked)
            of_stage = sum(p.weights for p in possible if p.stage == patch.stage)
            cost += full[patch.stage] * ranked.weights / of_stage
        return patches, cost

    def _measure_statistics(self, stage: int) -> None:
        """Give the twins of a stage the running statistics of the config in which they run."""
        config = _with(stage, len(self._model.stages))
        norms: list[Any] = [
            norm
            for twin in self._model.plan.twin_norms
            if twin.stage == stage
            for norm in self._model.get_submodule(twin_path(twin)).modules()
            if has_statistics(norm)
        ]
        if not norms:  # nothing to run for
            for _ in range(self._count):
                self._tick()
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
        for count, inputs in enumerate(self._inputs(), 1):
            for norm in norms:
                norm.momentum = 1 / count
            self._model(*inputs.args, skip=config, **inputs.kwargs)
            self._tick()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()

    def _moments(self, stage: int, chosen: dict[int, Patch]) -> dict[int, _Moments]:
        """Of what the patches of a stage are given and should add, over all inputs."""
        found = {index: _Moments(patch, self._like.device) for index, patch in chosen.items()}
        stages = len(self._model.stages)
        for inputs in self._inputs():
            if found:
                kept = self._at_patches(inputs, SkipConfig.super_net(stages))
                skipped = self._at_patches(inputs, _with(stage, stages))
                for index, moments in found.items():
                    mask = None if self._mask is None else inputs.kwargs[self._mask]
                    moments.add(skipped[index], kept[index], mask)
            self._tick()
        return found

    def _at_patches(self, inputs: Inputs, config: str) -> tuple[torch.Tensor, ...]:
        return self._model.at_patches(*inputs.args, skip=config, **inputs.kwargs)

    def _tick(self) -> None:
        self._done += 1
        self._on_progress("fitting", self._done, self._total)


class _Moments:
    """Sums over places, in double precision: of what a patch is given, and what it should add."""

    def __init__(self, patch: Patch, device: torch.device) -> None:
        size, self._dim = patch.channels, patch.channel_dim
        # Apple's GPUs have no double precision.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._count = 0
        double: Any = {"dtype": torch.float64, "device": self._device}
        self._x, self._y = torch.zeros(size, **double), torch.zeros(size, **double)
        self._xx, self._xy = torch.zeros(size, size, **double), torch.zeros(size, size, **double)
        self._yy = torch.zeros(size, **double)

    def add(self, given: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Count one batch: ``given`` at the patch, ``wanted`` there in the super-net."""
        x, total = (
            value.movedim(self._dim, -1).to(self._device, torch.float64)
            for value in (given, wanted)
        )
        if mask is not None:
            x, total = x[mask.to(self._device).bool()], total[mask.to(self._device).bool()]
        x, total = x.flatten(0, -2), total.flatten(0, -2)
        y = total - x
        self._count += len(x)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._yy += y.square().sum(0)

    def solve(self, ridge: float, rank: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the best map; of low rank, the best such (reduced-rank regression)."""
        xx, xy = self._centred()
        if not (xx.isfinite().all() and xy.isfinite().all()):
            raise SubpathError(
                "got inputs for which the network gives values that are not finite; expected "
                "finite ones. Look for NaN in the data or in the weights"
            )
        eye = torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
        penalised = xx + max(ridge * float(xx.diagonal().mean()), torch.finfo(xx.dtype).tiny) * eye
        best = torch.linalg.solve(penalised, xy)
        if rank is not None:
            _, directions = torch.linalg.eigh(best.T @ penalised @ best)
            chosen = directions[:, -rank:]
            best = best @ chosen @ chosen.T
        return best.T, (self._y - best.T @ self._x) / self._count

    def explained(self, weight: torch.Tensor) -> float:
        """The share of the variance that a map explains."""
        xx, xy = self._centred()
        whole = (self._yy - self._y.square() / self._count).sum()
        left = whole - 2 * (weight.T * xy).sum() + (weight @ xx * weight).sum()
        return float(1 - left / whole) if whole > 0 else 1.0

    def _centred(self) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            self._xx - torch.outer(self._x, self._x) / self._count,
            self._xy - torch.outer(self._x, self._y) / self._count,
        )


def _with(stage: int, stages: int) -> str:
    """The config in which a stage is fitted: the stages before it are skipped too.

    Measured: that is best for the base-net, and no worse for the configs between.
    """
    return SkipConfig.of(range(stage + 1), stages)
