"""What a model is to detectors, segmentation heads and timm's training code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from ..errors import SubpathError
from ..plan import StagePlan
from .code import dispatches
from .features import FeatureInfo
from .forwards import Forwards
from .graphs import Tracing, add_constants
from .original import for_twins_too, graphs_after_reset


class Backbone(nn.Module):
    """The part of the adaptive model that others build on."""

    _forwards: Forwards
    _root: nn.Module
    _tracing: Tracing
    _example_inputs: Callable[[Any], tuple[Any, ...]]
    skip: Any
    stages: Any

    @dispatches
    def features(
        self,
        *args: Any,
        skip: str | None = None,
        output_fmt: Literal["network", "NCHW"] = "network",
    ) -> list[torch.Tensor]:
        """The output of each stage in :attr:`stages`; what comes after the last does not run.

        Args:
            *args: what the model takes.
            skip: the skip config; default: the active one.
            output_fmt: ``"network"`` gives them as the network has them (the channels are in
                dimension ``model.stages[i].channel_dim``); ``"NCHW"`` as pictures: batch,
                channels, rows, columns. Tokens beside the picture's, which are taken to stand
                first (class token, registers), are then left out.

        Returns:
            One tensor a stage; :attr:`feature_info` tells their channels and strides.

        Raises:
            SkipConfigError: ``skip`` is not a config of this model.
            SubpathError: a stage's output is no picture.
        """
        if output_fmt not in ("network", "NCHW"):
            raise SubpathError(f"got output_fmt={output_fmt!r}; expected 'network' or 'NCHW'")
        config = self.skip if skip is None else skip
        found = self._forwards.get(config, self.training, "features", args)(self._root, *args)
        if output_fmt == "network":
            return list(found)
        pictures = []  # a comprehension would be a frame of its own to torch.compile
        for layout, feature in zip(self._forwards.layouts, found, strict=True):
            pictures.append(layout.picture(feature, args[0].shape))
        return pictures

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels, stride and module path of what :meth:`features` gives, as timm tells them."""
        stages: Sequence[StagePlan] = self.stages
        return FeatureInfo(
            {
                "num_chs": stage.output_shape[stage.channel_dim - 1],
                "reduction": layout.reduction,
                "module": stage.blocks[-1],
            }
            for stage, layout in zip(stages, self._forwards.layouts, strict=True)
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the stages' outputs alone in train mode; compute the rest again for gradients.

        Running statistics count a batch once, unlike under timm's own checkpointing.
        """
        self._forwards.set_recompute(enable)

    def _adapted(self, name: str, found: Any) -> Any:
        """An attribute of the original, whose effect reaches the straight-line code and twins."""
        if name == "group_matcher":
            return lambda *args, **kwargs: for_twins_too(found(*args, **kwargs))
        if name == "reset_classifier":
            return self._reset_classifier
        return found

    def _reset_classifier(self, *args: Any, **kwargs: Any) -> None:
        inputs = self._example_inputs(None)
        graphs = graphs_after_reset(self._root, self._tracing, inputs, (args, kwargs))
        root: Any = self._root
        root.reset_classifier(*args, **kwargs)
        add_constants(self._root, graphs)
        self._forwards.replace(graphs)
