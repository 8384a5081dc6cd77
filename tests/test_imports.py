"""Who may import whom: lower rooms never import higher ones, and few know a library.

Imports inside functions count as well: a lazy import is no way around.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from torch import nn

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "subpath"

# Rooms on one line do not import each other, but for those named in BESIDE.
ORDER = [
    {"errors", "progress", "skip"},
    {"graph", "choice", "recipes"},
    {"planning"},
    {"adaptive"},
    {"conversion", "zoo", "constructors"},
    {"distill", "measure", "calibration", "environment", "export", "checkpoint"},
    {"sweep", "fitting"},
    {"finetune", "integrations"},
    {"plot"},
    {"report"},
    {"cli"},
]
BESIDE = {
    ("skip", "errors"),
    ("conversion", "zoo"),
    ("constructors", "zoo"),
    ("export", "checkpoint"),
}
BESIDE |= {("measure", "export")}

LIBRARIES = {
    "timm": {"zoo", "finetune"},
    "accelerate": {"finetune", "integrations"},
    "rich": {"report", "cli"},
    "fvcore": {"measure"},
    "networkx": {"graph", "planning"},
    "PIL": {"finetune"},  # comes with torchvision
    "packaging": {"environment"},
    "typer": {"cli"},
    "pydantic": {"checkpoint", "finetune"},
    "pydantic_core": {"checkpoint", "finetune"},  # comes with pydantic
    "yaml": {"finetune"},
    "safetensors": {"checkpoint", "finetune"},
    "huggingface_hub": {"checkpoint"},
    "matplotlib": {"plot"},
    "sklearn": {"finetune"},
    "torchvision": {"zoo", "finetune"},
    "onnx": {"export"},
    "onnx_ir": {"export"},  # comes with onnxscript
    "onnxruntime": {"export"},
    "datasets": {"finetune"},  # asked for where a recipe names a data set of the hub
    "diffusers": {"zoo"},
    "lightning": {"integrations"},
    "monai": {"zoo"},
    "open_clip": {"zoo"},
    "pytorchcv": {"zoo"},
    "rtdl_revisiting_models": {"zoo"},
    "segmentation_models_pytorch": {"zoo"},
    "speechbrain": {"zoo"},
    "pycocotools": {"finetune"},
    "torch_geometric": {"zoo"},
    "torchmetrics": {"finetune"},
    "transformers": {"zoo", "integrations", "finetune"},
    "ultralytics": {"zoo"},
    "vit_pytorch": {"zoo"},
    "x_transformers": {"zoo"},
}

LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


@cache
def sources() -> dict[str, Path]:
    """Every module of the package, by its dotted name without ``subpath.``; the root is ``""``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str) -> Iterator[str]:
    """Absolute dotted names of all that a module imports, also inside functions."""
    path = sources()[name]
    package = ["subpath", *filter(None, name.split("."))]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            literal = node.args[0]
            if isinstance(literal, ast.Constant):
                yield str(literal.value)


def room(name: str) -> str:
    return name.partition(".")[0]


INSIDE = sorted(name for name in sources() if room(name) not in ("", "__main__"))


def test_every_room_has_a_place_in_the_order() -> None:
    assert {room(name) for name in INSIDE} <= LEVEL.keys()


@pytest.mark.parametrize("name", INSIDE)
def test_lower_rooms_never_import_higher_ones(name: str) -> None:
    own = room(name)
    for imported in imports(name):
        if not imported.startswith("subpath"):
            continue
        other = room(imported.removeprefix("subpath").lstrip("."))
        if other == own or (own, other) in BESIDE or (own, other) == ("cli", ""):
            continue  # a command may use the public names, as anyone does
        if (name, other) == ("adaptive.model", "checkpoint"):
            continue  # model.save calls subpath.save, which is imported when it is called
        assert other in LEVEL, f"{name} imports {imported}: import from the room that defines it"
        assert LEVEL[other] < LEVEL[own], f"{name} imports {imported}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_few_rooms_know_a_library(library: str) -> None:
    users = {
        room(name)
        for name in INSIDE
        for imported in imports(name)
        if imported.split(".")[0] == library
    }
    assert users <= LIBRARIES[library]


def test_every_other_library_is_torch_or_numpy_or_pythons_own() -> None:
    known = {*LIBRARIES, *sys.stdlib_module_names, "subpath", "torch", "numpy"}
    for name in sources():
        for imported in imports(name):
            assert imported.split(".")[0] in known, f"{name} imports {imported}"


def test_private_names_stay_in_their_room() -> None:
    """What other rooms ask of an adaptive model is in ``adaptive/internals.py``."""
    defined: dict[str, set[str]] = {}
    used: dict[str, set[str]] = {}
    for name in INSIDE:
        for node in ast.walk(ast.parse(sources()[name].read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.setdefault(node.name, set()).add(room(name))
            elif isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                places = defined if own and isinstance(node.ctx, ast.Store) else used
                places.setdefault(node.attr, set()).add(room(name))
            elif isinstance(node, ast.ImportFrom) and node.level:
                for alias in node.names:
                    used.setdefault(alias.name, set()).add(room(name))
    torchs = {*vars(nn.Module()), "_version"}  # see docs/private-apis.md
    for name, rooms in used.items():
        if name.startswith("_") and not name.startswith("__") and name in defined.keys() - torchs:
            assert rooms <= defined[name], f"{name} is used in {rooms - defined[name]}"


def test_the_public_names_are_there() -> None:
    import subpath

    for name in subpath.__all__:
        assert getattr(subpath, name) is not None
    assert set(subpath.__all__) <= set(dir(subpath))


def test_help_does_not_load_torch() -> None:
    code = "import sys, subpath, subpath.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
