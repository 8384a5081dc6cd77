"""The task against the step, with what timm's script does to a task."""

from __future__ import annotations

import copy

import pytest
import timm.utils
import torch
from timm.optim import create_optimizer_v2
from timm.task import resume_task_checkpoint
from torch.nn import functional as F

import subpath
from loops import batches, network
from subpath.distill import two_pass_step
from subpath.finetune.timm_task import TwoPassTask

VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}


def made(name="resnet18", **arguments):
    ((x, y),) = batches(1)
    model = subpath.convert(network(name, **(VIT if "vit" in name else {})), x).train()
    return model, TwoPassTask(copy.deepcopy(model), verbose=False, **arguments).train(), x, y


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("labels", [{}, {"base_task": 0.7, "weight": 2.0}])
def test_one_backward_gives_the_gradients_of_both(name, labels):
    knobs = {"alpha": 0.3, "temperature": 2.0, "features": 0.5, "stages": [0, 1], **labels}
    model, task, x, y = made(name, **knobs)
    losses = two_pass_step(model, x, y, F.cross_entropy, **knobs)
    result = task(x, y)
    result["loss"].backward()
    total = labels.get("weight", 1.0) * losses.total.item()
    assert result["loss"].item() == pytest.approx(total, rel=1e-6)
    assert torch.equal(result["output"], losses.output)
    for key, value in (
        ("task", losses.task),
        ("logits", losses.logits),
        ("base_task", losses.base_task),
    ):
        torch.testing.assert_close(result[f"{key}_loss"], value)
    trained = task.get_eval_model()
    for key, parameter in model.named_parameters():
        got = trained.get_parameter(key).grad
        torch.testing.assert_close(got, parameter.grad, rtol=1e-4, atol=1e-6, msg=key)
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(trained.get_buffer(key), buffer, msg=key)


def test_averages_checkpoints_and_evaluation_are_of_the_adaptive_model(tmp_path):
    _, task, x, y = made()
    task.setup_ema(decay=0.5)
    optimiser = create_optimizer_v2(task.get_trainable_module(), "momentum", lr=0.1)
    for step in range(3):
        optimiser.zero_grad()
        task(x, y)["loss"].backward()
        optimiser.step()
        task.update_ema(step=step)
    state = task.get_checkpoint_state()["state_dict"]
    assert state.keys() == task.get_eval_model().state_dict().keys()
    assert "twin_norms.0.layer1.0.bn1.weight" in state
    averaged = task.get_checkpoint_state(ema=True)["state_dict_ema"]
    assert averaged.keys() == state.keys()
    assert not torch.equal(averaged["conv1.weight"], state["conv1.weight"])

    torch.save({**task.get_checkpoint_state(), "epoch": 3, "version": 2}, tmp_path / "last.pth")
    _, again, *_ = made()
    assert resume_task_checkpoint(again, tmp_path / "last.pth", log_info=False) == 4
    for a, b in ((task, again),):
        one, other = a.get_eval_model().eval(), b.get_eval_model().eval()
        assert torch.equal(one(x, skip="TFTF"), other(x, skip="TFTF"))
    evaluator = task.create_evaluator()
    evaluator.update(task.get_eval_model().eval()(x), y)
    right = (task.get_eval_model()(x).argmax(1) == y).float().mean().item()
    assert evaluator.compute()["top1"] == pytest.approx(100 * right)


def test_under_data_parallel_and_compiled(tmp_path):
    model, task, x, y = made()
    two_pass_step(model, x, y, F.cross_entropy)
    torch._dynamo.reset()
    task.compile(backend="eager")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        task.prepare_distributed()
        for _ in range(2):  # every weight has its gradient in each step: DDP would refuse else
            task.get_trainable_module().zero_grad()
            with torch.no_grad():
                for buffer, own in zip(
                    task.get_trainable_module().buffers(), model.buffers(), strict=True
                ):
                    buffer.copy_(own)
            task(x, y)["loss"].backward()
        with task.no_sync():
            task(x, y)["loss"].backward()
        trained = timm.utils.unwrap_model(task.get_trainable_module()).student
        for key, parameter in model.named_parameters():
            got = trained.get_parameter(key).grad / 2
            torch.testing.assert_close(got, parameter.grad, rtol=1e-4, atol=1e-6, msg=key)
        assert task.get_checkpoint_state()["state_dict"].keys() == model.state_dict().keys()
    finally:
        torch.distributed.destroy_process_group()


def test_layers_and_clipping_know_the_twins_and_the_head():
    _, task, *_ = made("vit_tiny_patch16_224")
    module = task.get_trainable_module()
    optimiser = create_optimizer_v2(module, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    scale = {id(p): g["lr_scale"] for g in optimiser.param_groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    by_name = dict(task.get_eval_model().named_parameters())
    assert scale[id(by_name["head.weight"])] == 1.0
    assert scale[id(by_name["patch_embed.proj.weight"])] == 0.5**5
    assert decay[id(by_name["pos_embed"])] == 0.0
    for name, parameter in by_name.items():
        if name.startswith("twin_norms."):
            assert scale[id(parameter)] == scale[id(by_name[name.split(".", 2)[2]])], name
    everything, most = (list(task.get_clip_parameters(head)) for head in (False, True))
    assert len(everything) == len(by_name)
    missing = {id(p) for p in everything} - {id(p) for p in most}
    assert missing == {id(by_name["head.weight"]), id(by_name["head.bias"])}
