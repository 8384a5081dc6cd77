"""What each block is worth, against a network whose blocks are taken out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import subpath
from subpath.errors import MeasureError
from subpath.measure import sensitivity
from toys import randomise

WIDTH = 6


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def branch(self, x):
        return self.mix(self.norm(x)).tanh()

    def forward(self, x):
        return x + self.branch(x)


def network() -> nn.Sequential:
    blocks = [Block() for _ in range(5)]
    return randomise(nn.Sequential(nn.Linear(4, WIDTH), *blocks, nn.Linear(WIDTH, 3))).double()


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, 4, generator=generator).double(), torch.randint(3, (n,))) for n in (8, 8, 5)
    ]


@pytest.mark.parametrize("way", ["graph", "in place"])
def test_every_block_but_the_first_by_hand(way):
    net, batches = network().eval(), data()
    if way == "in place":  # torch.fx cannot open it
        net = nn.Sequential(Opaque(net))
    found = sensitivity(net, batches, F.cross_entropy)
    inner = net if way == "graph" else net[0].net
    prefix = "" if way == "graph" else "0.net."
    assert [block.name for block in found.blocks] == [f"{prefix}{n}" for n in range(2, 6)]
    x = torch.cat([inputs for inputs, _ in batches])
    y = torch.cat([targets for _, targets in batches])
    assert found.samples == 21
    assert found.loss == pytest.approx(F.cross_entropy(inner(x), y).item())
    for number, block in zip(range(2, 6), found.blocks, strict=True):
        h = inner[:number](x).detach().requires_grad_()
        rest = inner[number + 1 :]
        loss = F.cross_entropy(rest(h), y, reduction="none")
        (slope,) = torch.autograd.grad(loss.sum(), h)
        added = inner[number].branch(h).detach()
        products = (added * slope).sum(1)
        assert block.loss == pytest.approx(loss.mean().item())
        assert block.added_loss == pytest.approx(loss.mean().item() - found.loss)
        change = added.norm(dim=1) / h.norm(dim=1)
        assert block.relative_change == pytest.approx(change.mean().item())
        assert block.first_order == pytest.approx(products.mean().item())
        cosines = products / (added.norm(dim=1) * slope.norm(dim=1))
        assert block.cosine == pytest.approx(cosines.mean().item())
        assert block.macs == pytest.approx(WIDTH**2 / (5 * WIDTH**2 + 7 * WIDTH))


class Opaque(nn.Module):
    """Its forward decides by the type of what it is given."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        if x.dtype == torch.float64 and float(x.sum()) < float("inf"):
            for layer in self.net:
                x = layer(x)
        return x


def test_the_blocks_that_hurt_least_are_chosen_first():
    found = sensitivity(network().eval(), data(), F.cross_entropy)
    worth = sorted(found.blocks, key=lambda block: block.added_loss)
    two = found.least_hurt(1 - 1.5 * worth[0].macs)
    assert two == [block.name for block in worth[:2]]
    model = subpath.convert(network().eval(), data()[0][0], groups=1, blocks=two)
    assert model.share_of_work("T") == pytest.approx(1 - 2 * worth[0].macs)
    with pytest.raises(MeasureError, match="expected at least"):
        found.least_hurt(0.1)


def test_it_leaves_the_network_alone_and_wants_a_batch():
    net = network().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    sensitivity(net, data(), F.cross_entropy, batches=1)
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    with pytest.raises(MeasureError, match="no batch"):
        sensitivity(net, [], F.cross_entropy)


def test_published_networks_with_parallel_rows():
    import timm

    net = timm.create_model("hrnet_w18_small", num_classes=4).eval()
    batch = (torch.randn(2, 3, 64, 64), torch.tensor([0, 3]))
    found = sensitivity(net, [batch], F.cross_entropy)
    assert len(found.blocks) == len({block.name for block in found.blocks}) > 8
