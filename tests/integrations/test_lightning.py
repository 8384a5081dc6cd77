"""Lightning's Trainer with the two passes against the step by hand."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

pytest.importorskip("lightning")

from integrations.two_lightnings import (
    OUTPUTS,
    adaptive,
    next_token,
    sentences,
    sgd,
    trainer,
)
from subpath.distill import two_pass_step
from subpath.errors import SkipConfigError
from subpath.integrations.lightning import TwoPassModule

pytestmark = [pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]


def by_hand(model, data, size, **how):
    """A step of SGD for each ``size`` samples."""
    optimiser = sgd(model.train())
    for start in range(0, len(data), size):
        ids, _ = data[start : start + size]
        optimiser.zero_grad()
        two_pass_step(model, ids, ids, next_token, outputs=OUTPUTS, **how)
        optimiser.step()


def same(found, expected):
    for name, weight in expected.items():
        torch.testing.assert_close(
            found[name], weight, rtol=1e-4, atol=1e-6, msg=lambda told, name=name: f"{name}: {told}"
        )


def test_a_training_is_the_steps_by_hand(tmp_path) -> None:
    model, data = adaptive(), sentences(8)
    expected = copy.deepcopy(model)
    by_hand(expected, data, 2, alpha=0.3, base_task=0.5)
    module = TwoPassModule(model, next_token, sgd, outputs=OUTPUTS, alpha=0.3, base_task=0.5)
    made = trainer(tmp_path)
    made.fit(module, DataLoader(data, batch_size=2), DataLoader(sentences(6), batch_size=3))
    same(model.state_dict(), expected.state_dict())
    ids, _ = sentences(6)[:]
    for skip in ("FF", "TT"):
        with torch.no_grad():
            loss = next_token(expected.eval()(ids, skip=skip), ids)
        torch.testing.assert_close(made.callback_metrics[f"val_{skip}_loss"], loss)
    parts = {"loss", "task_loss", "logits_loss", "features_loss", "base_task_loss"}
    assert parts <= made.callback_metrics.keys()


def test_accumulated_batches_are_one_large_batch(tmp_path) -> None:
    model, data = adaptive(), sentences(8)
    expected = copy.deepcopy(model)
    by_hand(expected, data, 4)
    module = TwoPassModule(model, next_token, sgd, outputs=OUTPUTS, accumulate=2)
    trainer(tmp_path).fit(module, DataLoader(data, batch_size=2))
    same(model.state_dict(), expected.state_dict())


def test_gradients_are_clipped_and_schedules_stepped(tmp_path) -> None:
    class Scheduled(TwoPassModule):
        def configure_optimizers(self):
            optimiser = super().configure_optimizers()
            return [optimiser], [torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.5)]

    model, data = adaptive(), sentences(4)
    before = copy.deepcopy(model.state_dict())
    module = Scheduled(model, next_token, sgd, outputs=OUTPUTS, clip=0.01)
    trainer(tmp_path).fit(module, DataLoader(data, batch_size=2))
    moved = [(model.state_dict()[name] - weight).square().sum() for name, weight in before.items()]
    assert 0 < torch.stack(moved).sum().sqrt() <= 0.01 * (0.1 + 0.05) + 1e-6
    assert module.optimizers().param_groups[0]["lr"] == pytest.approx(0.1 / 4)


def test_two_processes_take_the_steps_of_one(tmp_path) -> None:
    tests = Path(__file__).parents[1]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "NODE_RANK": "0",
        "TORCHELASTIC_RUN_ID": "none",  # so Lightning starts no process itself
    }
    words = [sys.executable, str(tests / "integrations" / "two_lightnings.py"), str(tmp_path)]
    ranks = [{**shared, "RANK": str(n), "LOCAL_RANK": str(n), "GROUP_RANK": "0"} for n in (0, 1)]
    running = [
        subprocess.Popen(words, env=rank, stderr=subprocess.PIPE, text=True) for rank in ranks
    ]
    said = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    # The first process has samples 0, 2, ... and the second 1, 3, ..., so both together have the
    # batches of four in order.
    expected = adaptive()
    by_hand(expected, sentences(8), 4, base_task=0.5)
    same(load_file(tmp_path / "weights.safetensors"), expected.state_dict())


def test_a_config_that_is_not_there_is_refused() -> None:
    with pytest.raises(SkipConfigError, match="TTT"):
        TwoPassModule(adaptive(), next_token, sgd, eval_skips=("TTT",))
