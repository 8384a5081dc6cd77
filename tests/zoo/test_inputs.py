"""What a network is called with when nobody says: its own config tells. No library is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from subpath import zoo
from subpath.errors import ModelError
from subpath.zoo.huggingface import default_inputs


class Fake(nn.Module):
    """Carries what a network of transformers carries."""

    main_input_name: Any = "input_ids"

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="fake", **config)
        self.weight = nn.Parameter(torch.zeros(1))


class Text(Fake):
    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> Any:
        raise NotImplementedError


class Image(Fake):
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any, output_attentions: Any = None) -> Any:
        raise NotImplementedError


class Sound(Fake):
    main_input_name = "input_values"

    def forward(self, input_values: Any, attention_mask: Any = None) -> Any:
        raise NotImplementedError


class Spectrogram(Fake):
    main_input_name = "input_features"

    def forward(self, input_features: Any = None, decoder_input_ids: Any = None) -> Any:
        raise NotImplementedError


class Both(Fake):
    def forward(
        self, input_ids: Any = None, pixel_values: Any = None, attention_mask: Any = None
    ) -> Any:
        raise NotImplementedError


class Translator(Fake):
    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, decoder_input_ids: Any = None
    ) -> Any:
        raise NotImplementedError


def shapes(model: nn.Module) -> dict[str, list[int]]:
    inputs = default_inputs(model)
    assert inputs is not None
    assert inputs.args == ()
    assert all(tensor.device.type == "cpu" for tensor in inputs.kwargs.values())
    return {name: list(tensor.shape) for name, tensor in inputs.kwargs.items()}


def test_words_are_no_special_ones() -> None:
    model = Text(vocab_size=8, pad_token_id=0, eos_token_id=[2, 3], sep_token_id=None)
    inputs = default_inputs(model)
    assert inputs is not None
    assert set(inputs.kwargs["input_ids"].flatten().tolist()) <= {1, 4, 5, 6, 7}
    assert list(inputs.kwargs) == ["input_ids", "attention_mask"]
    assert inputs.kwargs["attention_mask"].sum(1).tolist() == [16, 12]
    again = default_inputs(model)
    assert again is not None
    assert torch.equal(again.kwargs["input_ids"], inputs.kwargs["input_ids"])


def test_no_mask_without_data() -> None:
    assert list(shapes(Text(vocab_size=8).to("meta"))) == ["input_ids"]


def test_positions_limit_the_length() -> None:
    assert shapes(Text(vocab_size=8, max_position_embeddings=514))["input_ids"] == [2, 16]
    assert shapes(Text(vocab_size=8, max_position_embeddings=20))["input_ids"] == [2, 10]
    assert shapes(Text(vocab_size=8, max_position_embeddings=-1))["input_ids"] == [2, 16]


def test_a_text_that_is_translated_ends() -> None:
    model = Translator(vocab_size=8, eos_token_id=1, is_encoder_decoder=True)
    inputs = default_inputs(model)
    assert inputs is not None
    assert list(inputs.kwargs) == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert inputs.kwargs["input_ids"][:, -1].tolist() == [1, 1]
    assert 1 not in inputs.kwargs["input_ids"][:, :-1]
    encoder = Translator(vocab_size=8, eos_token_id=1, is_encoder_decoder=False)
    assert list(shapes(encoder)) == ["input_ids", "attention_mask"]


def test_who_cannot_pad_takes_one_text() -> None:
    class FakeForSequenceClassification(Text):
        pass

    assert shapes(FakeForSequenceClassification(vocab_size=8, pad_token_id=None)) == {
        "input_ids": [1, 16],
        "attention_mask": [1, 16],
    }
    assert shapes(FakeForSequenceClassification(vocab_size=8, pad_token_id=0))["input_ids"][0] == 2


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"image_size": 32, "num_channels": 4}, [2, 4, 32, 32]),
        ({"image_size": [48, 32]}, [2, 3, 48, 32]),
        ({"image_size": None, "patch_size": 12}, [2, 3, 216, 216]),
        ({}, [2, 3, 224, 224]),
        ({"vision_config": SimpleNamespace(image_size=64, num_channels=1)}, [2, 1, 64, 64]),
        ({"image_size": 16, "num_frames": 4}, [2, 4, 3, 16, 16]),
    ],
)
def test_images(config: dict[str, Any], shape: list[int]) -> None:
    assert shapes(Image(**config)) == {"pixel_values": shape}


def test_images_have_the_type_of_the_weights() -> None:
    inputs = default_inputs(Image(image_size=8).bfloat16())
    assert inputs is not None
    assert inputs.kwargs["pixel_values"].dtype is torch.bfloat16


def test_a_waveform_gives_enough_frames() -> None:
    kernels, strides = [10, 3, 2], [5, 2, 2]
    for masked, frames in ((0, 32), (40, 80)):
        config = {"conv_kernel": kernels, "conv_stride": strides, "mask_time_length": masked}
        _, length = shapes(Sound(**config))["input_values"]
        for kernel, stride in zip(kernels, strides, strict=True):
            length = nn.Conv1d(1, 1, kernel, stride)(torch.zeros(1, 1, length)).shape[-1]
        assert length == frames


def test_spectrograms() -> None:
    assert shapes(Sound(max_length=24, num_mel_bins=16)) == {"input_values": [2, 24, 16]}
    whisper = Spectrogram(
        num_mel_bins=8, max_source_positions=20, is_encoder_decoder=True, vocab_size=9
    )
    assert shapes(whisper) == {"input_features": [2, 8, 40], "decoder_input_ids": [2, 16]}
    assert shapes(Spectrogram(input_feat_per_channel=80, max_source_positions=6000)) == {
        "input_features": [2, 64, 80]
    }


def test_text_and_images() -> None:
    towers = {
        "text_config": SimpleNamespace(vocab_size=9, max_position_embeddings=8),
        "vision_config": SimpleNamespace(image_size=16),
    }
    both = {"input_ids": [2, 4], "pixel_values": [2, 3, 16, 16], "attention_mask": [2, 4]}
    assert shapes(Both(**towers)) == both
    text_alone = {"input_ids": [2, 4], "attention_mask": [2, 4]}
    assert shapes(Both(**towers, image_token_id=7)) == text_alone


def test_adapters_pass_everything_on() -> None:
    class Adapted(nn.Module):
        def __init__(self, base: Fake) -> None:
            super().__init__()
            self.base = base
            self.config, self.main_input_name = base.config, base.main_input_name

        def get_base_model(self) -> nn.Module:
            return self.base

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    assert list(shapes(Adapted(Text(vocab_size=8)))) == ["input_ids", "attention_mask"]


class Robot(Fake):
    main_input_name = "states"

    def forward(self, states: Any, actions: Any, attention_mask: Any = None) -> Any:
        raise NotImplementedError


class Dummies(Robot):
    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        return {"states": torch.zeros(2, 5), "actions": torch.ones(2), "others": torch.ones(2)}


def test_dummies_of_the_network_itself() -> None:
    assert shapes(Dummies()) == {"states": [2, 5], "actions": [2]}

    class Further(Dummies):
        pass

    assert shapes(Further()) == {"states": [2, 5], "actions": [2]}


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(ModelError, match=r"states: .*actions: .*example_input=\{'states': "):
        default_inputs(Robot())
    with pytest.raises(ModelError, match="looked for vocab_size"):
        default_inputs(Text())


def test_networks_of_others_have_none() -> None:
    assert default_inputs(nn.Linear(2, 2)) is None
    with pytest.raises(ModelError, match="expected example_input="):
        zoo.example_inputs(nn.Linear(2, 2))
    (images,) = zoo.example_inputs(timm.create_model("resnet18", in_chans=1)).args
    assert images.shape == (2, 1, 224, 224)


def test_what_is_given_counts() -> None:
    given = {"input_ids": torch.zeros(3, 5, dtype=torch.long)}
    assert zoo.example_inputs(Text(vocab_size=8), given).kwargs == given
    assert zoo.example_inputs(Text(vocab_size=8)).kwargs.keys() == {"input_ids", "attention_mask"}
