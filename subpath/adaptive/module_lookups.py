"""How generated code finds the modules it calls: cheaply, and anew in every call.

``self.layer1[0].conv1`` costs a search through parameters, buffers and modules for each dot.
Generated code looks into the registries themselves, once at its beginning and once for each block,
so that a module that was replaced, moved or hooked is found as it is now.
"""

from __future__ import annotations

import re
from typing import Any

from torch import fx, nn

_LOCAL = "_subpath_"
_FROM_SELF = re.compile(rf"\bself\.(?={_LOCAL}\d+\b)")


class Lookups(fx.graph.CodeGen):
    """Writes the code of a graph over ``root``, with all modules found at its beginning.

    Where a path no longer leads through the registries, for example because a wrapper that hands
    attributes through was put around a block, the modules are found as attributes.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        """Let ``graph`` be written so; its targets become names of local variables."""
        super().__init__()
        self._root = root
        self._locals: dict[str, str] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                node.target = self._local(str(node.target))
            elif node.op == "get_attr":
                owner, _, name = str(node.target).rpartition(".")
                node.target = f"{self._local(owner)}.{name}" if owner else name
        graph.set_codegen(self)

    def gen_fn_def(self, *args: Any, **kwargs: Any) -> str:
        """The head of the function, and the modules."""
        head = super().gen_fn_def(*args, **kwargs)
        if not self._locals:
            return head
        lines = ["    try:", *self._through_registries(), "    except (AttributeError, KeyError):"]
        lines += [
            f"        {local} = {_as_attribute('self', path)}"
            for path, local in self._locals.items()
        ]
        return "\n".join([head, *lines])

    def source(self, written: str) -> str:
        """The code as torch.fx wrote it, with local variables where it has attributes of self."""
        return _FROM_SELF.sub("", written)

    def _local(self, path: str) -> str:
        return self._locals.setdefault(path, f"{_LOCAL}{len(self._locals)}")

    def _through_registries(self) -> list[str]:
        lines, registries = [], {"": "_registry_0"}
        lines.append("        _registry_0 = self._modules")
        for path, local in self._locals.items():
            parent = path.rpartition(".")[0]
            for end in [m.start() for m in re.finditer(r"\.", path)]:
                if path[:end] not in registries:
                    registries[path[:end]] = name = f"_registry_{len(registries)}"
                    lines.append(f"        {name} = {self._found(path[:end], registries)}._modules")
            assert parent in registries
            lines.append(f"        {local} = {self._found(path, registries)}")
        return lines

    def _found(self, path: str, registries: dict[str, str]) -> str:
        parent, _, name = path.rpartition(".")
        owner = self._root.get_submodule(parent)
        if owner._modules.get(name) is getattr(owner, name):
            return f"{registries[parent]}[{name!r}]"
        return _as_attribute("self", path)


def _as_attribute(base: str, path: str) -> str:
    for name in path.split("."):
        base = f"{base}.{name}" if name.isidentifier() else f"getattr({base}, {name!r})"
    return base
