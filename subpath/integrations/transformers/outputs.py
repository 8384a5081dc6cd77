"""What the outputs of a model of transformers are, by the task that its class is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers.models.auto import modeling_auto as auto

from ...distill import Classes, Outputs, Values
from ...errors import SubpathError

TOKENS = Outputs({"logits": Classes(dim=-1)})
SAMPLES = Outputs({"logits": Classes(dim=1)})

# transformers' own lists of the classes for each task.
OF_TOKENS = (
    auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)
OF_SAMPLES = (
    auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
    auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES,
    auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
)
OTHERS = (
    (auto.MODEL_FOR_CTC_MAPPING_NAMES, TOKENS),
    (auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES, SAMPLES),
    (
        auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        Outputs({"start_logits": Classes(dim=1), "end_logits": Classes(dim=1)}),
    ),
    (
        auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
        Outputs({"logits": Classes(dim=-1), "pred_boxes": Values("l1", dim=-1)}),
    ),
    (auto.MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES, Outputs({"predicted_depth": Values()})),
)


def outputs_for(model: nn.Module) -> Outputs | None:
    """How the outputs of ``model`` are compared; ``None`` if its class is for no task known here.

    Raises:
        SubpathError: several of its labels may be right at once, so its logits are no classes.
    """
    if gives_tokens(model):
        return TOKENS
    if any(_is_in(model, names) for names in OF_SAMPLES):
        return _by_labels(model)
    return next((outputs for names, outputs in OTHERS if _is_in(model, names)), None)


def gives_tokens(model: nn.Module) -> bool:
    """Whether there are logits for each token of the input."""
    return any(_is_in(model, names) for names in OF_TOKENS)


def _is_in(model: nn.Module, names: Mapping[str, Any]) -> bool:
    """Some tasks have two classes for one architecture."""
    own = type(model).__name__
    return any(own in ((v,) if isinstance(v, str) else v) for v in names.values())


def _by_labels(model: nn.Module) -> Outputs:
    """Logits of one number are a regression; transformers tells so in the config."""
    config: Any = getattr(model, "config", None)
    problem = getattr(config, "problem_type", None)
    if problem == "multi_label_classification":
        raise SubpathError(
            f"got a {type(model).__name__} with problem_type='multi_label_classification', whose "
            "logits are no distribution over classes; expected to be told how they are compared: "
            "two_pass=TwoPassSettings(outputs=Outputs({'logits': ...})), for example with Values()"
        )
    if problem == "regression" or getattr(config, "num_labels", None) == 1:
        return Outputs({"logits": Values()})
    return SAMPLES
