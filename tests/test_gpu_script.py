"""The script for GPUs, tried on a CPU: every part runs and every check holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "benchmarks" / "gpu.py"


def test_every_part_runs_and_every_check_holds(tmp_path: Path) -> None:
    written = tmp_path / "gpu.json"
    command = [sys.executable, SCRIPT, "--device", "cpu", "--quick", "--json", written]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(written.read_text())
    assert found["quick"]
    assert found["torch"]
    rows = found["rows"]
    assert not [row for row in rows if row["value"] is False]
    checks = [row for row in rows if row["value"] is True]
    assert len(checks) == 2 * 3 * 6 + 1 + 2  # fp16 autocast needs CUDA
    values = {(row["part"], row["subject"], row["what"]): row["value"] for row in rows}
    assert "CUDA" in values["promises", "resnet18", "fp16 autocast"]
    assert values["latency", "resnet18", "eager, batch 1: FFFF / super-net"].startswith(
        "1.000 at 1.000"
    )
    assert values["step", "resnet18", "two / plain"] > 1
