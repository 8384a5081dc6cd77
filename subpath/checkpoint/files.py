"""Files that are there whole or not at all, and files that are where they seem to be."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError


def write_atomically(path: Path, content: str | Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Args:
        path: the file; replaced if it is there.
        content: the text, or a function that writes the file at the path it is given.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_text(content, encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def rename(path: Path, target: Path) -> None:
    """Give a file another name in its directory, for good: the directory itself is written too."""
    path.replace(target)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_inside(path: Path, root: Path) -> None:
    """Refuse a link that leads out of ``root``, so that a copied directory reads no other files.

    Raises:
        CheckpointError: it does.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise CheckpointError(
            f"got {path}, a link out of its directory; expected a file in it. Copy what it links "
            "to in its place"
        )
