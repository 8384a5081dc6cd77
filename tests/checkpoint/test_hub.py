"""The Hub: what is uploaded comes back from the library's own cache, without a network."""

from __future__ import annotations

import builtins
import copy
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import subpath
from saved import ARGUMENTS, SIZE, weights_of
from subpath import zoo
from subpath.checkpoint import Architecture
from subpath.choice import Conditions, MeasuredConfig, MeasuredTable
from subpath.errors import CheckpointError
from subpath.skip import SkipConfig

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A directory that stands for the repository; it takes what ``HfApi`` is told to upload."""
    folder, calls = tmp_path / "remote", []

    class Api:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repo_id, *, private, exist_ok):
            assert exist_ok
            calls.append(("create", repo_id, private))
            folder.mkdir(exist_ok=True)

        def upload_folder(self, *, repo_id, folder_path, revision, commit_message, delete_patterns):
            calls.append(("upload", repo_id, revision))
            for old in folder.glob(delete_patterns):
                old.unlink()
            shutil.copytree(folder_path, folder, dirs_exist_ok=True)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{COMMIT}")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return SimpleNamespace(folder=folder, calls=calls)


def put_into_cache(cache: Path, files: Path, repo: str = "models--ada--small") -> Path:
    """The layout that the Hub's documentation gives: refs, blobs, and snapshots of links."""
    blobs, snapshot = cache / repo / "blobs", cache / repo / "snapshots" / COMMIT
    for folder in (blobs, snapshot, cache / repo / "refs"):
        folder.mkdir(parents=True)
    (cache / repo / "refs" / "main").write_text(COMMIT)
    (cache / repo / "refs" / "v1").write_text(COMMIT)
    for number, file in enumerate(sorted(files.iterdir())):
        shutil.copy(file, blobs / f"blob{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{number}")
    return snapshot


def test_what_is_pushed_comes_back(made, remote, cache):
    model = made[0]
    url = subpath.push_to_hub(model, "ada/small", Architecture("resnet18", ARGUMENTS), token="t")
    assert url == f"https://hub/ada/small/commit/{COMMIT}"
    assert remote.calls == [
        ("token", "t"),
        ("create", "ada/small", None),
        ("upload", "ada/small", None),
    ]
    suffixes = sorted(path.suffix for path in remote.folder.iterdir())
    assert suffixes == [".json", ".md", ".safetensors"]
    put_into_cache(cache, remote.folder)
    x = torch.randn(2, *SIZE)
    for name in ("hf-hub:ada/small", "hf-hub:ada/small@v1", f"hf-hub:ada/small@{COMMIT}"):
        again = subpath.load(name)
        for skip in ("FFFF", "TTTT", "TFFT"):
            assert torch.equal(again(x, skip=skip), model(x, skip=skip))


def test_a_second_push_replaces_the_weights(made, remote):
    model = copy.deepcopy(made[0])
    subpath.push_to_hub(model, "ada/small", card="Mine.")
    first = weights_of(remote.folder).name
    with torch.no_grad():
        model.get_parameter("fc.weight").add_(1)
    subpath.push_to_hub(model, "ada/small", card="Mine.")
    assert weights_of(remote.folder).name != first
    assert (remote.folder / "README.md").read_text() == "Mine."
    assert torch.equal(
        subpath.load(remote.folder).state_dict()["fc.weight"], model.state_dict()["fc.weight"]
    )


def test_the_card_of_an_adapter_tells_how_it_is_put_on(made, remote):
    model = made[0]
    subpath.push_to_hub(model, "ada/small", adapter=True)
    card = (remote.folder / "README.md").read_text()
    assert '\nmodel = subpath.load_adapter(network, "hf-hub:ada/small")\n' in card
    assert "\nnetwork = ..." in card
    original = zoo.create_model("resnet18", **ARGUMENTS)
    original.load_state_dict(subpath.original_state_dict(model))
    again, x = subpath.load_adapter(original, remote.folder), torch.randn(2, *SIZE)
    assert torch.equal(again(x, skip="TTTT"), model(x, skip="TTTT"))


def test_the_card_tells_stages_figures_and_how_to_load(made, remote):
    model = copy.deepcopy(made[0])
    model.measured = MeasuredTable(
        (
            MeasuredConfig(SkipConfig("FFFF"), 2.5, 8.25, "measured", 70.5),
            MeasuredConfig(SkipConfig("TFFF"), 2.0, 6.5, "predicted"),
        ),
        Conditions(device="a CPU", threads=2, precision="fp32", batch=1, runtime="torch 2.6"),
    )
    subpath.push_to_hub(model, "ada/small")
    card = (remote.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: subpath\n")
    assert '\nmodel = subpath.load("hf-hub:ada/small")\n' in card
    assert "| 1 | `layer1` | 2 | `layer1.1` |\n" in card
    assert "| skip config | GMACs | latency, ms | top-1, % |\n" in card
    assert "| `FFFF` | 2.500 | 8.25 | 70.50 |\n" in card
    assert "| `TFFF` | 2.000 | 6.50 (predicted) |  |\n" in card
    assert "batch 1, a CPU, 2 threads, fp32, torch 2.6" in card


def test_without_network_and_cache_the_error_says_so(cache):
    with pytest.raises(CheckpointError, match=r"hf-hub:ada/none.*within reach"):
        subpath.load("hf-hub:ada/none")
    with pytest.raises(CheckpointError, match=r"owner/name"):
        subpath.load("hf-hub:../../etc/passwd")


def test_a_push_without_network_fails_clearly(made, cache):
    with pytest.raises(CheckpointError, match=r"uploading to 'ada/small'.*hf auth login"):
        subpath.push_to_hub(made[0], "ada/small")


def test_links_out_of_the_cache_are_not_followed(made, cache, tmp_path):
    snapshot = put_into_cache(cache, made[1])
    weights = weights_of(snapshot)
    (tmp_path / "elsewhere").write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="a link out of its directory"):
        subpath.load("hf-hub:ada/small")


def test_without_the_extra_it_is_named(made, monkeypatch):
    real = builtins.__import__

    def without_hub(name, *args, **kwargs):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    for call in (
        lambda: subpath.load("hf-hub:ada/small"),
        lambda: subpath.push_to_hub(made[0], "ada/small"),
    ):
        with pytest.raises(CheckpointError, match=r"pip install 'subpath\[hub\]'"):
            call()
