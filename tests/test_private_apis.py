"""What is used of other libraries that is not public: all of it is listed, and works as needed."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import fx, nn

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "subpath"
PAGE = ROOT / "docs" / "private-apis.md"

TREES = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
OUTSIDE = {"_exit"}  # os._exit is documented


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.isidentifier()


def defined_here() -> Iterator[str]:
    """Every name that the package itself defines or sets."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    yield node.attr
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


OWN = set(defined_here())
REGISTRIES = {name for name in vars(nn.Module()) if is_private(name)} | {"_version"}


def private_names(tree: ast.Module) -> Iterator[str]:
    """What a module uses that others keep private; of an import, the path to the private part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from filter(None, map(private_part, (alias.name for alias in node.names)))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            paths = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from filter(None, map(private_part, paths))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if (node.attr in REGISTRIES and not mine) or node.attr not in OWN:
                yield node.attr
        elif isinstance(node, ast.Constant) and node.value in {*REGISTRIES, "_model_args"}:
            yield node.value


def private_part(path: str) -> str | None:
    """A dotted path up to its first private name; ``None`` if it has none."""
    parts = path.split(".")
    ends = (number for number, part in enumerate(parts, 1) if is_private(part))
    end = next(ends, None)
    return end and ".".join(parts[:end])


def test_the_page_lists_all_of_it_with_its_files() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in TREES.items():
        for name in private_names(tree):
            if name not in OUTSIDE and name != "_C":  # torch._C is listed by what is used of it
                found[name].add(path.relative_to(PACKAGE).as_posix())
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", PAGE.read_text(), re.M)
    listed = {name: set(re.findall(r"`([\w./]+)`", files)) for name, files in rows}
    anywhere = [name for name, files in rows if files == "anywhere"]
    assert dict(found) == listed | {name: found[name] for name in anywhere}
    assert set(listed) == set(CHECKS)


def pytree() -> None:
    from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map_only

    tree = {"a": (torch.zeros(1), 2)}
    assert tree_map_only(torch.Tensor, lambda t: t.numel(), tree) == {"a": (1, 2)}
    assert len(tree_leaves(tree)) == 2
    assert [keystr(path) for path, _ in tree_flatten_with_path(tree)[0]] == ["['a'][0]", "['a'][1]"]


def dispatch() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    seen: list[object] = []
    with Names():
        torch.zeros(2).add_(1)
    assert torch.ops.aten.add_.Tensor in seen


def schema() -> None:
    (written, other, _) = torch.ops.aten.add_.Tensor._schema.arguments
    assert written.alias_info.is_write
    assert other.alias_info is None


def overload() -> None:
    assert torch.ops.aten.mm.default._overloadpacket is torch.ops.aten.mm


def cpu_attention() -> None:
    q = torch.zeros(1, 1, 2, 8)
    output, *_ = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)
    assert output.shape == q.shape


def version() -> None:
    tensor = torch.zeros(2)
    before = tensor._version
    tensor[:1].add_(1)  # through a view
    assert tensor._version == before + 1


def storage() -> None:
    tensor = torch.zeros(4)
    assert tensor[1:].untyped_storage()._cdata == tensor.untyped_storage()._cdata
    assert tensor.clone().untyped_storage()._cdata != tensor.untyped_storage()._cdata


def batch_norm() -> None:
    classes = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LazyBatchNorm2d
    assert all(issubclass(c, nn.modules.batchnorm._BatchNorm) for c in classes)


def backward_pass() -> None:
    def note(_: torch.Tensor) -> None:
        seen.append(torch._C._current_graph_task_id())

    seen: list[int] = []
    leaf = torch.zeros(1, requires_grad=True)
    leaf.register_hook(note)
    (leaf * 2).backward()
    assert torch._C._current_graph_task_id() == -1
    assert seen != [-1]


def skip_code() -> None:
    from torch._dynamo.eval_frame import skip_code

    skip_code((lambda: None).__code__)  # what it does to torch.compile: tests/adaptive


def assertion() -> None:
    graph = fx.symbolic_trace(lambda x: torch._assert(x.shape[0] == 2, "two"))
    with pytest.raises(AssertionError, match="two"):
        graph(torch.zeros(3))


def registry(name: str) -> Callable[[], None]:
    return lambda: nn.Module().__dict__[name].__len__()


def timm_functions() -> None:
    from timm.models._features_fx import get_notrace_functions

    assert all(map(callable, get_notrace_functions()))


def timm_arguments() -> None:
    model = timm.create_model("test_resnet", num_classes=7)
    assert model._model_args["num_classes"] == 7


def trainer_inputs() -> None:
    trainer = pytest.importorskip("transformers").Trainer
    assert callable(trainer._prepare_inputs)


def accelerate_state() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    for precision in ("bf16", "no"):
        AcceleratorState._reset_state(reset_partial_state=True)
        assert Accelerator(cpu=True, mixed_precision=precision).mixed_precision == precision


CHECKS: dict[str, Callable[[], None]] = {
    "torch.utils._pytree": pytree,
    "torch.utils._python_dispatch": dispatch,
    "_schema": schema,
    "_overloadpacket": overload,
    "_scaled_dot_product_flash_attention_for_cpu": cpu_attention,
    "_version": version,
    "_cdata": storage,
    "_BatchNorm": batch_norm,
    "_current_graph_task_id": backward_pass,
    "torch._dynamo": skip_code,
    "_assert": assertion,
    "timm.models._features_fx": timm_functions,
    "_model_args": timm_arguments,
    "_reset_state": accelerate_state,
    "_prepare_inputs": trainer_inputs,
    **{
        name: registry(name)
        for name in (
            "_modules",
            "_parameters",
            "_buffers",
            "_non_persistent_buffers_set",
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    },
}


@pytest.mark.parametrize("name", CHECKS)
def test_it_does_what_is_needed(name: str) -> None:
    CHECKS[name]()
