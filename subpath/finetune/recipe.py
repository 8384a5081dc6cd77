"""The recipe: everything a run depends on. Strict; all errors are shown at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .phase import PhaseSection
from .section import Arguments, Names, NotNegative, Pair, Positive, PositiveNumber, Section, Share

# Data sets that are found without being told where they are.
FOUND = ("digits", "fashion_mnist")


class ModelSection(Section):
    """The original network."""

    name: str
    """A timm name, or ``package.module:callable`` for a network of your own. That runs your code:
    read a recipe from others before you run it."""
    weights: str = "scratch"
    """``scratch``, ``pretrained`` (timm downloads them), or a local file of weights."""
    arguments: Arguments = Field(default_factory=dict)
    """Keyword arguments for ``timm.create_model``, or for your callable. ``num_classes`` is the
    data's unless given, and so is ``in_chans`` where images are not of three colours."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        import timm

        if ":" in name:
            return name
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:4]
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise ValueError(f"expected a timm model name or package.module:callable{hint}")
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
    blocks: Names | None = None
    twin_norms: Literal["mandatory", "all", "none"] = "mandatory"
    low_rank: Annotated[int, Field(ge=0)] = 0
    max_macs: Annotated[float, Field(gt=0, lt=1)] | None = None
    """With ``skippable: auto``: multiply-adds of the base-net at most, as a share of the whole.
    Those blocks are skipped that hurt least for what they save, measured on training data."""

    @field_validator("skippable")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        numbers = all(type(n) in (int, float) and n >= 0 for n in entries)
        if not numbers and value not in (None, "all", "auto"):
            raise ValueError(
                "expected a number (blocks, or a share below 1.0), a list of them, all or auto"
            )
        return value

    @model_validator(mode="after")
    def _budget(self) -> ConvertSection:
        if (self.skippable == "auto") != (self.max_macs is not None):
            raise ValueError("expected skippable: auto and max_macs together")
        return self


class FitSection(Section):
    """Patches by least squares before the fine-tune; see ``subpath.fit``."""

    images: Positive = 1000
    """How many training images are looked at, without their labels."""
    batch_size: Positive = 125
    max_cost: PositiveNumber = 0.02
    """Multiply-adds of all patches as a share of the super-net's."""
    rank: Positive | None = None
    """Of every patch, instead of what ``max_cost`` allows."""


class AugmentSection(Section):
    """Augmentation of the training images, by timm."""

    scale: Pair = (0.08, 1.0)
    """Random resized crop: share of the area."""
    ratio: Pair = (0.75, 1.3333)
    """Random resized crop: aspect ratio."""
    crop: Literal["rrc", "rkrc", "rkrr"] = "rrc"
    """Random resized crop, or timm's crops that keep the aspect ratio."""
    hflip: Share = 0.5
    vflip: Share = 0.0
    color_jitter: NotNegative = 0.0
    auto_augment: str | None = None
    """``ta_wide`` (TrivialAugment, torchvision's), or a policy of timm: ``rand-m9-mstd0.5``."""
    erase: Share = 0.0
    """Probability of random erasing."""
    repeats: Positive = 1
    """How often an image comes, augmented anew, among the batches of one step; an epoch is as long
    as without, and sees fewer images."""

    @field_validator("scale", "ratio")
    @classmethod
    def _rising(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("expected two numbers above 0, the smaller one first")
        return pair


class DataSection(Section):
    """What is trained and evaluated on."""

    name: str = "digits"
    """``digits`` (scikit-learn's, needs no download), ``fashion_mnist``, ``folder`` (a folder of
    images for each class), or a name of timm's dataset factory (``torch/cifar10``, ...)."""
    root: str | None = None
    """Where the data is. ``digits`` needs none; ``fashion_mnist`` is looked for where the Debian
    package dataset-fashion-mnist puts it."""
    train_split: str = "train"
    validation_split: str = "validation"
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Set this share of the training split aside, stratified by class, instead of using
    ``validation_split``. ``digits`` has one split, of which 0.2 is taken by default."""
    download: bool = False
    num_classes: Annotated[int, Field(gt=1)] | None = None
    """Default: asked from the data set."""
    input_size: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)] | None = None
    """Channels, height, width. Default: the model's."""
    train_size: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None
    """Height and width while training, if not those of ``input_size``."""
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
        if self.name not in FOUND and self.root is None:
            raise ValueError(f"expected a root for {self.name!r}: the directory with the data")
        channels = self.input_size[0] if self.input_size else None
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and channels not in (None, len(values)):
                raise ValueError(f"expected {channels} numbers in {key}, one for each channel")
        return self


class TeacherSection(Section):
    """Another network, already trained, that the super-net learns from beside the labels."""

    name: str
    """A timm name, or ``package.module:callable``; it takes the same images as the network."""
    weights: str = "pretrained"
    """``pretrained`` (timm downloads them) or a local file of weights."""
    arguments: Arguments = Field(default_factory=dict)
    weight: Share = 0.5
    """The super-net's task is ``1 - weight`` labels and ``weight`` teacher."""
    temperature: PositiveNumber = 1.0


class DistillSection(Section):
    """The self-distillation (Kang and Lee, section 3.2)."""

    alpha: Share = 0.5
    """Weight of the super-net's task loss; the rest weighs the base-net's distillation."""
    weight: PositiveNumber | None = None
    """Of the whole loss. Default: ``1 / alpha``: the super-net's task loss counts in full, and the
    learning rate of SGD means what it means in plain training. As published: 1."""
    temperature: PositiveNumber = 1.0
    logits: bool = True
    """Distil the logits."""
    features: bool = True
    """Distil the outputs of the stages."""
    features_weight: NotNegative = 1.0
    """Weight of the stage outputs beside that of the logits, which is 1."""
    stages: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    """Numbers (from 0) of the stages whose outputs are distilled. Default: all."""
    base_task: NotNegative = 1.0
    """Weight, beside the distillation, of the base-net's own task loss. As published: 0."""
    random_pass: bool = False
    """In each step, distil one more config, drawn anew, as sandwich-rule training does."""
    teacher: TeacherSection | None = None

    @model_validator(mode="after")
    def _something(self) -> DistillSection:
        if not (self.logits or (self.features and self.features_weight) or self.base_task):
            raise ValueError("expected logits, features or base_task: the base-net learns nothing")
        return self

    @property
    def whole(self) -> float:
        """The weight of the whole loss."""
        if self.weight is not None:
            return self.weight
        return 1 / self.alpha if self.alpha else 1.0


class Recipe(Section):
    """A whole run: train the original (optional), convert it, fine-tune, evaluate."""

    name: str | None = None
    """Default: the file's name. Names the output directory, ``runs/<name>``."""
    task: str = "image_classification"
    """What is learned; it decides what ``data`` holds."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: str = "auto"
    """``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    threads: Positive | None = None
    """CPU threads of torch; default: torch's. Small networks are faster on one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """``bf16`` and ``fp16`` compute in mixed precision; the weights stay single. fp16: CUDA."""
    channels_last: bool = False
    compile: bool = False
    """Compile each config that is trained, by ``torch.compile``."""
    recompute: bool = False
    """Keep the outputs of stages alone and compute the rest again in the backward pass: less
    memory, about a third more time."""
    shard: bool = False
    """With several processes: each keeps a part of the weights, gradients and optimiser's state of
    the fine-tune (FSDP), for networks that one device cannot hold. Networks that run in place."""
    sync_batch_norm: bool = False
    """With several processes: batch statistics over all of them (CUDA only). Else each process
    normalises its own batch, and running statistics are averaged after each epoch."""
    save_every: Positive | None = None
    """WeightUpdater between two checkpoints for ``--resume``; one at the end of each epoch in any
    case."""
    keep_best: bool = False
    """Also keep, under ``best``, the epoch with the best mean validation accuracy of super-net and
    base-net. Chosen by the validation data, its accuracy there is a little too good."""
    model: ModelSection
    convert: ConvertSection = ConvertSection()
    data: DataSection = DataSection()
    train: PhaseSection | None = None
    """Train the original before it is converted; leave out to start from ``model.weights``."""
    fit: FitSection | None = None
    """Fit patches before the fine-tune; leave out to have none."""
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

    @field_validator("task")
    @classmethod
    def _task(cls, task: str) -> str:
        from .tasks import TASKS

        if task not in TASKS:
            raise ValueError(f"expected one of {', '.join(TASKS)}")
        return task

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

    @model_validator(mode="after")
    def _one_of_two(self) -> Recipe:
        if self.compile and self.recompute:
            raise ValueError("expected compile or recompute, not both")
        return self

    @model_validator(mode="after")
    def _in_parts(self) -> Recipe:
        together = {
            "train": self.train,
            "keep_best": self.keep_best,
            "finetune.ema": self.finetune.ema,
            "distill.teacher": self.distill.teacher,
            "compile": self.compile,
            "precision: fp16": self.precision == "fp16",
        }
        wrong = [key for key, value in together.items() if value]
        if self.shard and wrong:
            raise ValueError(
                f"expected with shard no {' and no '.join(wrong)}: a part is not enough"
            )
        return self

    @model_validator(mode="after")
    def _twins_later(self) -> Recipe:
        rates = {} if self.train is None else self.train.optimiser.model_dump()
        for name in ("twin_lr", "patch_lr"):
            if rates.get(name, 1) != 1:
                raise ValueError(f"expected {name} in finetune alone: the original has none")
        if self.train is not None and self.train.original != "trained":
            raise ValueError("expected original: frozen in finetune alone")
        frozen = self.finetune.original == "frozen"
        if frozen and self.train is None and self.model.weights == "scratch":
            raise ValueError(
                "expected with finetune.original: frozen a train section, or model.weights of a "
                "trained network: this one would stay as it was initialised"
            )
        return self
