"""The options that say how to measure latency, and the measurement they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MeasureError
from .example import as_example
from .status import status_line

if TYPE_CHECKING:
    from ..measure import LatencyTable
    from .subject import Subject

Latency = Annotated[
    bool,
    typer.Option("--latency", help="Measure the latency of each config on this machine."),
]
Batch = Annotated[
    list[int] | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Batch size; can be repeated. Default: 1.",
        show_default=False,
    ),
]
OneBatch = Annotated[
    int | None,
    typer.Option("--batch", min=1, metavar="N", help="Batch size; default: 1.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="CPU threads; default: torch's setting.", show_default=False
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="cpu|cuda", help="Default: cpu.", show_default=False)
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="fp32|bf16",
        help="Precision of weights and activations; default: fp32.",
        show_default=False,
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Measure sub-networks compiled by torch.compile.")
]
Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="torch|onnxruntime",
        help="Default: torch. onnxruntime needs the extra 'onnx'.",
        show_default=False,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of timings per config; default: as many as fit in 5 seconds.",
        show_default=False,
    ),
]
MeasureAll = Annotated[
    bool,
    typer.Option("--measure-all", help="Measure every config instead of predicting most of them."),
]


@dataclass(frozen=True)
class Measuring:
    """How to measure latency: the options as values."""

    batches: tuple[int, ...]
    threads: int | None
    device: str
    precision: str
    compiled: bool
    runtime: str
    rounds: int | None
    every: bool

    def tables(self, subject: Subject) -> list[LatencyTable]:
        """One table for each batch size, of the network with data."""
        import torch

        from .. import measure

        if self.device == "cuda" and not torch.cuda.is_available():
            raise MeasureError("got --device cuda; expected one that torch sees here: cpu")
        with status_line() as on_progress:
            on_progress("making the network", 0, None)
            model, inputs = subject.converted(subject.make())
            model.to(self.device)
            tables = []
            for batch in self.batches:

                def told(step: str, done: int, total: int | None, batch: int = batch) -> None:
                    on_progress(f"batch {batch}: {step}", done, total)

                tables.append(
                    measure.latency(
                        model,
                        as_example(measure.of_batch(inputs, batch)),
                        every=self.every,
                        rounds=self.rounds,
                        threads=self.threads,
                        precision=self.precision,
                        compiled=self.compiled,
                        runtime=self.runtime,
                        on_progress=told,
                    )
                )
            return tables


def parse_measuring(
    latency: bool,
    batch: Sequence[int] | None,
    threads: int | None,
    device: str | None,
    precision: str | None,
    compiled: bool,
    runtime: str | None,
    rounds: int | None,
    every: bool,
) -> Measuring | None:
    """The options as values; ``None`` without ``--latency``.

    Raises:
        MeasureError: an option has a value that is none of its own, or needs ``--latency``.
    """
    given = {
        "--batch": batch,
        "--threads": threads,
        "--device": device,
        "--precision": precision,
        "--compile": compiled,
        "--runtime": runtime,
        "--rounds": rounds,
        "--measure-all": every,
    }
    if not latency:
        alone = [word for word, value in given.items() if value]
        if alone:
            raise MeasureError(f"got {', '.join(alone)} without --latency; expected both")
        return None
    for word, value, choices in (
        ("--device", device, ("cpu", "cuda")),
        ("--precision", precision, ("fp32", "bf16")),
        ("--runtime", runtime, ("torch", "onnxruntime")),
    ):
        if value is not None and value not in choices:
            raise MeasureError(f"got {word} {value!r}; expected {' or '.join(choices)}")
    return Measuring(
        batches=tuple(batch or (1,)),
        threads=threads,
        device=device or "cpu",
        precision=precision or "fp32",
        compiled=compiled,
        runtime=runtime or "torch",
        rounds=rounds,
        every=every,
    )
