"""``subpath report --latency``: conditions, marks and errors; no time is asserted."""

from __future__ import annotations

import json

import pytest

from commands import Command

SMALL = ("report", "resnet18", "--arg", "channels=[8,8,8,8]", "--input-size", "3,32,32")
QUICK = ("--latency", "--threads", 1, "--rounds", 6)


def test_a_table_for_each_batch_size(command: Command) -> None:
    words = (*SMALL, *QUICK, "--batch", 1, "--batch", 3, "--precision", "bf16", "--json")
    status, out, _ = command(*words)
    assert status == 0
    tables = json.loads(out)["latency"]
    assert [table["conditions"]["batch"] for table in tables] == [1, 3]
    for table in tables:
        assert table["conditions"]["threads"] == 1
        assert table["conditions"]["precision"] == "bf16"
        assert table["rounds"] == 6
        assert len(table["configs"]) == 16
        measured = [e["skip"] for e in table["configs"] if e["source"] == "measured"]
        assert measured == ["FFFF", "TFFF", "FTFF", "FFTF", "FFFT", "TTTT"]


def test_for_people_and_all_measured(command: Command) -> None:
    status, out, _ = command(*SMALL, *QUICK, "--measure-all")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    heading, _, *lines = out[out.index("\nLatency") :].strip().splitlines()
    assert "batch 1" in out
    assert "1 thread, fp32, torch" in heading + out
    configs = [line for line in lines if line.split() and set(line.split()[0]) <= set("TF")]
    assert len(configs) == 16
    assert not any("predicted" in line for line in configs)
    assert "over 11 configs" in " ".join(out.split())  # those that skip two stages or more


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch", 8), "--batch without --latency"),
        (("--latency", "--device", "tpu"), "'tpu'"),
        (("--latency", "--precision", "fp8"), "fp32 or bf16"),
        (("--latency", "--runtime", "tvm"), "torch or onnxruntime"),
        (("--latency", "--runtime", "onnxruntime", "--precision", "bf16"), "with bf16;"),
        (("--latency", "--runtime", "onnxruntime", "--compile"), "with torch.compile;"),
        (("--latency", "--rounds", 2), "6 or more"),
        (("--latency", "--batch", 0), "--batch"),
    ],
)
def test_wrong_options(command: Command, words: tuple[object, ...], said: str) -> None:
    status, out, err = command(*SMALL, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_in_onnx_runtime(command: Command) -> None:
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    skippable = "--skippable", "0,0,0,1"
    words = (*SMALL, *skippable, *QUICK, "--runtime", "onnxruntime", "--json")
    status, out, _ = command(*words)
    assert status == 0
    (table,) = json.loads(out)["latency"]
    assert table["conditions"]["runtime"].startswith("onnxruntime ")
    assert [entry["source"] for entry in table["configs"]] == ["measured", "measured"]
