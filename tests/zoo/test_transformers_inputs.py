"""Networks of transformers, made small: what their config tells is what their forward takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from subpath import zoo
from subpath.constructors import constructor
from subpath.errors import ModelError

pytestmark = [pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]

WIDTHS = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
SIZES = {**WIDTHS, "num_hidden_layers": 2}
WORDS = {**SIZES, "vocab_size": 99, "max_position_embeddings": 24}
GROUPED = {**WORDS, "num_key_value_heads": 2, "pad_token_id": 0}
IMAGE = {**SIZES, "image_size": 32, "patch_size": 8}
PAIR = {"text_config": {**WORDS, "eos_token_id": 2}, "vision_config": IMAGE, "projection_dim": 16}
SEQ2SEQ = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
T5 = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
WAVES = {
    **SIZES,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 32,
}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2]}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
CONV = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 2, 1]}
BACKBONE = {"backbone_config": {"model_type": "resnet", **CONV, "out_features": ["stage4"]}}
VIDEO = {**IMAGE, "image_size": 16, "num_frames": 4}

NETWORKS: dict[str, dict[str, Any]] = {
    "ViTModel": IMAGE,
    "ViTForImageClassification": IMAGE,
    "DeiTModel": IMAGE,
    "DeiTForImageClassificationWithTeacher": IMAGE,
    "BeitModel": IMAGE,
    "BeitForImageClassification": {**IMAGE, "use_relative_position_bias": True},
    "SwinForImageClassification": {**SWIN, "window_size": 4},
    "Swinv2Model": {**SWIN, "window_size": 4},
    "ConvNextV2ForImageClassification": CONV,
    "Dinov2ForImageClassification": {**IMAGE, "image_size": 28, "patch_size": 14},
    "SegformerForSemanticSegmentation": {"hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "DPTForDepthEstimation": {
        **IMAGE,
        "num_hidden_layers": 4,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 8, 8, 8],
        "fusion_hidden_size": 8,
    },
    "PvtV2ForImageClassification": {"image_size": 64, "depths": [1, 1, 1, 1]},
    "MobileViTForImageClassification": {"image_size": 64, "hidden_sizes": [32, 32, 32]},
    "HieraForImageClassification": {
        "image_size": [64, 32],
        "embed_dim": 16,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "masked_unit_size": [4, 4],
        "num_query_pool": 1,
    },
    "VideoMAEForVideoClassification": VIDEO,
    "TimesformerForVideoClassification": VIDEO,
    "VivitModel": {**VIDEO, "tubelet_size": [2, 8, 8]},
    "VJEPA2Model": {
        **SIZES,
        "crop_size": 32,
        "frames_per_clip": 4,
        "pred_hidden_size": 16,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    },
    "DetrForObjectDetection": {
        **{key: SEQ2SEQ[key] for key in SEQ2SEQ if key.startswith(("encoder", "decoder_", "d_"))},
        **BACKBONE,
        "use_timm_backbone": False,
        "backbone": None,
        "decoder_layers": 2,
        "num_queries": 5,
    },
    "CLIPModel": PAIR,
    "CLIPVisionModel": IMAGE,
    "CLIPVisionModelWithProjection": {**IMAGE, "projection_dim": 16},
    "CLIPTextModel": WORDS,
    "SiglipModel": {"text_config": WORDS, "vision_config": IMAGE},
    "ViltModel": {**IMAGE, "vocab_size": 99, "max_position_embeddings": 24},
    "BertModel": WORDS,
    "BertForSequenceClassification": WORDS,
    "BertForMaskedLM": WORDS,
    "BertForQuestionAnswering": WORDS,
    "RobertaModel": WORDS,
    "RobertaForTokenClassification": WORDS,
    "DistilBertForSequenceClassification": {
        "vocab_size": 99,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
    },
    "AlbertForSequenceClassification": {**WORDS, "embedding_size": 16},
    "ElectraForSequenceClassification": {**WORDS, "embedding_size": 16},
    "DebertaV2ForSequenceClassification": {
        **WORDS,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
    },
    "MPNetModel": WORDS,
    "XLNetForSequenceClassification": {
        "vocab_size": 99,
        "d_model": 32,
        "n_layer": 2,
        "n_head": 4,
        "d_inner": 64,
    },
    "LongformerModel": {**WORDS, "max_position_embeddings": 64, "attention_window": [8, 8]},
    "ModernBertForSequenceClassification": {
        **WORDS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "GPT2LMHeadModel": GPT2,
    "GPT2ForSequenceClassification": GPT2,
    "GPTNeoXForCausalLM": WORDS,
    "OPTForCausalLM": {
        "vocab_size": 99,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "max_position_embeddings": 24,
    },
    "BloomForCausalLM": {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "LlamaForCausalLM": GROUPED,
    "LlamaForSequenceClassification": {**GROUPED, "pad_token_id": None},
    "MistralForCausalLM": GROUPED,
    "Qwen2ForCausalLM": GROUPED,
    "Gemma2ForCausalLM": {**GROUPED, "head_dim": 8},
    "MixtralForCausalLM": {**GROUPED, "num_local_experts": 2},
    "T5ForConditionalGeneration": {**T5, "decoder_start_token_id": 0},
    "T5ForSequenceClassification": {**T5, "decoder_start_token_id": 0},
    "T5EncoderModel": T5,
    "BartForConditionalGeneration": SEQ2SEQ,
    "BartForSequenceClassification": SEQ2SEQ,
    "MarianMTModel": SEQ2SEQ,
    "WhisperForConditionalGeneration": {
        **SEQ2SEQ,
        "num_mel_bins": 8,
        "max_source_positions": 20,
        "max_target_positions": 24,
    },
    "WhisperForAudioClassification": {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 20},
    "Speech2TextForConditionalGeneration": {
        **SEQ2SEQ,
        "conv_channels": 32,
        "input_feat_per_channel": 16,
    },
    "Wav2Vec2Model": WAVES,
    "Wav2Vec2ForCTC": WAVES,
    "Wav2Vec2ForXVector": {**WAVES, "tdnn_dim": [8, 8, 8, 8, 16], "xvector_output_dim": 8},
    "HubertForSequenceClassification": WAVES,
    "WavLMModel": WAVES,
    "ASTForAudioClassification": {
        **SIZES,
        "patch_size": 4,
        "frequency_stride": 4,
        "time_stride": 4,
        "max_length": 24,
        "num_mel_bins": 16,
    },
    "LlavaForConditionalGeneration": {
        "text_config": {"model_type": "llama", **GROUPED},
        "vision_config": {"model_type": "clip_vision_model", **IMAGE},
        "image_token_index": 98,
    },
}


def made(name: str) -> Any:
    transformers = pytest.importorskip("transformers")
    model = getattr(transformers, name)
    return model(model.config_class(**NETWORKS[name]))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_forward_runs(name: str) -> None:
    model = made(name)
    for mode in (False, True):
        inputs = zoo.example_inputs(model.train(mode))
        with torch.no_grad():
            model(*inputs.args, **inputs.kwargs)


def test_types_follow_the_weights() -> None:
    model = made("ViTModel").to(torch.bfloat16)
    inputs = zoo.example_inputs(model)
    assert inputs.kwargs["pixel_values"].dtype is torch.bfloat16
    with torch.no_grad():
        model(**inputs.kwargs)


def test_a_network_without_data_has_inputs_too() -> None:
    with torch.device("meta"):
        model = made("LlamaForCausalLM").eval()
    inputs = zoo.example_inputs(model)
    assert not any(tensor.is_meta for tensor in inputs.kwargs.values())
    with torch.no_grad():
        output = model(**{name: value.to("meta") for name, value in inputs.kwargs.items()})
    assert output.logits.shape == (2, 12, 99)


def test_a_class_is_made_from_fields_of_its_config() -> None:
    pytest.importorskip("transformers")
    sizes = {"num_hidden_layers": 2, "n_embd": 24, "n_head": 2}
    model: Any = constructor("transformers:GPT2Model", sizes)()
    assert (len(model.h), model.config.hidden_size) == (2, 24)
    model = constructor("transformers:CLIPModel", PAIR)()
    assert model.config.vision_config.image_size == 32
    with pytest.raises(ModelError, match=r"got num_layer .* near num_layer: "):
        constructor("transformers:BertModel", {"num_layer": 2})()
