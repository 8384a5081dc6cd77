"""Encoders and decoders of text."""

from __future__ import annotations

from typing import Any

from ..examples import named, padded, tokens
from .entry import SIZES, TEXT, WORDS, network

_SHORT = named(input_ids=tokens)
_LONG = named(input_ids=lambda: tokens(length=32), attention_mask=lambda: padded(length=32))
_NO_CACHE: dict[str, Any] = {**WORDS, "use_cache": False}
_GROUPED: dict[str, Any] = {**_NO_CACHE, "num_key_value_heads": 2}
_EXPERTS: dict[str, Any] = {**_GROUPED, "num_experts_per_tok": 2}

ENCODERS = {
    "albert": network(
        "AlbertModel", TEXT, **WORDS, embedding_size=16, num_hidden_groups=1, inner_group_num=1
    ),
    "albert-groups": network("AlbertModel", TEXT, **WORDS, embedding_size=16, num_hidden_groups=2),
    "bert": network("BertModel", TEXT, **WORDS),
    "bert-attentions": network(
        "BertModel", TEXT, **WORDS, output_attentions=True, attn_implementation="eager"
    ),
    "bert-generation": network("BertGenerationEncoder", TEXT, **WORDS),
    "bert-masked-lm": network("BertForMaskedLM", TEXT, **WORDS),
    "big-bird": network("BigBirdModel", TEXT, **WORDS, attention_type="original_full"),
    "camembert": network("CamembertModel", TEXT, **WORDS),
    "canine": network(
        "CanineModel", _LONG, **SIZES, downsampling_rate=4, local_transformer_stride=8
    ),
    "convbert": network("ConvBertModel", TEXT, **WORDS, embedding_size=32),
    "data2vec-text": network("Data2VecTextModel", TEXT, **WORDS),
    "deberta": network(
        "DebertaModel", TEXT, **WORDS, relative_attention=True, pos_att_type="c2p|p2c"
    ),
    "deberta-v2": network(
        "DebertaV2Model",
        TEXT,
        **WORDS,
        relative_attention=True,
        position_buckets=8,
        pos_att_type="p2c|c2p",
        share_att_key=True,
    ),
    "distilbert": network(
        "DistilBertModel", TEXT, vocab_size=99, dim=32, n_layers=4, n_heads=4, hidden_dim=64
    ),
    "electra": network("ElectraModel", TEXT, **WORDS, embedding_size=16),
    "ernie": network("ErnieModel", TEXT, **WORDS),
    "esm": network("EsmModel", TEXT, **WORDS, pad_token_id=1, mask_token_id=2),
    "fnet": network("FNetModel", _SHORT, **WORDS),
    "funnel": network(
        "FunnelModel",
        TEXT,
        vocab_size=99,
        block_sizes=[4, 4],
        num_decoder_layers=4,
        d_model=32,
        n_head=4,
        d_head=8,
        d_inner=64,
    ),
    "ibert": network("IBertModel", TEXT, **WORDS),
    "layoutlm": network("LayoutLMModel", TEXT, **WORDS),
    "longformer": network("LongformerModel", _LONG, **WORDS, attention_window=[8] * 4),
    "luke": network("LukeModel", TEXT, **WORDS, entity_vocab_size=10, entity_emb_size=16),
    "mobilebert": network(
        "MobileBertModel",
        TEXT,
        **WORDS,
        embedding_size=16,
        intra_bottleneck_size=16,
        true_hidden_size=16,
        num_feedforward_networks=2,
    ),
    "modernbert": network(
        "ModernBertModel",
        TEXT,
        **WORDS,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "mpnet": network("MPNetModel", TEXT, **WORDS),
    "nystromformer": network(
        "NystromformerModel", _SHORT, **WORDS, num_landmarks=4, segment_means_seq_len=12
    ),
    "rembert": network(
        "RemBertModel", TEXT, **WORDS, input_embedding_size=16, output_embedding_size=16
    ),
    "roberta": network("RobertaModel", TEXT, **WORDS),
    "roberta-classifier": network("RobertaForSequenceClassification", TEXT, **WORDS, num_labels=5),
    "roberta-prelayernorm": network("RobertaPreLayerNormModel", TEXT, **WORDS),
    "roformer": network("RoFormerModel", TEXT, **WORDS, embedding_size=32),
    "splinter": network("SplinterModel", TEXT, **WORDS),
    "squeezebert": network("SqueezeBertModel", TEXT, **WORDS, embedding_size=32),
    "t5-encoder": network(
        "T5EncoderModel",
        TEXT,
        vocab_size=99,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=4,
        num_heads=4,
    ),
    "xlm-roberta": network("XLMRobertaModel", TEXT, **WORDS),
    "xlm-roberta-xl": network("XLMRobertaXLModel", TEXT, **WORDS),
    "xlnet": network(
        "XLNetModel", TEXT, vocab_size=99, d_model=32, n_layer=4, n_head=4, d_inner=64
    ),
    "xmod": network("XmodModel", TEXT, **WORDS, languages=["en_XX"], default_language="en_XX"),
    "markuplm": network("MarkupLMModel", TEXT, **WORDS),
    "megatron-bert": network("MegatronBertModel", TEXT, **WORDS),
    "nomic-bert": network("NomicBertModel", TEXT, **WORDS),
    "roc-bert": network(
        "RoCBertModel", TEXT, **WORDS, shape_vocab_size=99, pronunciation_vocab_size=99
    ),
    "tapas": network("TapasModel", TEXT, **WORDS),
    "yoso": network("YosoModel", TEXT, **WORDS),
}

DECODERS = {
    "biogpt": network("BioGptModel", TEXT, **_NO_CACHE),
    "codegen": network(
        "CodeGenModel",
        TEXT,
        vocab_size=99,
        n_embd=32,
        n_layer=4,
        n_head=4,
        rotary_dim=4,
        use_cache=False,
    ),
    "glm": network("GlmModel", TEXT, **_GROUPED, head_dim=8, pad_token_id=0),
    "mpt": network(
        "MptModel", TEXT, vocab_size=99, d_model=32, n_layers=4, n_heads=4, use_cache=False
    ),
    "olmo": network("OlmoModel", TEXT, **_GROUPED),
    "olmo3": network("Olmo3Model", TEXT, **_GROUPED, pad_token_id=0, eos_token_id=2),
    "openai-gpt": network("OpenAIGPTModel", TEXT, vocab_size=99, n_embd=32, n_layer=4, n_head=4),
    "persimmon": network("PersimmonModel", TEXT, **_NO_CACHE),
    "xglm": network(
        "XGLMModel",
        TEXT,
        vocab_size=99,
        d_model=32,
        ffn_dim=64,
        num_layers=4,
        attention_heads=4,
        use_cache=False,
    ),
    "bloom": network(
        "BloomModel", TEXT, vocab_size=99, hidden_size=32, n_layer=4, n_head=4, use_cache=False
    ),
    "cohere": network("CohereModel", TEXT, **_GROUPED),
    "ctrl": network(
        "CTRLModel", TEXT, vocab_size=99, n_embd=32, n_layer=4, n_head=4, dff=64, use_cache=False
    ),
    "deepseek-v3": network(
        "DeepseekV3Model",
        TEXT,
        **_NO_CACHE,
        num_key_value_heads=4,
        moe_intermediate_size=16,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
    ),
    "falcon": network("FalconModel", TEXT, **_NO_CACHE),
    "falcon-alibi": network("FalconModel", TEXT, **_NO_CACHE, alibi=True, parallel_attn=False),
    "gemma": network("GemmaModel", TEXT, **_GROUPED, head_dim=8),
    "gemma2": network("Gemma2Model", TEXT, **_GROUPED, head_dim=8, sliding_window=8),
    "gemma3": network("Gemma3TextModel", TEXT, **_GROUPED, head_dim=8, sliding_window=8),
    "glm4": network("Glm4Model", TEXT, **_GROUPED, head_dim=8, pad_token_id=0),
    "gpt2": network(
        "GPT2Model", TEXT, vocab_size=99, n_embd=32, n_layer=4, n_head=4, use_cache=False
    ),
    "gpt2-lm": network(
        "GPT2LMHeadModel", TEXT, vocab_size=99, n_embd=32, n_layer=4, n_head=4, use_cache=False
    ),
    "gpt-neo": network(
        "GPTNeoModel",
        TEXT,
        vocab_size=99,
        hidden_size=32,
        num_layers=4,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=8,
        use_cache=False,
    ),
    "gpt-neox": network("GPTNeoXModel", TEXT, **_NO_CACHE, use_parallel_residual=True),
    "gpt-neox-sequential": network("GPTNeoXModel", TEXT, **_NO_CACHE, use_parallel_residual=False),
    "gptj": network(
        "GPTJModel",
        TEXT,
        vocab_size=99,
        n_embd=32,
        n_layer=4,
        n_head=4,
        rotary_dim=4,
        use_cache=False,
    ),
    "gpt-oss": network(
        "GptOssModel", TEXT, **_EXPERTS, num_local_experts=4, head_dim=8, sliding_window=8
    ),
    "granite": network("GraniteModel", TEXT, **_GROUPED),
    "llama": network("LlamaModel", TEXT, **_GROUPED),
    "llama-lm": network("LlamaForCausalLM", TEXT, **_GROUPED),
    "mamba": network(
        "MambaModel",
        _SHORT,
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=4,
        state_size=8,
        use_cache=False,
    ),
    "mamba2": network(
        "Mamba2Model",
        _SHORT,
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=4,
        state_size=8,
        num_heads=8,
        head_dim=8,
        n_groups=2,
        chunk_size=4,
        use_cache=False,
    ),
    "mistral": network("MistralModel", TEXT, **_GROUPED, sliding_window=8),
    "mixtral": network("MixtralModel", TEXT, **_EXPERTS, num_local_experts=4),
    "nemotron": network("NemotronModel", TEXT, **_GROUPED),
    "olmo2": network("Olmo2Model", TEXT, **_GROUPED),
    "olmoe": network("OlmoeModel", TEXT, **_EXPERTS, num_experts=4),
    "opt": network(
        "OPTModel",
        TEXT,
        vocab_size=99,
        hidden_size=32,
        word_embed_proj_dim=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        ffn_dim=64,
        use_cache=False,
    ),
    "phi": network("PhiModel", TEXT, **_NO_CACHE),
    "phi3": network("Phi3Model", TEXT, **_GROUPED, pad_token_id=0),
    "qwen2": network("Qwen2Model", TEXT, **_GROUPED),
    "qwen2-moe": network(
        "Qwen2MoeModel",
        TEXT,
        **_EXPERTS,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "qwen3": network("Qwen3Model", TEXT, **_GROUPED, head_dim=8),
    "qwen3-moe": network(
        "Qwen3MoeModel", TEXT, **_EXPERTS, num_experts=4, moe_intermediate_size=16, head_dim=8
    ),
    "recurrent-gemma": network(
        "RecurrentGemmaModel",
        TEXT,
        **_GROUPED,
        lru_width=32,
        attention_window_size=8,
        block_types=["recurrent", "attention"],
    ),
    "rwkv": network(
        "RwkvModel",
        _SHORT,
        vocab_size=99,
        hidden_size=32,
        attention_hidden_size=32,
        num_hidden_layers=4,
        intermediate_size=64,
        use_cache=False,
    ),
    "smollm3": network("SmolLM3Model", TEXT, **_GROUPED, pad_token_id=0),
    "stablelm": network("StableLmModel", TEXT, **_GROUPED),
    "starcoder2": network("Starcoder2Model", TEXT, **_GROUPED),
}

_PAIR = named(input_ids=tokens, attention_mask=padded, decoder_input_ids=lambda: tokens(length=7))
_BART: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "use_cache": False,
}
_T5: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 4,
    "num_decoder_layers": 4,
    "num_heads": 4,
    "use_cache": False,
}

PAIRS = {
    "bart": network("BartModel", _PAIR, **_BART),
    "blenderbot": network("BlenderbotModel", _PAIR, **_BART),
    "led": network("LEDModel", _PAIR, **_BART, attention_window=[8] * 4),
    "longt5": network("LongT5Model", _PAIR, **_T5, local_radius=4),
    "m2m-100": network("M2M100Model", _PAIR, **_BART),
    "marian": network("MarianModel", _PAIR, **_BART, pad_token_id=0),
    "mbart": network("MBartModel", _PAIR, **_BART),
    "mt5": network("MT5Model", _PAIR, **_T5),
    "nllb-moe": network(
        "NllbMoeModel",
        _PAIR,
        **_BART,
        num_experts=4,
        expert_capacity=16,
        encoder_sparse_step=2,
        decoder_sparse_step=2,
    ),
    "pegasus": network("PegasusModel", _PAIR, **_BART),
    "pegasus-x": network("PegasusXModel", _PAIR, **_BART, block_size=4, num_global_tokens=2),
    "plbart": network("PLBartModel", _PAIR, **_BART),
    "switch-transformers": network(
        "SwitchTransformersModel",
        _PAIR,
        **_T5,
        num_experts=4,
        expert_capacity=16,
        num_sparse_encoder_layers=2,
        num_sparse_decoder_layers=2,
    ),
    "t5": network("T5Model", _PAIR, **_T5),
    "t5-lm": network("T5ForConditionalGeneration", _PAIR, **_T5),
    "umt5": network("UMT5Model", _PAIR, **_T5),
}

NETWORKS = {**ENCODERS, **DECODERS, **PAIRS}
