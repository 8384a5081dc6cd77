"""The inputs of a call: what pages say of them, and how their batch changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from subpath.graph.inputs import Inputs
from subpath.measure import input_shapes, of_batch, shapes_as_document, shapes_in_words


class Net(nn.Module):
    def forward(self, x: Any, *more: Any, mask: Any = None, parts: Any = None) -> None:
        raise NotImplementedError


def test_one_image_is_shown_without_its_batch() -> None:
    for inputs in (Inputs((torch.zeros(2, 3, 8, 4),)), Inputs((), {"x": torch.zeros(1, 3, 8, 4)})):
        shapes = input_shapes(Net(), inputs)
        assert shapes_in_words(shapes) == "input 3x8x4"
        assert shapes_as_document(shapes) == {"input_size": [3, 8, 4]}


def test_one_text_has_its_name() -> None:
    shapes = input_shapes(Net(), Inputs((), {"mask": torch.zeros(2, 16, dtype=torch.long)}))
    assert shapes_in_words(shapes) == "mask 2x16"


def test_several_inputs_have_names() -> None:
    args = (torch.zeros(2, 3), torch.zeros(2), True)
    named = {"mask": torch.zeros(2, 1), "parts": [torch.zeros(2, 5), torch.zeros(2, 6)]}
    shapes = input_shapes(Net(), Inputs(args, named))
    assert shapes_as_document(shapes) == {
        "inputs": {
            "x": [2, 3],
            "more": [2],
            "mask": [2, 1],
            "parts[0]": [2, 5],
            "parts[1]": [2, 6],
        }
    }
    assert shapes_in_words(shapes).startswith("x 2x3, more 2, mask 2x1")


def test_another_batch_repeats_the_samples() -> None:
    x = torch.arange(6.0).view(2, 3)
    inputs = of_batch(Inputs((x, torch.zeros(5)), {"mask": x > 1, "scale": torch.tensor(2.0)}), 5)
    assert inputs.args[0].tolist() == [x.tolist()[i % 2] for i in range(5)]
    assert inputs.args[1].shape == (5,)
    assert inputs.kwargs["mask"].tolist() == (inputs.args[0] > 1).tolist()
    assert inputs.kwargs["scale"].ndim == 0
    assert of_batch(inputs, 1).args[0].tolist() == [[0.0, 1.0, 2.0]]
