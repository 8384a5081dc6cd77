"""Does what was saved belong to this network? Every mismatch is found before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..adaptive.additions import fresh_addition, has_place
from ..adaptive.module_paths import addition_path, patch_path, twin_path
from ..adaptive.patches import fresh_patch
from ..adaptive.statistics import original_key
from ..planning import Plan
from .state import listed, mismatches


def unfit(
    original: nn.Module, plan: Plan, tensors: Mapping[str, Tensor], any_precision: bool
) -> list[str]:
    """What keeps a saved plan and weights from fitting a network: one line for each kind.

    Args:
        original: the network, unconverted; it may be on the meta device.
        plan: how it is to be cut.
        tensors: the state dict of the adaptive model.
        any_precision: whether floating-point weights of another width will do.
    """
    modules = {name for name, _ in original.named_modules()}
    needed = {
        "blocks of the plan that are not there": [
            block
            for stage in plan.stages
            for block in (*stage.blocks, *stage.skippable)
            if block.partition("#")[0] not in modules  # the second call of a block is block#2
        ],
        "norms of the plan that are not there": [twin.path for twin in plan.twin_norms],
        "modules of the plan that are not there": plan.opened,
    }
    lines = []
    for kind, paths in needed.items():
        absent = dict.fromkeys(p for p in paths if p.partition("#")[0] not in modules)
        if absent:
            lines.append(f"{kind}: {listed(absent)}")
    if wrong := [item.path for item in plan.additions if not has_place(original, item)]:
        lines.append(f"layers of the plan that are not there: {listed(wrong)}")
    return [*lines, *mismatches(expected_state(original, plan, tensors), tensors, any_precision)]


def expected_state(original: nn.Module, plan: Plan, saved: Iterable[str]) -> dict[str, Tensor]:
    """The state dict that ``original`` will have when it is cut: the twins have copies' shapes.

    So have the statistics of calibrated configs, which are known by the keys that were ``saved``.
    """
    state = original.state_dict()
    twins = {
        f"{twin_path(twin)}.{key.removeprefix(twin.path + '.')}": value
        for twin in plan.twin_norms
        for key, value in state.items()
        if key.startswith(f"{twin.path}.")
    }
    patches = {
        f"{patch_path(patch)}.{key}": value
        for patch in plan.patches
        for key, value in fresh_patch(patch, "meta").to(_precision(state)).state_dict().items()
    }
    additions = {
        f"{addition_path(addition)}.{key}": value
        for addition in plan.additions
        if has_place(original, addition)
        for key, value in fresh_addition(original, addition).state_dict().items()
    }
    known = {key: original_key(key, len(plan.stages)) for key in saved}
    own = {key: state[of[1]] for key, of in known.items() if of and of[1] in state}
    return {**state, **twins, **patches, **additions, **own}


def _precision(state: Mapping[str, Tensor]) -> torch.dtype:
    return next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
