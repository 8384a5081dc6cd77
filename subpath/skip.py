"""Skip configs: strings of ``T`` and ``F``, one letter a stage, the first stage on the left.

``T`` skips the stage's skippable sub-path. All ``F`` is the super-net, all ``T`` the base-net
(Kang and Lee, NeurIPS 2024, section 3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product

from .errors import SkipConfigError


class SkipConfig(str):
    """A validated skip config; it is a ``str`` and compares and hashes as one.

    Args:
        text: one letter for each stage, ``T`` (skip) or ``F`` (keep), for example ``"TTFF"``.
        stages: the number of stages it must have; ``None`` accepts any.

    Raises:
        SkipConfigError: ``text`` is not a string, is empty, holds another letter, or has a length
            other than ``stages``.
    """

    __slots__ = ()

    def __new__(cls, text: str, stages: int | None = None) -> SkipConfig:
        if not isinstance(text, str):
            raise SkipConfigError(
                f"got {text!r} ({type(text).__name__}) as skip config; expected a string of 'T' "
                f"(skip) and 'F' (keep), {_example(stages)}"
            )
        if not text or set(text) - {"T", "F"}:
            raise SkipConfigError(
                f"got {str(text)!r} as skip config; expected only the letters 'T' (skip) and 'F' "
                f"(keep), one a stage, {_example(stages)}"
            )
        if stages is not None and len(text) != stages:
            raise SkipConfigError(
                f"got skip config {str(text)!r} with {len(text)} letters; expected {stages}, one "
                f"for each stage with a skippable sub-path, {_example(stages)}"
            )
        return super().__new__(cls, text)

    @classmethod
    def super_net(cls, stages: int) -> SkipConfig:
        """The config that skips nothing: ``stages`` times ``F``."""
        return cls("F" * stages)

    @classmethod
    def base_net(cls, stages: int) -> SkipConfig:
        """The config that skips every skippable sub-path: ``stages`` times ``T``."""
        return cls("T" * stages)

    @classmethod
    def of(cls, skipped: Collection[int], stages: int) -> SkipConfig:
        """The config that skips the stages of these numbers, from 0, and no others."""
        return cls("".join("T" if stage in skipped else "F" for stage in range(stages)))

    def skips(self, stage: int) -> bool:
        """Whether stage number ``stage`` (from 0) is skipped."""
        return self[stage] == "T"

    @property
    def skipped(self) -> tuple[int, ...]:
        """The numbers of the skipped stages, from 0."""
        return tuple(i for i, letter in enumerate(self) if letter == "T")


def skip_configs(stages: int) -> Iterator[SkipConfig]:
    """All ``2**stages`` configs, by the number of skipped stages, then earlier stages first.

    ``FF, TF, FT, TT`` for two stages: the super-net comes first, the base-net last.
    """
    configs = ("".join(letters) for letters in product("TF", repeat=stages))
    for text in sorted(configs, key=lambda text: text.count("T")):
        yield SkipConfig(text)


def _example(stages: int | None) -> str:
    stages = stages or 4
    return f"for example {'T' + 'F' * (stages - 1)!r}"
