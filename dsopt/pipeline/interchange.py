"""Trained classifiers for programs that know nothing of this package: ONNX or safetensors, with a description as JSON."""

import importlib.util
import json
from typing import Any

import torch
from torch import Tensor, nn

from dsopt.augment.inputs import Inputs
from dsopt.errors import InputError
from dsopt.files import join, read_bytes, write_bytes
from dsopt.pipeline import networks
from dsopt.registry import MODELS
from dsopt.storage import Table

FORMATS = ("onnx", "safetensors")


def check(table: Table, format: str) -> None:
    """Raises InputError if the stage trained no classifier, or a package is missing."""
    about = networks.description_of(table)
    kind = "classifier" if "child" in about else MODELS.traits(about["name"]).kind
    if kind != "classifier" or "inputs" not in about:
        raise InputError(f"{table.uri}: holds a trained {kind}; only classifiers are exported.")
    if format == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise InputError("format=onnx: needs the packages onnx and onnxscript; install them with pip install 'dsopt[onnx]'.")


def export(table: Table, format: str, output: str) -> None:
    """Write model.onnx or model.safetensors, and model.json, below a folder."""
    about, file = description(table, format), f"model.{format}"
    if format == "onnx":
        data = as_onnx(networks.trained(table, torch.device("cpu")), networks.inputs_of(table), about["input"]["shape"][1:])
    else:
        data = read_bytes(join(table.uri, networks.description_of(table)["weights"]))
    write_bytes(join(output, file), data)
    write_bytes(join(output, "model.json"), json.dumps({"file": file} | about, indent=1, ensure_ascii=False).encode())


def description(table: Table, format: str) -> dict[str, Any]:
    """What a user of the file must know, as plain values."""
    about = networks.description_of(table)
    channels, classes = (about["channels"], about["classes"]) if "child" in about else about["arguments"]
    inputs, inside = about["inputs"], format == "onnx"
    side = inputs["loaded"] or inputs["size"]
    by_image = {"of": "each image, over all its pixels and channels", "by": inputs["standardise"]}
    return {
        "classes": _classes(table),
        "input": {
            "name": "images",
            "type": "uint8" if inside else "float32",
            "shape": ["batch", channels, *[side if inside else inputs["size"]] * 2],
            "channels": "RGB" if channels == 3 else "gray",
        },
        "output": {"name": "logits", "type": "float32", "shape": ["batch", classes]},
        "preparation": {
            "resize": side,  # the whole picture, antialiased, to a square
            "done_in_file": ["crop", "scale", "standardise"] if inside else [],
            "crop": inputs["size"],
            "scale": 1 / 255,
            "standardise": by_image | _divisor(inputs["standardise"]) if inputs["standardise"] else None,
        },
        "network": {key: value for key, value in about.items() if key not in ("inputs", "weights", "precision")},
    }


def _divisor(by: str) -> dict[str, str]:
    least = "1 / (pixels * channels)"
    divisor = f"max(variance, {least})" if by == "variance" else f"sqrt(max(variance, {least}))"
    return {"formula": f"(x - mean) / {divisor}"}


def _classes(table: Table) -> list[str] | None:
    """The names of the classes, if the images that the network was trained on are still there and have some."""
    images = table.input("images")
    try:
        return Table(images).manifest["classes"] if images else None
    except InputError:
        return None


class _Prepared(nn.Module):
    """A network from bytes: the fixed preparation of its inputs, then itself."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.network, self.prepare = network, inputs.test

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.prepare(images))


def as_onnx(network: nn.Module, inputs: Inputs, shape: list[int]) -> bytes:
    """A classifier in evaluation mode as an ONNX file: uint8 `images` [batch, c, h, w] to float32 `logits` [batch, classes].

    Args:
        inputs: the preparation; the file includes it.
        shape: c, h, w of the images.
    """
    whole = _Prepared(network.to(memory_format=torch.contiguous_format), inputs).eval()  # type: ignore[call-overload]
    program = torch.onnx.export(
        whole,
        (torch.zeros(2, *shape, dtype=torch.uint8),),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto.SerializeToString()
