"""ONNX: the published node tests through our operator, and exported files against ONNX Runtime.

onnx, onnxscript and onnxruntime come with the extra `onnx`; what needs them is skipped aloud
without. The node tests are built here as the ONNX project builds its own, from its reference
implementation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from head_checks import KINDS
from samples import SAMPLES
from torch import Tensor, nn
from twins import randomise, small

import roformer_ext
from roformer_ext.onnx import OPSET, export_onnx, translation_table

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

OTHER_LAYOUTS = (
    "bhsd", "bshd", "sbhd", "packed", "bsd", "sd", "ids_bs", "ids_sbhd", "rows_bsr",
)  # fmt: skip
LAYOUTS = (
    "heads_across_parts",
    "offset",
    *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_LAYOUTS),
)


def _node_tests() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    cases = collect_testcases("RotaryEmbedding")
    return {case.name: case for case in cases if "expanded" not in case.name}


@pytest.mark.parametrize("name", _node_tests())
def test_published_node_tests(name: str) -> None:
    """RotaryEmbedding of opset 23 is a special case of `rope`."""
    case = _node_tests()[name]
    (node,) = case.model.graph.node
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    (inputs, outputs), *_ = case.data_sets
    x, cos, sin, *ids = (torch.from_numpy(array) for array in inputs)
    shape = x.shape
    if x.dim() == 3:
        x = x.view(*shape[:2], options["num_heads"], -1).transpose(1, 2)
    y = roformer_ext.rope(x, cos, sin, *ids, interleaved=bool(options.get("interleaved", 0)))
    if len(shape) == 3:
        y = y.transpose(1, 2).reshape(shape)
    torch.testing.assert_close(y, torch.from_numpy(outputs[0]))


def _run(path: Path, inputs: dict[str, Tensor]) -> list[Tensor]:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = {i.name: inputs[i.name].numpy() for i in session.get_inputs()}
    return [torch.from_numpy(array) for array in session.run(None, taken)]


class _Rotation(nn.Module):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, ids: Tensor | None = None) -> Tensor:
        return roformer_ext.rope(x, cos, sin, ids, **self.options)


def _write(name: str, path: Path, dtype: torch.dtype = torch.float32, **change: Any) -> Any:
    """The file of one sample; its inputs and what the operator makes of them."""
    x, cos, sin, ids, options = SAMPLES[name](dtype, "cpu")
    inputs = {"x": x, "cos": cos, "sin": sin, **({} if ids is None else {"ids": ids})}
    module = _Rotation({**options, **change})
    program = torch.onnx.export(
        module,
        (),
        kwargs=inputs,
        dynamo=True,
        opset_version=OPSET,
        custom_translation_table=translation_table(),
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
    return inputs, module(**inputs)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, tmp_path: Path) -> None:
    inputs, expected = _write(name, tmp_path / "rope.onnx", conj=True)
    written = onnx.load(tmp_path / "rope.onnx")
    assert [node.op_type for node in written.graph.node].count("RotaryEmbedding") == 1
    (found,) = _run(tmp_path / "rope.onnx", inputs)
    torch.testing.assert_close(found, expected)


def test_a_bad_id_is_an_error(tmp_path: Path) -> None:
    inputs, _ = _write("ids_bs", tmp_path / "rope.onnx")
    for bad in (-2, 7):
        wrong = inputs["ids"].clone()
        wrong[0, 0] = bad
        with pytest.raises(Exception, match=r"out of (data )?bounds"):
            _run(tmp_path / "rope.onnx", {**inputs, "ids": wrong})


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(torch.onnx.OnnxExporterError) as caught:
        _write("bhsd", tmp_path / "rope.onnx", torch.float64)
    causes, error = [], caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert any("must not be float64" in cause for cause in causes)


def _check(kind: str, folder: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    model = getattr(roformer_ext, kind)(small(num_hidden_layers=2))
    randomise(model, deviation=0.1)
    path = folder / "model.onnx"
    export_onnx(model.eval(), path)
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    assert nodes.count("RotaryEmbedding") == 2
    for batch, seq in sizes:
        shape = (batch, 3, seq) if kind.endswith("MultipleChoice") else (batch, seq)
        ids = torch.randint(5, 61, shape)
        mask = torch.ones_like(ids)
        mask[0, ..., seq - seq // 3 :] = 0
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}
        with torch.no_grad():
            expected = model(**inputs, unpad=False, return_dict=False)
        for one, other in zip(_run(path, inputs), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_encoder(tmp_path: Path) -> None:
    """Several lengths, one token among them, to 1e-4."""
    _check("RoFormerForMaskedLM", tmp_path, ((1, 1), (3, 9), (2, 64), (5, 200)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_head(kind: str, tmp_path: Path) -> None:
    _check(kind, tmp_path, ((1, 1), (3, 9)))
