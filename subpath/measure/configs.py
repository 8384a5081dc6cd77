"""Which skip configs to list when ``2**S`` of them are too many to read."""

from __future__ import annotations

from ..skip import SkipConfig, skip_configs


def useful_configs(stages: int, most: int = 32) -> tuple[SkipConfig, ...]:
    """All configs if there are at most ``most``, else the telling ones.

    Those are the super-net, each single stage skipped, the configs that skip from the first stage
    on (``TFFF``, ``TTFF``, ...: the paper's tables), and the base-net.

    Args:
        stages: how many stages can be skipped.
        most: up to how many configs all are listed.
    """
    if 2**stages <= most:
        return tuple(skip_configs(stages))
    single = [SkipConfig.of([i], stages) for i in range(stages)]
    prefixes = [SkipConfig.of(range(i), stages) for i in range(stages + 1)]
    chosen = dict.fromkeys(prefixes[:1] + single + prefixes[2:])
    return tuple(chosen)
