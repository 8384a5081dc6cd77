"""Networks that run in place: their own forward, with blocks that step aside."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import subpath
from obstacles import OBSTACLES, Block, Net, Obstacle, Parts, pre_norm, tokens, without
from subpath.errors import MisreadError, SubpathError
from subpath.graph.cost import cost_of
from subpath.graph.equality import unequal


@pytest.fixture(params=OBSTACLES, ids=str)
def obstacle(request: pytest.FixtureRequest) -> Obstacle:
    found: Obstacle = request.param
    return found


def in_place(obstacle: Obstacle) -> tuple[nn.Module, Any]:
    model = obstacle.build()
    return model, subpath.convert(model, tokens(), run="in place")


def skipped(adaptive: Any, config: str) -> list[int]:
    names = [
        s.skippable for s, letter in zip(adaptive.stages, config, strict=True) if letter == "T"
    ]
    return [int(name.rpartition(".")[2]) for stage in names for name in stage]


def test_every_obstacle_is_converted_without_being_asked_how(obstacle: Obstacle) -> None:
    model = obstacle.build()
    adaptive = subpath.convert(model, tokens())
    assert len(adaptive.stages) > 0
    assert (adaptive.plan.run == "in place") == bool(adaptive.plan.why)
    assert unequal(model(tokens()), adaptive(tokens())) == ""


def test_super_net_and_all_configs_are_what_a_hand_would_make(obstacle: Obstacle) -> None:
    model, adaptive = in_place(obstacle)
    for config in adaptive.skip_configs():
        by_hand = without(model, skipped(adaptive, config))
        assert unequal(by_hand(tokens()), adaptive(tokens(), skip=config)) == "", config
        assert unequal(by_hand(tokens()), adaptive.subnet(config)(tokens())) == "", config
    whole, base = adaptive(tokens()), adaptive(tokens(), skip=adaptive.skip_configs()[-1])
    assert not torch.equal(whole, base)


@pytest.mark.parametrize("run", [None, "in place"])
def test_a_train_step_is_the_original_s(obstacle: Obstacle, run: Any) -> None:
    model = obstacle.build()
    adaptive = subpath.convert(model, tokens(), run=run)
    for found in (model, adaptive):
        found.train()
        torch.manual_seed(3)
        found(tokens()).square().sum().backward()
    gradients = {n: p.grad for n, p in adaptive.named_parameters() if p.grad is not None}
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert unequal(expected, gradients) == ""


def test_a_reading_by_graph_finds_the_same(obstacle: Obstacle) -> None:
    model = obstacle.build()
    try:
        by_graph = subpath.plan(model, tokens(), run="graph")
    except SubpathError:
        pytest.skip("torch.fx cannot open it")
    by_run = subpath.plan(model, tokens(), run="in place")
    assert [s.skippable for s in by_run.stages] == [s.skippable for s in by_graph.stages]
    assert by_run.twin_norms == by_graph.twin_norms


def test_it_is_still_what_it_was() -> None:
    model, adaptive = in_place(OBSTACLES[0])
    assert isinstance(adaptive, Net)
    assert isinstance(adaptive, subpath.AdaptiveModel)
    assert type(adaptive).__name__ == "Net"
    kept = {key: value for key, value in adaptive.state_dict().items() if "twin_norms." not in key}
    assert unequal(dict(model.state_dict()), kept) == ""
    assert {name for name, _ in model.named_parameters()} <= dict(
        adaptive.named_parameters()
    ).keys()
    # What the network calls ``stages`` is its own inside its forward, and the plan's outside.
    assert isinstance(adaptive.stages, tuple)
    assert vars(model.stages[1]).keys().isdisjoint({"forward"})  # the caller's model is as it was


def test_twins_are_asked_when_their_stage_is_skipped() -> None:
    model, adaptive = in_place(OBSTACLES[0])
    whole = adaptive(tokens())
    with torch.no_grad():
        for name, parameter in adaptive.named_parameters():
            if name.startswith("twin_norms."):
                parameter.add_(1.0)
    assert torch.equal(adaptive(tokens()), whole)
    base = adaptive.skip_configs()[-1]
    by_hand = without(model, skipped(adaptive, base))
    assert not torch.equal(adaptive(tokens(), skip=base), by_hand(tokens()))
    subnet = adaptive.subnet(base, copy_weights=True)
    assert torch.equal(subnet(tokens()), adaptive(tokens(), skip=base))
    assert not any("twin" in name for name in subnet.state_dict())


def test_config_of_a_call_of_a_block_and_of_the_model() -> None:
    _, adaptive = in_place(OBSTACLES[0])
    whole, base = adaptive.skip_configs()[0], adaptive.skip_configs()[-1]
    expected = {config: adaptive(tokens(), skip=config) for config in (whole, base)}
    with adaptive.using(base):
        assert torch.equal(adaptive(tokens()), expected[base])
        assert torch.equal(adaptive(tokens(), skip=whole), expected[whole])
    adaptive.skip = base
    assert torch.equal(adaptive(tokens()), expected[base])
    with pytest.raises(SubpathError, match="letters"):
        adaptive(tokens(), skip="X" * len(base))
    assert torch.equal(adaptive(tokens()), expected[base])


def test_threads_do_not_disturb_each_other() -> None:
    _, adaptive = in_place(OBSTACLES[0])
    expected = {config: adaptive(tokens(), skip=config) for config in adaptive.skip_configs()}
    wrong: list[str] = []

    def work(config: str) -> None:
        got = [adaptive(tokens(), skip=config) for _ in range(50)]
        wrong.extend(config for output in got if not torch.equal(output, expected[config]))

    threads = [threading.Thread(target=work, args=(config,)) for config in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_copy_has_weights_and_a_switch_of_its_own() -> None:
    _, adaptive = in_place(OBSTACLES[0])
    before = adaptive(tokens())
    copied = copy.deepcopy(adaptive)
    copied.skip = adaptive.skip_configs()[-1]
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(adaptive(tokens()), before)
    assert adaptive.skip == adaptive.skip_configs()[0]
    assert isinstance(copied, Net)


def test_plans_repeat_the_way_of_running_without_an_example() -> None:
    model, adaptive = in_place(OBSTACLES[2])
    again = subpath.Plan.from_json(adaptive.plan.to_json())
    assert again == adaptive.plan
    other: Any = subpath.convert(model, plan=again)
    for config in adaptive.skip_configs():
        assert torch.equal(other(tokens(), skip=config), adaptive(tokens(), skip=config))


def test_save_and_load(tmp_path: Any) -> None:
    model, adaptive = in_place(OBSTACLES[2])
    with torch.no_grad():
        for parameter in adaptive.parameters():
            parameter.add_(0.1)
    adaptive.save(tmp_path)
    loaded: Any = subpath.load(tmp_path, model)
    for config in adaptive.skip_configs():
        assert torch.equal(loaded(tokens(), skip=config), adaptive(tokens(), skip=config))


def test_stage_outputs_are_those_of_their_last_blocks() -> None:
    model, adaptive = in_place(OBSTACLES[2])
    seen: list[torch.Tensor] = []
    ends = {stage.blocks[-1] for stage in adaptive.stages}
    for end in ends:
        model.get_submodule(end).register_forward_hook(lambda _, __, out: seen.append(out[0]))
    output = model(tokens())
    got, features = adaptive.forward_features_of_stages(tokens())
    assert torch.equal(got, output)
    assert unequal(seen, list(features)) == ""
    assert unequal(seen, adaptive.features(tokens())) == ""


def test_shares_of_work_are_the_sum_of_what_runs() -> None:
    _, adaptive = in_place(OBSTACLES[0])
    tokens_, width = 2 * 5, 8
    per_block, rest = tokens_ * width * width, tokens_ * width * (width + 3)
    for config in adaptive.skip_configs():
        blocks = 4 - len(skipped(adaptive, config))
        expected = (blocks * per_block + rest) / (4 * per_block + rest)
        assert adaptive.share_of_work(config) == pytest.approx(expected)
    table = subpath.measure.count_macs(adaptive)
    assert table[adaptive.skip].macs == (4 * per_block + rest) // 2  # of one sample
    base = adaptive.skip_configs()[-1]
    one_block = width * width + width + 2 * width
    assert table[adaptive.skip].params - table[base].params == one_block * len(
        skipped(adaptive, base)
    )


def test_replaced_modules_are_followed() -> None:
    _, adaptive = in_place(OBSTACLES[0])
    base = adaptive.skip_configs()[-1]
    replaced = nn.LayerNorm(8)
    nn.init.constant_(replaced.weight, 3.0)
    path = adaptive.plan.twin_norms[0].path
    adaptive.set_submodule(path, replaced)
    before = adaptive(tokens(), skip=base)
    nn.init.constant_(replaced.weight, 9.0)
    assert torch.equal(adaptive(tokens(), skip=base), before)  # the twin runs, not what is new


class _Recomputed(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.model, x, use_reentrant=False)


@pytest.mark.parametrize("together", [False, True])
def test_recomputation_runs_the_config_of_its_forward_pass(together: bool) -> None:
    obstacle = Obstacle("recomputed", OBSTACLES[0].block, lambda b, x: _checkpointed(b, x))
    model = obstacle.build()
    adaptive: Any = subpath.convert(model, tokens(), run="in place").train()
    base = adaptive.skip_configs()[-1]
    with torch.no_grad():
        for name, parameter in adaptive.named_parameters():
            if name.startswith("twin_norms."):
                parameter.add_(0.5)

    def gradients() -> dict[str, torch.Tensor]:
        adaptive.zero_grad()
        losses = [adaptive(tokens()).sum()]
        if not together:
            losses.pop().backward()
        losses.append(adaptive(tokens(), skip=base).square().sum())
        sum(losses).backward()  # type: ignore[union-attr]
        return {n: p.grad.clone() for n, p in adaptive.named_parameters() if p.grad is not None}

    recomputed = gradients()
    _SWITCH["on"] = False
    try:
        assert unequal(gradients(), recomputed) == ""
    finally:
        _SWITCH["on"] = True


_SWITCH = {"on": True}


def _checkpointed(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if _SWITCH["on"] and torch.is_grad_enabled():
        return checkpoint(block, x, use_reentrant=False)
    return block(x)


def test_shared_blocks_are_told_apart_by_their_calls() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = OBSTACLES[0].block()

        def forward(self, x: torch.Tensor, depth: int = 4) -> torch.Tensor:
            for _ in range(depth):
                x = self.block(x)
            return x

    torch.manual_seed(0)
    model = Shared().eval()
    adaptive = subpath.convert(model, tokens(), run="in place")
    runs = 4 - sum(len(stage.skippable) for stage in adaptive.stages)
    assert runs < 4
    base = adaptive.skip_configs()[-1]
    assert torch.equal(adaptive(tokens()), model(tokens()))
    assert torch.equal(adaptive(tokens(), skip=base), model(tokens(), depth=runs))
    with pytest.raises(SubpathError, match="several times"):
        adaptive.subnet(base)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_torch_s_transformer_layers_are_opened(norm_first: bool, gradients: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 16)
    adaptive = subpath.convert(model, x)
    with torch.set_grad_enabled(gradients):
        assert torch.equal(adaptive(x), model(x))
        base = adaptive.skip_configs()[-1]
        by_hand = copy.deepcopy(model)
        gone = {int(n.rpartition(".")[2]) for s in adaptive.stages for n in s.skippable}
        by_hand.layers = nn.ModuleList(
            layer for number, layer in enumerate(by_hand.layers) if number not in gone
        )
        torch.testing.assert_close(adaptive(x, skip=base), by_hand(x))
        # torch fuses a layer into one call that asks no norm; twins count all the same.
        with torch.no_grad():
            for name, parameter in adaptive.named_parameters():
                if name.startswith("twin_norms."):
                    parameter.add_(1.0)
        assert not torch.allclose(adaptive(x, skip=base), by_hand(x))
        assert torch.equal(adaptive(x), model(x))


def test_torch_s_transformer_may_be_a_part_and_have_no_last_norm() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            self.words = nn.Embedding(9, 16)
            self.encoder = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.encoder(self.words(words))

    model, words = Tagger().eval(), torch.arange(10).reshape(2, 5) % 9
    adaptive = subpath.convert(model, words)
    assert [stage.skippable for stage in adaptive.stages] == [
        (f"encoder.layers.{number}",) for number in (1, 3, 5, 7)
    ]
    assert torch.equal(adaptive(words), model(words))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_sparse_tensors_on_the_way() -> None:
    """As the adjacency of a graph, made from numbers in the forward."""

    class Sparse(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            neighbours = (x[0] @ x[0].T > 0).float().to_sparse_csr()
            return super().forward(torch.stack([neighbours @ part for part in x]))

    torch.manual_seed(0)
    model = Sparse(Block, lambda block, x: block(x), 4).eval()
    adaptive: Any = subpath.convert(model, tokens(), run="in place")
    assert torch.equal(adaptive(tokens()), model(tokens()))
    by_hand = without(model, skipped(adaptive, "TT"))
    assert torch.equal(adaptive(tokens(), skip="TT"), by_hand(tokens()))


def test_a_block_whose_work_is_done_outside_always_runs() -> None:
    """Its branch is computed by others, and would be computed in vain."""

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 8)

        def forward(self, x: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
            return x + self.inner(wide) if x.sum() < 1e9 else x

    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixers = nn.ModuleList(
                nn.Sequential(nn.Linear(8, 99), nn.Linear(99, 2)) for _ in range(4)
            )
            self.adds = nn.ModuleList(Adds() for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for mixer, add in zip(self.mixers, self.adds, strict=True):
                x = add(x, mixer(x))
            return x

    with pytest.raises(SubpathError, match="most of what it adds is computed outside of it"):
        subpath.convert(Outside().eval(), tokens(), run="in place")


def test_blocks_that_cannot_be_handed_back_are_named() -> None:
    class OwnOutput(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, sides = self.before(x), []
            for block in self.stages:
                x, side = block(x, wanted=True)
                sides.append(side)
            return self.head(x.mean(1)) + torch.stack(sides).mean()

    model = OwnOutput(OBSTACLES[2].block, lambda *_: None, 4)
    with pytest.raises(subpath.SubpathError, match="4 additions"):
        subpath.convert(model, tokens(), run="in place")


def test_a_calibrated_config_has_statistics_of_its_own() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.inner = nn.BatchNorm1d(8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(self.norm(x)) if x.sum() < 1e9 else x

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), *(Normed() for _ in range(4))).eval()
    x = torch.randn(64, 8)
    adaptive: Any = subpath.convert(model, x)
    assert adaptive.plan.run == "in place"
    config = adaptive.skip_configs()[1]
    others = {c: adaptive(x, skip=c) for c in adaptive.skip_configs() if c != config}
    subnet = subpath.calibrate(adaptive, [x], config, keep=True)
    assert torch.equal(adaptive(x, skip=config), subnet(x))
    for other, expected in others.items():
        assert torch.equal(adaptive(x, skip=other), expected)
    by_hand = copy.deepcopy(model)
    gone = {
        n
        for s, letter in zip(adaptive.stages, config, strict=True)
        for n in s.skippable
        if letter == "T"
    }
    for name in gone:
        by_hand.set_submodule(name, nn.Identity())
    for module in by_hand.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
            module.train()
    by_hand(x)
    assert torch.allclose(by_hand.eval()(x), subnet(x), atol=1e-5)
    again: Any = subpath.convert(model, x)
    again.load_state_dict(adaptive.state_dict())
    assert again.calibrated == (config,)
    assert torch.equal(again(x, skip=config), adaptive(x, skip=config))


PARTED = [o for o in OBSTACLES if o.name.startswith("parts")]


@pytest.mark.parametrize("obstacle", PARTED, ids=str)
def test_a_skipped_block_of_parts_costs_nothing_and_holds_no_weights(obstacle: Obstacle) -> None:
    model, adaptive = in_place(obstacle)
    base = adaptive.skip_configs()[-1]
    by_hand = without(model, skipped(adaptive, base))
    assert adaptive.work(base).total == cost_of(lambda: by_hand(tokens())).total

    def weights(stages: nn.Module) -> int:
        used = ("norm1", "mixer", "mlp")  # a scale is no module's to give away
        named = stages.named_parameters()
        return sum(p.numel() for name, p in named if name.split(".")[1] in used)

    assert weights(adaptive.subnet(base).stages) == weights(by_hand.stages)


@pytest.mark.parametrize("obstacle", PARTED, ids=str)
def test_stage_outputs_of_blocks_of_parts(obstacle: Obstacle) -> None:
    model, adaptive = in_place(obstacle)
    for config in adaptive.skip_configs():
        by_hand = without(model, skipped(adaptive, config))
        x, expected = by_hand.before(by_hand.stem(tokens())), []
        for parts in by_hand.stages:
            x = obstacle.run(parts, x)
            expected.append(x)
        places = [len(s.blocks) for s in adaptive.stages]
        kept = [
            n - (len(s.skippable) if letter == "T" else 0)
            for n, s, letter in zip(places, adaptive.stages, config, strict=True)
        ]
        ends = [expected[sum(kept[: i + 1]) - 1] for i in range(len(kept))]
        features = adaptive.forward_features_of_stages(tokens(), skip=config)[1]
        assert unequal(ends, list(features)) == "", config


def mixture(parts: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.lerp(x, parts.mlp(parts.norm1(x)), 0.5)


def own_product(parts: Any, x: torch.Tensor) -> torch.Tensor:
    hidden = nn.functional.linear(parts.norm1(x), parts.mixer.values.weight)
    return x + parts.mixer(hidden)[0]


def own_noise(parts: Any, x: torch.Tensor) -> torch.Tensor:
    return x + (parts.mlp(parts.norm1(x)) + 1.0)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (mixture, "no module gives what"),
        (own_product, "would still run"),
        (own_noise, "no module gives what"),
    ],
)
def test_parts_that_cannot_step_aside_are_refused_by_name(run: Any, reason: str) -> None:
    model = Obstacle("", OBSTACLES[-1].block, run).build()
    with pytest.raises(SubpathError, match=reason):
        subpath.convert(model, tokens(), run="in place")


class Noting(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.noted = float(x.sum())
        return x + self.branch(x)


def test_a_base_net_that_fails_is_no_conversion() -> None:
    def needs_more(block: Any, x: torch.Tensor) -> torch.Tensor:
        x = block(x)
        del block.noted
        return x

    model = Obstacle("", Noting, needs_more).build()
    with pytest.raises(MisreadError, match=r"does not run with TT skipped .AttributeError"):
        subpath.convert(model, tokens(), run="in place")


def test_outputs_of_stages_that_no_module_sees_are_refused_by_name() -> None:
    class Pooled(Net):
        def forward(self, x: torch.Tensor, **more: Any) -> Any:
            for parts in self.stages:
                x = self.run(parts, x)
            return self.head(x.mean(1))

    adaptive: Any = subpath.convert(Pooled(Parts, pre_norm, 4), tokens(), run="in place")
    assert [end is None for end in adaptive.plan.ends] == [False, True]
    adaptive(tokens(), skip="TT")
    with pytest.raises(SubpathError, match=r"receives the output of stages\.2; expected"):
        adaptive.forward_features_of_stages(tokens())


def test_compiled_it_runs_as_it_is_and_its_sub_networks_are_compiled() -> None:
    model, adaptive = in_place(next(o for o in OBSTACLES if o.name == "gives a tuple"))
    graphs: list[Any] = []

    def counting(graph: Any, inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled: Any = torch.compile(adaptive, backend=counting)
    for config in adaptive.skip_configs():
        by_hand = without(model, skipped(adaptive, config))
        assert unequal(by_hand(tokens()), compiled(tokens(), skip=config)) == "", config
        graphs.clear()
        alone: Any = torch.compile(adaptive.subnet(config), backend=counting, fullgraph=True)
        assert unequal(by_hand(tokens()), alone(tokens())) == "", config
        assert len(graphs) == 1
    torch._dynamo.reset()


def test_hooks_that_a_network_needs_are_its_own_and_those_of_others_rest() -> None:
    """As networks of transformers, which collect hidden states by hooks set at the first call."""
    collected: list[torch.Tensor] = []

    class Collects(Net):
        hooked = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.hooked:
                for block in self.stages:
                    block.register_forward_hook(lambda _, __, out: collected.append(out))
                self.hooked = True
            collected.clear()
            x = super().forward(x)
            return x + collected[0].mean() if x.sum() < 1e9 else x

    calls: list[int] = []
    for already_called in (False, True):
        model: Any = Collects(Block, lambda block, x: block(x), 4).eval()
        expected = model(tokens()) if already_called else None
        if not already_called:
            model.head.register_forward_hook(lambda *_: calls.append(1))
        adaptive = subpath.convert(model, tokens(), run="in place")
        assert not calls
        output = adaptive(tokens())
        assert torch.equal(output, model(tokens()) if expected is None else expected)
        assert adaptive.share_of_work(adaptive.skip_configs()[-1]) < 1
        calls.clear()
