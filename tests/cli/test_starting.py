"""What a command imports before it begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NETWORK = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return x + self.norm(self.conv(x))

def make():
    stages = [nn.Sequential(Block(), Block()) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
SHOWN = """
import sys
from subpath.cli.app import main
sys.argv = ["subpath", *sys.argv[1:]]
try:
    main()
finally:
    print("imported:", *sorted({"timm", "torchvision", "accelerate"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["inspect", "report"])
def test_a_plain_network_imports_no_library_of_networks(tmp_path: Path, command: str) -> None:
    (tmp_path / "plain.py").write_text(NETWORK)
    given = [command, "plain:make", "--input", "[1, 3, 16, 16]"]
    run = [sys.executable, "-c", SHOWN, *given]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 stages" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
