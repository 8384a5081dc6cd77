"""The recipe: everything a run depends on. Strict; all errors are shown at once."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[float, float], Field(strict=False)]


class Section(BaseModel):
    """A mapping in the recipe: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """The original network."""

    name: str
    """A timm name."""
    weights: str = "scratch"
    """``scratch``, ``pretrained`` (timm downloads them), or a local file of weights."""
    arguments: dict[str, Any] = {}
    """Keyword arguments for ``timm.create_model``; ``num_classes`` is the data's unless given."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        import timm

        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:4]
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise ValueError(f"expected a timm model name{hint}")
        return name

    @field_validator("arguments")
    @classmethod
    def _no_files(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        named = {"pretrained", "checkpoint_path"} & set(arguments)
        if named:
            raise ValueError(f"expected no {', '.join(sorted(named))}: use model.weights")
        return arguments


class ConvertSection(Section):
    """How the network is cut; see ``subpath.convert``."""

    groups: Positive | None = None
    skippable: Any = None
    blocks: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    twin_norms: Literal["mandatory", "all", "none"] = "mandatory"

    @field_validator("skippable")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        if value is not None and not all(type(n) in (int, float) and n >= 0 for n in entries):
            raise ValueError("expected a number (blocks, or a share below 1.0) or a list of them")
        return value


class AugmentSection(Section):
    """Augmentation of the training images, by timm."""

    scale: Pair = (0.08, 1.0)
    """Random resized crop: share of the area."""
    ratio: Pair = (0.75, 1.3333)
    """Random resized crop: aspect ratio."""
    hflip: Share = 0.5
    color_jitter: Annotated[float, Field(ge=0)] = 0.0
    auto_augment: str | None = None
    """timm's policy, for example ``rand-m9-mstd0.5``."""
    erase: Share = 0.0
    """Probability of random erasing."""

    @field_validator("scale", "ratio")
    @classmethod
    def _rising(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("expected two numbers above 0, the smaller one first")
        return pair


class DataSection(Section):
    """What is trained and evaluated on."""

    name: str = "digits"
    """``digits`` (scikit-learn's, needs no download), ``folder`` (a folder of images for each
    class), or a name of timm's dataset factory (``torch/cifar10``, ``hfds/...``)."""
    root: str | None = None
    """Where the data is; all but ``digits`` need it."""
    train_split: str = "train"
    held_back_split: str = "validation"
    held_back: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Hold back this share of the training split, stratified by class, instead of using
    ``held_back_split``. ``digits`` has one split and holds back 0.2 by default."""
    download: bool = False
    num_classes: Annotated[int, Field(gt=1)] | None = None
    """Default: asked from the data set."""
    input_size: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)] | None = None
    """Channels, height, width. Default: the model's."""
    mean: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    std: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = None
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Centre crop for evaluation, as a share of the resized image."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data; 0 loads in the main process."""
    augment: AugmentSection = AugmentSection()

    @model_validator(mode="after")
    def _complete(self) -> DataSection:
        if self.name != "digits" and self.root is None:
            raise ValueError(f"expected a root for {self.name!r}: the directory with the data")
        channels = self.input_size[0] if self.input_size else None
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and channels not in (None, len(values)):
                raise ValueError(f"expected {channels} numbers in {key}, one for each channel")
        return self


class OptimiserSection(Section):
    """The optimiser, by timm's ``create_optimizer_v2``."""

    name: str = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Not applied to norms and biases."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    arguments: dict[str, Any] = {}
    """Further keyword arguments, for example ``betas``."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        from timm.optim import list_optimizers

        known = [str(optimiser) for optimiser in list_optimizers()]
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), known, 4) or ["sgd", "adamw", "lamb"]
            raise ValueError(f"expected one of timm's optimisers, for example {', '.join(near)}")
        return name


class ScheduleSection(Section):
    """The learning rate over time, by timm's ``create_scheduler_v2``; updated at every step."""

    name: Literal["cosine", "step", "multistep", "poly"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_lr: Annotated[float, Field(ge=0)] = 1e-5
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    decay_epochs: Annotated[float, Field(gt=0)] | None = None
    decay_milestones: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    decay_rate: Annotated[float, Field(gt=0)] = 0.1


class MixupSection(Section):
    """Mixup and cutmix, by timm."""

    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    probability: Share = 1.0


class PhaseSection(Section):
    """One training phase."""

    epochs: Positive
    batch_size: Annotated[int, Field(gt=1)] = 64
    optimiser: OptimiserSection = OptimiserSection()
    schedule: ScheduleSection = ScheduleSection()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: MixupSection | None = None

    @model_validator(mode="after")
    def _possible(self) -> PhaseSection:
        if self.mixup is not None and self.batch_size % 2:
            raise ValueError("expected an even batch_size: mixup pairs the images of a batch")
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"expected schedule.warmup_epochs below epochs, got "
                f"{self.schedule.warmup_epochs} of {self.epochs}"
            )
        return self


class DistillSection(Section):
    """The self-distillation (Kang and Lee, section 3.2)."""

    alpha: Share = 0.5
    """Weight of the super-net's task loss; the rest weighs the base-net's distillation."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    features: bool = True
    """Distil the outputs of the stages too."""


class Recipe(Section):
    """A whole run: train the original (optional), convert it, fine-tune, evaluate."""

    name: str | None = None
    """Default: the file's name. Names the output directory, ``runs/<name>``."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: str = "auto"
    """``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    threads: Positive | None = None
    """CPU threads of torch; default: torch's. Small networks are faster on one."""
    model: ModelSection
    convert: ConvertSection = ConvertSection()
    data: DataSection = DataSection()
    train: PhaseSection | None = None
    """Train the original before it is converted; leave out to start from ``model.weights``."""
    finetune: PhaseSection
    distill: DistillSection = DistillSection()
    output: str | None = None
    """Directory of the run. Default: ``runs/<name>``."""

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and (not name or set(name) & set("/\\") or name in (".", "..")):
            raise ValueError("expected a plain name that can name a directory")
        return name

    @field_validator("device")
    @classmethod
    def _device(cls, device: str) -> str:
        import torch

        if device == "auto":
            return device
        try:
            torch.device(device)
        except RuntimeError as error:
            raise ValueError("expected auto, cpu, cuda, cuda:<number> or mps") from error
        return device
