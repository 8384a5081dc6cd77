"""Tensors for networks of transformers, of the shapes that their config tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

LENGTH = 16  # tokens
FRAMES = 32  # of sound, after the convolutions that make them
SAMPLES = 16_000  # of sound, where nothing tells how few are enough
PIXELS = 224  # where the network takes any size

# Where a fact may stand: in the config itself ("") or in one inside it.
TEXT = ("", "text_config", "encoder", "text_encoder")
DECODER = ("decoder", "decoder_config", "", "text_config")
IMAGE = ("", "vision_config", "encoder", "backbone_config")
SOUND = ("", "audio_config", "encoder", "encoder_config", "speech_encoder")
_WORDS = tuple(dict.fromkeys((*TEXT, *DECODER)))

_POSITIONS = (
    "max_position_embeddings",
    "max_target_positions",
    "max_encoder_position_embeddings",
    "max_decoder_position_embeddings",
    "n_positions",
)


class Unknown(Exception):
    """A fact stands nowhere in the config; says what was looked for."""


class Config:
    """A config of transformers as a source of example inputs, the same ones each time."""

    def __init__(self, config: Any, dtype: torch.dtype, batch: int) -> None:
        """Read ``config``.

        Args:
            config: or any object with such attributes.
            dtype: of the floating inputs.
            batch: how many samples.
        """
        self._config = config
        self._dtype = dtype
        self._batch = batch
        self._generator = torch.Generator().manual_seed(0)

    def fact(self, places: Sequence[str], *names: str) -> Any:
        """The first of ``names`` that is said in the first of ``places``; ``None`` if none is."""
        for config in self._configs(places):
            for name in names:
                value = getattr(config, name, None)
                if value is not None:
                    return value
        return None

    def number(self, places: Sequence[str], *names: str) -> int:
        """A fact that must be there.

        Raises:
            Unknown: it is not.
        """
        value = self.fact(places, *names)
        if not isinstance(value, int):
            raise Unknown(f"looked for {' or '.join(names)}")
        return value

    def noise(self, *shape: int) -> Tensor:
        """A batch of normal numbers."""
        noise = torch.randn(self._batch, *shape, generator=self._generator, device="cpu")
        return noise.to(self._dtype)

    def tokens(self, places: Sequence[str]) -> Tensor:
        """A batch of numbers of words; none is a special one."""
        count = self.number(places, "vocab_size", "num_hash_buckets")  # of letters, the latter
        usual = torch.ones(count, dtype=torch.bool, device="cpu")
        usual[[token for token in self._special() if token < count]] = False
        words = usual.nonzero().flatten()
        shape = (self._batch, self._length())
        return words[torch.randint(len(words), shape, generator=self._generator, device="cpu")]

    def mask(self) -> Tensor:
        """Which tokens count: the last quarter of the last text does not."""
        length = self._length()
        mask = torch.ones(self._batch, length, dtype=torch.long, device="cpu")
        if self._batch > 1:
            mask[-1, length - length // 4 :] = 0
        return mask

    def _configs(self, places: Sequence[str]) -> Iterator[Any]:
        for place in places:
            config = getattr(self._config, place, None) if place else self._config
            if hasattr(config, "__dict__"):  # some have a number or a dict of that name
                yield config

    def _length(self) -> int:
        """Some networks count positions from the padding token's number on: so half is left."""
        limits = [
            limit
            for config in self._configs(_WORDS)
            for name in _POSITIONS
            if isinstance(limit := getattr(config, name, None), int) and limit > 0
        ]
        return max(1, min([LENGTH, *(limit // 2 for limit in limits)]))

    def _special(self) -> Iterator[int]:
        """The tokens with a meaning of their own, whichever config names them."""
        for config in self._configs(_WORDS):
            for name, value in vars(config).items():
                if name.endswith(("_token_id", "_token_ids", "_token_index")):
                    values = value if isinstance(value, (list, tuple)) else [value]
                    yield from (v for v in values if isinstance(v, int) and v >= 0)


def _text(config: Config) -> Tensor:
    ids = config.tokens(TEXT)
    end = config.fact(("",), "eos_token_id")
    if config.fact(("",), "is_encoder_decoder") and isinstance(end, int):
        ids[:, -1] = end  # some read the text's meaning off there
    return ids


def _image(config: Config) -> Tensor:
    shape = _image_shape(config)
    frames = config.fact(IMAGE, "num_frames")
    return config.noise(*shape) if frames is None else config.noise(frames, *shape)


def _video(config: Config) -> Tensor:
    frames = config.number(IMAGE, "num_frames", "frames_per_clip")
    return config.noise(frames, *_image_shape(config))


def _image_shape(config: Config) -> tuple[int, int, int]:
    channels = config.fact(IMAGE, "num_channels", "in_channels", "in_chans")
    size = config.fact(IMAGE, "image_size", "img_size", "input_size", "crop_size")
    if size is None:
        patch = config.fact(IMAGE, "patch_size")
        size = PIXELS // patch * patch if isinstance(patch, int) and patch <= PIXELS else PIXELS
    height, width = (size, size) if isinstance(size, int) else size
    return (3 if channels is None else channels, height, width)


def _sound(config: Config) -> Tensor:
    """A waveform, or the spectrogram of one for networks that divide it into patches."""
    mels = config.fact(SOUND, "num_mel_bins")
    length = config.fact(SOUND, "max_length")
    if mels is not None and length is not None:
        return config.noise(length, mels)
    kernels, strides = (config.fact(SOUND, name) for name in ("conv_kernel", "conv_stride"))
    if kernels is not None and strides is not None:
        return config.noise(_samples(config, kernels, strides))
    ratios = config.fact(SOUND, "upsampling_ratios")
    if ratios is not None:  # a codec
        return config.noise(config.fact(SOUND, "audio_channels") or 1, math.prod(ratios) * FRAMES)
    return config.noise(SAMPLES)


def _samples(config: Config, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """How many samples the convolutions turn into frames: as few as masking takes in training."""
    masked = config.fact(SOUND, "mask_time_length") or 0
    length = max(FRAMES, 2 * int(masked))
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        length = (length - 1) * stride + kernel
    return length


def _spectrogram(config: Config) -> Tensor:
    """Frames of features; where positions are counted before the network, all of them."""
    features = config.fact(SOUND, "input_feat_per_channel", "feature_projection_input_dim")
    if features is not None:
        return config.noise(2 * FRAMES, features)
    mels = config.number(SOUND, "num_mel_bins")
    positions = config.fact(SOUND, "max_source_positions")
    if positions is not None:
        return config.noise(mels, 2 * positions)
    side = config.fact(SOUND, "spec_size")
    if side is not None:
        return config.noise(1, side * (side // mels), mels)
    return config.noise(2 * FRAMES, mels)


def _series(config: Config) -> Tensor:
    length = config.number(("",), "context_length")
    return config.noise(length, config.number(("",), "num_input_channels"))


KINDS: Mapping[str, Callable[[Config], Tensor]] = {
    "input_ids": _text,
    "pixel_values": _image,
    "pixel_values_videos": _video,
    "input_values": _sound,
    "input_features": _spectrogram,
    "past_values": _series,
}
"""What a network may be about, and how it is made."""

MAKERS: Mapping[str, Callable[[Config], Tensor]] = {
    **KINDS,
    "attention_mask": Config.mask,
    "decoder_input_ids": lambda config: config.tokens(DECODER),
}
"""All inputs that can be made, by name."""
