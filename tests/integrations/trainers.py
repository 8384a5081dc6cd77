"""Small random models of transformers, batches for them, and the step done by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch.optim.lr_scheduler import LambdaLR

import subpath
from subpath.distill import two_pass_step
from subpath.integrations.transformers import TwoPassTrainer

WORDS = 50
LLAMA = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BERT = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
T5 = {
    "vocab_size": WORDS,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 4,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}
RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 8],
    "depths": [2, 2, 2, 2],
    "layer_type": "basic",
    "num_labels": 3,
}


def language(**config: Any) -> Any:
    torch.manual_seed(0)
    return subpath.convert(
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, **config))
    )


def sentiment(**config: Any) -> Any:
    torch.manual_seed(0)
    made = transformers.BertConfig(**{**BERT, **config})
    return subpath.convert(transformers.BertForSequenceClassification(made))


def translator() -> Any:
    torch.manual_seed(0)
    return subpath.convert(transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)))


def pictures() -> Any:
    torch.manual_seed(0)
    return subpath.convert(
        transformers.ResNetForImageClassification(transformers.ResNetConfig(**RESNET))
    )


def sentences(lengths: list[int], seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """One padded sentence of each length, with labels where there are words."""
    generator = torch.Generator().manual_seed(seed)
    longest, found = 10, []
    for length in lengths:
        ids = torch.randint(3, WORDS, (longest,), generator=generator)
        kept = torch.arange(longest) < length
        found.append(
            {
                "input_ids": ids.where(kept, 0),
                "attention_mask": kept.long(),
                "labels": ids.where(kept, -100),
            }
        )
    return found


def together(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def trainer(model: Any, items: Any, folder: Path, batch: int = 4, **more: Any) -> TwoPassTrainer:
    """One that takes plain steps of gradient descent, in the order of the items."""
    names = ("two_pass", "eval_skips", "compute_metrics")
    own = {name: more.pop(name) for name in names if name in more}
    arguments = {
        "max_steps": 1,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        **more,
    }
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return TwoPassTrainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=batch, **arguments
        ),
        train_dataset=items,
        eval_dataset=items,
        optimizers=(optimiser, LambdaLR(optimiser, lambda step: 1.0)),
        **own,
    )


def stepped(model: Any, inputs: dict[str, torch.Tensor], **settings: Any) -> dict[str, Any]:
    """The weights after one step by hand."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    optimiser.zero_grad()
    two_pass_step(model, inputs, None, None, **settings)
    optimiser.step()
    return model.state_dict()
