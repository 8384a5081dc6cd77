"""Files from strangers: an error of ours or a right model, in bounded memory, and no code runs."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import subpath
from saved import ARGUMENTS, SIZE, description, rewrite, weights_of
from subpath import checkpoint
from subpath.checkpoint import reading
from subpath.checkpoint.files import digest
from subpath.errors import CheckpointError, SubpathError


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def replace_weights(directory: Path, content: bytes) -> None:
    """Other bytes, under the name and digest that belong to them."""
    weights_of(directory).unlink()
    (directory / "new").write_bytes(content)
    sha256 = digest(directory / "new")
    name = f"model-{sha256[:12]}.safetensors"
    (directory / "new").rename(directory / name)
    rewrite(directory, weights=name, sha256=sha256)


def refused(directory: Path, *said: str) -> None:
    """``load`` refuses, in words that hold ``said``, and takes little memory for it."""
    before = reset_peak()
    with pytest.raises(CheckpointError) as caught:
        subpath.load(directory)
    assert peak() - before < 200
    for part in said:
        assert part in str(caught.value)


def peak() -> float:
    """The most memory since :func:`reset_peak`, in MiB; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**10


def reset_peak() -> float:
    """Memory in use, in MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def test_the_peak_is_that_of_an_allocation_now():
    before = reset_peak()
    torch.ones(2**27)
    assert 500 < peak() - before < 600 or peak() == 0
    assert reset_peak() - before < 100


# --- the description ------------------------------------------------------------------------------

TEXTS = {
    "nested": ("[" * 100_000 + "]" * 100_000, "nested more than"),
    "nested in a string": (json.dumps({"format_version": "[" * 100_000}), "format_version"),
    "not closed": ("[" * 31, "cannot be read"),
    "twice": ('{"plan": 1, "plan": 2}', "'plan' is given twice"),
    "NaN": ('{"format_version": NaN}', "the number NaN"),
    "infinite": ('{"format_version": -Infinity}', "the number -Infinity"),
    "too large for a float": ('{"format_version": 1e999}', "the number 1e999"),
    "many digits": ('{"format_version": 1' + "0" * 5000 + "}", "5001 digits"),
    "half a character": ('{"a\\ud800": 1}', "surrogates not allowed"),
    "escape sequence": ('{"format_version": 1, "\\u001b[31m": 1}', "\\x1b[31m"),
    "UTF-16": ('{"a": 1}'.encode("utf-16").decode("latin-1"), "cannot be read"),
}


@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_texts_that_are_no_description(saved, text, said):
    (saved[1] / "subpath.json").write_text(text, encoding="latin-1")
    refused(saved[1], said)


def test_a_description_of_a_gigabyte_is_not_read(saved):
    with (saved[1] / "subpath.json").open("r+b") as file:
        file.truncate(2**30)
    refused(saved[1], "larger than 16 MiB")


def test_every_wrong_place_is_named_at_once(saved):
    plan = description(saved[1])["plan"]
    plan["stages"][0]["channel_dim"] = "1"
    plan["stages"][2]["blocks"] = "layer3.0"
    plan["twin_norms"][3]["stage"] = 1.0
    plan["extra"] = 1
    rewrite(saved[1], plan=plan, libraries={"torch": "2.6\x1b[31m"}, input_size=[1, -32, 32])
    refused(
        saved[1],
        "plan.stages.0.channel_dim",
        "plan.stages.2.blocks",
        "plan.twin_norms.3.stage",
        "plan.extra",
        "libraries.torch",
        "input_size.1",
    )


def test_nothing_of_a_plan_is_named_twice(saved):
    plan = description(saved[1])["plan"]
    plan["stages"] += [{**plan["stages"][0], "name": f"again {i}"} for i in range(20)]
    rewrite(saved[1], plan=plan)
    refused(saved[1], "each block once, got layer1.0, layer1.1 again")
    plan["stages"] = plan["stages"][:4]
    rewrite(saved[1], plan={**plan, "opened": [*plan["opened"], plan["opened"][1]]})
    refused(saved[1], f"each opened module once, got {plan['opened'][1]} again")
    rewrite(saved[1], plan={**plan, "twin_norms": plan["twin_norms"] * 2})
    refused(saved[1], "each twin norm once")


@pytest.mark.parametrize("size", [[2**20, 2**20], [1, 10**12, 1], [1] * 9])
def test_an_example_input_that_fills_the_memory(saved, size):
    rewrite(saved[1], input_size=size)
    refused(saved[1], "input_size")


# --- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../{name}",
        "sub/../{name}",
        "./{name}",
        "C:\\{name}",
        "\\\\host\\{name}",
        "{name}\x00",
        "{name}\n",
        "model-{digest}.SAFETENSORS",
        "file:///{name}",
        "subpath.json",
        "",
    ],
)
def test_no_name_but_the_one_is_opened(saved, name):
    text = description(saved[1])
    rewrite(saved[1], weights=name.format(name=text["weights"], digest=text["sha256"][:12]))
    refused(saved[1], "weights")


@pytest.mark.parametrize("digest", ["../../../etc", "0" * 63, "g" * 64, "/" * 64])
def test_digests_that_are_none(saved, digest):
    rewrite(saved[1], sha256=digest, weights=f"model-{digest[:12]}.safetensors")
    refused(saved[1], "sha256")


@pytest.mark.parametrize("which", ["subpath.json", "weights"])
def test_links_out_of_the_directory_are_not_followed(saved, tmp_path_factory, which):
    directory = saved[1]
    file = weights_of(directory) if which == "weights" else directory / which
    outside = tmp_path_factory.mktemp("outside") / "file"
    file.rename(outside)
    file.symlink_to(outside)
    refused(directory, "a link out of its directory")
    inside = directory / "inside"
    shutil.copy(outside, inside)
    file.unlink()
    file.symlink_to("inside")
    subpath.load(directory)


def test_what_is_no_file_is_not_opened(saved):
    directory = saved[1]
    (directory / "subpath.json").unlink()
    os.mkfifo(directory / "subpath.json")  # whoever opens it waits for ever
    refused(directory, "no subpath.json")


# --- weights --------------------------------------------------------------------------------------


def header(content: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content)) + content + data


def tensor(form: str) -> bytes:
    return header(b'{"fc.bias":{' + form.encode() + b"}}", b"\0" * 20)


WEIGHTS = {
    "empty": b"",
    "oversize header": struct.pack("<Q", 2**60) + b"{}",
    "header beyond the file": struct.pack("<Q", 1000) + b"{}",
    "nested header": header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no JSON": header(b"\xff\xfe"),
    "no such dtype": tensor('"dtype":"F31","shape":[5],"data_offsets":[0,20]'),
    "data beyond the file": tensor('"dtype":"F32","shape":[50],"data_offsets":[0,200]'),
    "negative": tensor('"dtype":"F32","shape":[-5],"data_offsets":[0,20]'),
    "more than memory": tensor('"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,20]'),
    "wrong dtype": tensor('"dtype":"I32","shape":[5],"data_offsets":[0,20]'),
    "four bits": tensor('"dtype":"F4","shape":[40],"data_offsets":[0,20]'),
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_none(saved, content):
    replace_weights(saved[1], content)
    refused(saved[1])


def test_a_truncated_file_with_a_digest_that_fits(saved):
    replace_weights(saved[1], weights_of(saved[1]).read_bytes()[:-7])
    refused(saved[1], "cannot be read")


def test_shared_keys_that_point_nowhere(saved):
    rewrite(saved[1], shared={"fc.weight": "\x1b[2J"})
    refused(saved[1], r"'\x1b[2J'")
    rewrite(saved[1], shared={"one.more": "fc.weight"})
    refused(saved[1], "unexpected: one.more")


# --- what a file may ask for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"embed_dim": 10**9}),
        ("vit_tiny_patch16_224", {"embed_dim": 3 * 2**14}),
        ("vit_tiny_patch16_224", {"depth": 10**9}),
        ("vit_tiny_patch16_224", {"depth": 2**16}),
        ("vit_tiny_patch16_224", {"img_size": 2**16}),
        ("swin_tiny_patch4_window7_224", {"img_size": 2**14}),
        ("resnet18", {**ARGUMENTS, "num_classes": 10**15}),
        ("resnet18", {**ARGUMENTS, "num_classes": 2**16}),
        ("resnet18", {**ARGUMENTS, "layers": [2**16] * 4}),
        ("resnet18", {**ARGUMENTS, "layers": [1] * 20_000}),
        ("resnet18", {**ARGUMENTS, "channels": [-4, 8, 8, 8]}),
        ("resnet18", {**ARGUMENTS, "block": "print"}),
        ("resnet18", {**ARGUMENTS, "self": 1}),
        ("resnet18", {**ARGUMENTS, "device": "cpu"}),
    ],
)
def test_no_network_larger_than_its_weights_is_made(saved, monkeypatch, name, arguments):
    rewrite(saved[1], architecture={"name": name, "arguments": arguments})
    monkeypatch.setattr(reading, "with_data", None)
    refused(saved[1])


def test_a_callable_is_not_imported_because_a_file_names_it(saved, tmp_path, monkeypatch):
    (tmp_path / "strange.py").write_text("open('it_ran', 'w')\nmake = print\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("strange:make", "os:abort", "hf-hub:ada/small", "local-dir:.", "strange.make", ""):
        rewrite(saved[1], architecture={"name": name, "arguments": {}})
        refused(saved[1])
    assert not Path("it_ran").exists()
    assert "strange" not in sys.modules


def test_verify_tells_without_making_anything(saved, monkeypatch):
    monkeypatch.setattr(reading, "with_data", None)
    assert checkpoint.verify(saved[1]) == checkpoint.read_description(saved[1])
    rewrite(saved[1], architecture={"name": "resnet18", "arguments": {**ARGUMENTS, "in_chans": 3}})
    with pytest.raises(CheckpointError, match=r"conv1\.weight"):
        checkpoint.verify(saved[1])
    rewrite(saved[1], architecture={"name": "os:abort", "arguments": {}})
    assert checkpoint.verify(saved[1]).architecture.name == "os:abort"


# --- no code runs ---------------------------------------------------------------------------------


def test_a_pickle_runs_nowhere(saved, tmp_path_factory):
    model, directory = saved
    ran = tmp_path_factory.mktemp("ran") / "it_ran"
    content = pickle.dumps({"fc.bias": Payload(ran)})
    pickle.loads(content)
    assert ran.exists()  # the payload works
    ran.rmdir()

    (directory / "subpath.json").rename(directory / "kept")
    (directory / "subpath.json").write_bytes(content)
    refused(directory, "subpath.json")
    (directory / "kept").rename(directory / "subpath.json")
    for suffix in ("safetensors", "pth", "bin", "pt"):
        other = directory / f"other.{suffix}"
        for write in (
            lambda path: path.write_bytes(content),
            lambda path: torch.save({"state_dict": {"fc.bias": Payload(ran)}}, path),
            lambda path: torch.save(Payload(ran), path, _use_new_zipfile_serialization=False),
        ):
            write(other)
            with pytest.raises(CheckpointError, match="cannot be read"):
                subpath.load_original(model, other)
        other.unlink()
    replace_weights(directory, content)
    refused(directory, "cannot be read")
    assert not ran.exists()


def test_tensors_without_plain_data_are_no_weights(saved, tmp_path):
    model, _ = saved
    good = subpath.original_state_dict(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch gives quantised tensors up
        quantised = torch.quantize_per_tensor(torch.zeros(5), 0.1, 0, torch.qint8)
    for odd in (torch.empty(5, device="meta"), torch.zeros(5).to_sparse(), quantised):
        torch.save({**good, "fc.bias": odd}, tmp_path / "w.pth")
        with pytest.raises(CheckpointError):
            subpath.load_original(model, tmp_path / "w.pth")
    torch.save({**good, 3: torch.zeros(5)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        subpath.load_original(model, tmp_path / "w.pth")


# --- anything at all ------------------------------------------------------------------------------

NUMBERS = [None, True, 0, -1, 1, 2, 3, 10**9, 10**17, 0.5]
NAMES = ["", "a", "../x", "layer1", "layer1.0", "bn1", "resnet34", "os:abort", "\x00", "\x1b[2J"]
LISTS = [[], {}, [[]], {"a": 1}, [1, 2, 3], ["layer1.1"]]
STRANGE = st.sampled_from([*NUMBERS, *NAMES, *LISTS]).map(copy.deepcopy)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, (dict, list)) else ():
        yield from places(item, (*path, key)) if isinstance(item, (dict, list)) else [(*path, key)]


@st.composite
def changed(draw, content):
    """A description with one to three places changed, taken away or added."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([p for p in places(content) if p]))
        owner = content
        for key in path:
            owner = owner[key]
        action = draw(st.sampled_from(["put", "put", "put", "take", "add"]))
        if action == "put":
            owner[last] = draw(STRANGE)
        elif action == "take":
            del owner[last]
        elif isinstance(owner, dict):
            owner[draw(st.sampled_from(["more", "drop_rate", "pretrained", "fc.bias"]))] = draw(
                STRANGE
            )
        else:
            owner.insert(last, draw(STRANGE))
    return content


def is_refused_or_right(directory: Path) -> bool:
    """Whether a model comes out; it is the network that its description names, bit for bit."""
    try:
        model = subpath.load(directory)
    except SubpathError as error:
        said = str(error)
    else:
        check_right(model, directory)
        return True
    assert said.isprintable()  # nothing in it moves the cursor of a terminal
    return False


def check_right(model: subpath.AdaptiveModel, directory: Path) -> None:
    made = checkpoint.read_description(directory).architecture
    plain = timm.create_model(made.name, **made.arguments).eval()
    state = subpath.original_state_dict(model)
    plain = plain.to(next(iter(state.values())).dtype)
    plain.load_state_dict(state)
    x = torch.randn(2, *SIZE, dtype=next(plain.parameters()).dtype)
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0, equal_nan=True)
    model(x, skip="T" * len(model.stages))


@given(data=st.data())
def test_a_changed_description_is_refused_or_right(made, data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copytree(made[1], directory, dirs_exist_ok=True)
        content = data.draw(changed(description(directory)))
        (directory / "subpath.json").write_text(json.dumps(content))
        is_refused_or_right(directory)


@given(data=st.data())
def test_changed_bytes_are_refused_or_right(made, data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copytree(made[1], directory, dirs_exist_ok=True)
        content = bytearray(weights_of(directory).read_bytes())
        end = int.from_bytes(content[:8], "little") + 40  # the header and a little of the data
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, end))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content)))]
        fits = data.draw(st.booleans())
        if fits:
            replace_weights(directory, bytes(content))
        else:
            weights_of(directory).write_bytes(content)
        same = bytes(content) == weights_of(made[1]).read_bytes()
        assert is_refused_or_right(directory) <= (fits or same)


@pytest.fixture(scope="module")
def plain_files(made):
    """The weights of the original as PyTorch writes them, in its two formats."""
    files = []
    for zipped in (True, False):
        stream = io.BytesIO()
        state = subpath.original_state_dict(made[0])
        torch.save(state, stream, _use_new_zipfile_serialization=zipped)
        files.append(stream.getvalue())
    return files


@given(data=st.data())
def test_changed_files_of_pytorch_are_refused_or_hold_weights(made, plain_files, data):
    content = bytearray(data.draw(st.sampled_from(plain_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    model = copy.deepcopy(made[0])
    before = copy.deepcopy(model.state_dict())
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "w.pth"
        file.write_bytes(content)
        try:
            subpath.load_original(model, file)
        except SubpathError:
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_fuzz_lets_the_right_model_through(made):
    assert is_refused_or_right(made[1])
    assert set(load_file(weights_of(made[1]))) == set(made[0].state_dict())
