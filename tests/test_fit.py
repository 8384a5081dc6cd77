"""``fit``: against least squares by numpy, and on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import subpath
from subpath.errors import SubpathError
from subpath.fitting import Fit
from toys import PostActivation, randomise

WIDTH = 5


class Linear(nn.Module):
    """A block whose branch is a linear map of the stream: a patch can be it exactly."""

    def __init__(self, rank: int = WIDTH) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(WIDTH, rank, bias=False), nn.Linear(rank, WIDTH)

    def forward(self, x):
        return x + self.up(self.down(x))


def linear(rank: int = WIDTH):
    net = randomise(nn.Sequential(*(Linear(rank) for _ in range(4))))
    return subpath.convert(net.double().eval(), torch.randn(2, 3, WIDTH).double())


def batches(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, WIDTH, generator=generator).double() for _ in range(count)]


@pytest.mark.parametrize("rank", [1, 2])
def test_linear_branches_are_replaced_exactly(rank):
    model = linear(rank)
    found = subpath.fit(model, batches(), rank=rank, ridge=0.0)
    assert [f.explained for f in found.patches] == pytest.approx([1.0, 1.0])
    x = batches(1)[0]
    for skip in model.skip_configs():
        torch.testing.assert_close(model(x, skip=skip), model(x), msg=skip)


def by_numpy(x: np.ndarray, y: np.ndarray, ridge: float, rank: int | None):
    """Ridge regression with an intercept that is not penalised; then the best map of a rank."""
    centred, target = x - x.mean(0), y - y.mean(0)
    size = x.shape[1]
    penalty = np.sqrt(ridge * (centred**2).sum(0).mean())
    rows = np.vstack([centred, penalty * np.eye(size)])  # ridge as more rows of data
    wanted = np.vstack([target, np.zeros((size, y.shape[1]))])
    weight = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    if rank is not None:  # of rows @ weight keep the directions of largest variance
        _, _, right = np.linalg.svd(rows @ weight, full_matrices=False)
        weight = weight @ right[:rank].T @ right[:rank]
    return weight, y.mean(0) - x.mean(0) @ weight


@pytest.mark.parametrize(("rank", "ridge"), [(None, 1e-3), (2, 1e-3), (2, 0.5), (None, 0.0)])
def test_the_map_is_that_of_numpy(rank, ridge):
    net = randomise(nn.Sequential(*(PostActivation(WIDTH, WIDTH) for _ in range(2)))).eval()
    generator = torch.Generator().manual_seed(2)
    data = [torch.randn(8, WIDTH, 6, 6, generator=generator).relu() for _ in range(3)]
    model = subpath.convert(net, data[0], twin_norms="none")
    (only,) = model.stages
    before = [model.forward_features_of_stages(x, skip="T")[1][0] for x in data]
    sums = [h + branch_of(net[1], h) for h in before]  # before they are rectified
    found = subpath.fit(model, data, rank=rank, ridge=ridge, max_cost=10.0)
    assert found.patches[0].patch.rank == rank
    assert found.samples == 24

    def rows(values):
        return torch.cat(values).movedim(1, -1).flatten(0, -2).detach().double().numpy()

    x, y = rows(before), rows(sums) - rows(before)
    weight, bias = by_numpy(x, y, ridge, rank)
    got = rows([h + model.get_submodule("patches.0.0")(h) for h in before]) - x
    np.testing.assert_allclose(got, x @ weight + bias, atol=2e-5)
    left = ((y - got) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
    assert found.patches[0].explained == pytest.approx(1 - left, abs=1e-4)
    assert only.name


def branch_of(block: nn.Module, h: torch.Tensor) -> torch.Tensor:
    """What a block adds to its stream, by a hook on its last norm."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: list[torch.Tensor] = []
    handle = norms[-1].register_forward_hook(
        lambda module, given, y: seen.append(y.detach().clone())
    )
    block(h.clone())
    handle.remove()
    return seen[0]


def test_twins_get_the_statistics_of_their_config():
    net = randomise(nn.Sequential(*(PostActivation(WIDTH, WIDTH) for _ in range(4)))).eval()
    data = [torch.randn(8, WIDTH, 6, 6) for _ in range(3)]
    model = subpath.convert(net, data[0], groups=1, skippable=3)
    subpath.fit(model, data)
    norm = next(m for m in net[0].modules() if isinstance(m, nn.BatchNorm2d))
    twin = model.get_submodule(model_twin(model))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    for x in data:
        net(x)
    mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(twin.running_mean, mean)
    assert not torch.allclose(twin.running_mean, norm.running_mean)


def model_twin(model) -> str:
    from subpath.adaptive.module_paths import twin_path

    return twin_path(model.plan.twin_norms[0])


def test_padding_does_not_count():
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(*(Linear() for _ in range(4)))

        def forward(self, x, attention_mask=None):
            return self.blocks(x)

    net = randomise(Padded()).double().eval()
    given = {"x": torch.randn(2, 3, WIDTH).double(), "attention_mask": torch.ones(2, 3)}
    fitted = []
    for padding in (0.0, 100.0):
        model = subpath.convert(net, given)
        data = []
        for x in batches():
            mask = torch.arange(3) < torch.tensor([[1], [2]]).repeat(8, 1)
            noisy = torch.where(mask[..., None], x, padding * torch.ones_like(x).cumsum(-1))
            data.append({"x": noisy, "attention_mask": mask})
        subpath.fit(model, data, mask="attention_mask", rank=2, ridge=0.1)
        fitted.append({n: p for n, p in model.named_parameters() if "patches" in n})
    for name, parameter in fitted[0].items():
        torch.testing.assert_close(fitted[1][name].abs(), parameter.abs(), msg=name)


@pytest.mark.parametrize("max_cost", [0.005, 0.02, 0.1])
def test_the_cost_is_within_what_is_allowed(max_cost):
    import timm

    net = timm.create_model("resnet26", num_classes=10).eval()
    model = subpath.convert(net, torch.zeros(2, 3, 32, 32))
    before = model.share_of_work("TTTT")
    found = subpath.fit(model, [torch.randn(4, 3, 32, 32)], max_cost=max_cost)
    assert isinstance(found, Fit)
    assert found.cost <= max_cost
    assert model.share_of_work("TTTT") - before == pytest.approx(found.cost, abs=1e-9)
    assert found.cost > 0.7 * max_cost  # rounding down costs some


def test_an_error_midway_changes_nothing():
    net = randomise(nn.Sequential(*(PostActivation(WIDTH, WIDTH) for _ in range(4)))).eval()
    data = [torch.randn(8, WIDTH, 6, 6) for _ in range(3)]
    model = subpath.convert(net, data[0])
    subpath.fit(model, data, rank=1)
    model.train()
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    plan, state = model.plan, {k: v.clone() for k, v in model.state_dict().items()}

    class Failing:
        times = 0

        def __iter__(self):
            self.times += 1
            if self.times == 5:
                raise OSError("the disk is gone")
            return iter(data)

    with pytest.raises(OSError, match="gone"):
        subpath.fit(model, Failing(), rank=2)
    with pytest.raises(SubpathError, match="not finite"):
        subpath.fit(model, [data[0] * float("nan")], rank=2)
    with pytest.raises(SubpathError, match="no names"):
        subpath.fit(model, data, mask="attention_mask")
    assert model.plan == plan
    after = model.state_dict()
    assert state.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in state.items())
    assert model.training
    assert not norm.training


def test_it_leaves_the_mode_as_it_was():
    model = linear().train()
    subpath.fit(model, batches(2))
    assert model.training
