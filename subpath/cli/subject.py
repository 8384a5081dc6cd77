"""What a command is about: a network by its name, or what a run directory holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, PlanError
from .example import Example
from .options import Cut

if TYPE_CHECKING:
    from torch import nn

    from ..adaptive.model import AdaptiveModel
    from ..graph.inputs import Inputs
    from .run_directory import Run


@dataclass(frozen=True)
class Subject:
    """A network that can be made, and how to cut it.

    Attributes:
        name: of the network.
        make: makes the original.
        how: to cut it, as arguments of ``convert``.
        example: the inputs to look at it with, as far as they were said.
        run: what is known of it, if it was fine-tuned or saved.
    """

    name: str
    make: Callable[[], nn.Module]
    how: Mapping[str, Any]
    example: Example
    run: Run | None = None

    def converted(self, network: nn.Module) -> tuple[AdaptiveModel, Inputs]:
        """A network that :attr:`make` made, converted, and the inputs that it was read with."""
        from ..conversion import convert

        inputs = self.example.inputs(network)
        return convert(network.eval(), inputs, **self.how), inputs


def subject_of(target: str, example: Example, arguments: Mapping[str, Any], cut: Cut) -> Subject:
    """The network called ``target``, or that of the directory ``target``.

    Raises:
        CheckpointError: the directory holds no network, or not its name.
        PlanError: there are options of the cut for a directory.
    """
    from ..checkpoint import read_description
    from ..constructors import constructor
    from .run_directory import read_run

    if not Path(target).is_dir():
        if "/" in target or os.sep in target:  # no network is called so
            raise CheckpointError(
                f"got {target}, which is no directory; expected a model's name, "
                "package.module:callable, or a directory that `subpath finetune` wrote"
            )
        return Subject(target, constructor(target, arguments), cut.arguments(), example)
    made = read_description(Path(target)).architecture
    if made is None or not made.is_timm:  # no module is imported because a file names it
        raise CheckpointError(
            f"got {target}, which does not say how timm makes its network; expected a directory "
            "that names a network of timm. For another, name what makes it: "
            "subpath report package.module:callable --weights DIR"
        )
    if cut != Cut():
        raise PlanError(
            f"got {target} and options of the cut; expected the directory alone, which says how "
            "its network is cut"
        )
    run = read_run(Path(target), made.name)
    make = constructor(made.name, {**run.arguments, **arguments})
    return Subject(made.name, make, {"plan": run.plan}, example or Example(run.input_size), run)
