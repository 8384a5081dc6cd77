"""Models on the Hugging Face Hub: a repository there is a directory of ours with a model card."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..adaptive.model import AdaptiveModel
from ..errors import CheckpointError
from .card import model_card
from .files import write_atomically
from .format import DESCRIPTION, Architecture, weights_name
from .versions import library_versions
from .writing import write_model

PREFIX = "hf-hub:"
CARD = "README.md"

_WEIGHTS = weights_name("?" * 12)


def push_to_hub(
    model: AdaptiveModel,
    repo_id: str,
    architecture: Architecture | str | None = None,
    input_size: Sequence[int] | None = None,
    *,
    adapter: bool = False,
    card: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "An adaptive-depth model",
    token: str | None = None,
) -> str:
    """Upload a model to the Hugging Face Hub; ``subpath.load("hf-hub:owner/name")`` gives it back.

    What was there before is replaced in one commit. Needs the extra ``hub``.

    Args:
        model: the adaptive model.
        repo_id: ``owner/name``; made if it is not there.
        architecture: as for :func:`save`.
        input_size: as for :func:`save`.
        adapter: upload what :func:`save_adapter` writes, for :func:`load_adapter`.
        card: text of the repository's ``README.md``; default: made from plan and measured table.
        private: whether a new repository is; default: as the owner's settings have it.
        revision: the branch; default: the main one.
        message: of the commit.
        token: default: that of ``hf auth login`` or of the environment.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: the model cannot be saved, or the Hub refuses it or cannot be reached.
    """
    hub = _library()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        description = write_model(model, folder, architecture, input_size, adapter)
        text = model_card(description, repo_id) if card is None else card
        write_atomically(folder / CARD, text)
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=message,
                delete_patterns=_WEIGHTS,
            )
        except Exception as error:  # the network, the service and the account fail in many ways
            raise CheckpointError(
                f"got an error while uploading to {repo_id!r} ({_said(error)}); expected a "
                "repository owner/name that you may write to, and the Hub within reach. Log in "
                "with `hf auth login`; subpath.save writes the same files to a directory"
            ) from error
    return str(commit.commit_url)


def download(name: str) -> tuple[Path, Path]:
    """Fetch a model, or find it in the local cache.

    Args:
        name: ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision`` with a branch, tag or commit.

    Returns:
        The directory that holds the model's files, and the one that their links stay within.

    Raises:
        CheckpointError: there is no such model, or it is neither in the cache nor within reach.
    """
    hub = _library()
    repo_id, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        found = hub.snapshot_download(
            repo_id,
            revision=revision or None,
            allow_patterns=[DESCRIPTION, _WEIGHTS],
            library_name="subpath",
            library_version=library_versions()["subpath"],
        )
    except Exception as error:  # the network, the service and the cache fail in many ways
        raise CheckpointError(
            f"got an error while fetching {name!r} ({_said(error)}); expected "
            f"{PREFIX}owner/name[@revision] with a model that subpath.push_to_hub uploaded, and "
            "the Hub within reach, or an earlier download in the cache. A directory of your own "
            "loads without a network: subpath.load(directory)"
        ) from error
    folder = Path(found)
    return folder, folder.parent.parent  # .../snapshots/<commit> links to .../blobs


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            "got a request to the Hugging Face Hub without the package huggingface_hub; expected "
            "the extra hub: pip install 'subpath[hub]'"
        ) from error
    return huggingface_hub


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
