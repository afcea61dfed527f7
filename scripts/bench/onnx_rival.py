"""ONNX Runtime's RotaryEmbedding on the CPU, called with IO binding: no copies, no conversions.

The model is one com.microsoft node. Its x is [B, H, S, D], or [B, S, H * D] when heads follow the
sequence; it takes float32 and float16, contiguous, and needs tables in x's dtype. Where the case
wants fresh memory the output is a new torch tensor in every call, so that both sides pay the same
allocator; otherwise it is bound once. Threads do not spin between calls: they would take time from
the other contestants.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, empty_like, zeros
from torch import int64 as torch_int64

from bench.inputs import Inputs
from bench.rivals import Absent, Rotate


def build(data: Inputs, interleaved: bool) -> Rotate:
    """A function that ignores its arguments and returns the outputs for the case's parts."""
    try:
        import numpy
        import onnxruntime
        from onnx import TensorProto
    except ImportError as error:
        raise Absent("onnxruntime and onnx are not installed") from error
    case = data.case
    types = {
        "float32": (TensorProto.FLOAT, numpy.float32),
        "float16": (TensorProto.FLOAT16, numpy.float16),
    }
    if case.dtype not in types:
        raise Absent(f"onnxruntime has no {case.dtype} kernel of it on CPU")
    if case.kind == "fwd_bwd":
        raise Absent("onnxruntime has no backward")
    if not all(part.is_contiguous() for part in data.parts):
        raise Absent("onnxruntime takes no strided input")
    proto, element = types[case.dtype]
    xs = [x.flatten(2) for x in data.parts] if case.shape.seq_dim == -3 else data.parts
    cos, sin = (table.to(data.dtype).contiguous() for table in (data.cos, data.sin))
    start = zeros(1, dtype=torch_int64)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _model(proto, tuple(xs[0].shape), tuple(cos.shape), interleaved),
        options,
        providers=["CPUExecutionProvider"],
    )

    def bind_output(binding: Any, y: Tensor) -> None:
        binding.bind_output("y", "cpu", 0, element, tuple(y.shape), y.data_ptr())

    bindings, outputs = [], []
    for x in xs:
        binding = session.io_binding()
        for name, tensor in (("x", x), ("cos", cos), ("sin", sin)):
            binding.bind_input(name, "cpu", 0, element, tuple(tensor.shape), tensor.data_ptr())
        binding.bind_input("start", "cpu", 0, numpy.int64, (1,), start.data_ptr())
        outputs.append(empty_like(x))
        bind_output(binding, outputs[-1])
        bindings.append(binding)
    # The bindings hold addresses only: these names keep the memory alive.
    kept = (xs, cos, sin, start)

    def rotate(*parts: Tensor) -> tuple[Tensor, ...]:
        results = outputs
        if case.kind == "fresh":
            results = [empty_like(x) for x in kept[0]]
        for binding, y in zip(bindings, results, strict=True):
            if case.kind == "fresh":
                bind_output(binding, y)
            session.run_with_iobinding(binding)
        return tuple(y.view(part.shape) for y, part in zip(results, data.parts, strict=True))

    return rotate


def _model(
    proto: int, x_shape: tuple[int, ...], table_shape: tuple[int, ...], interleaved: bool
) -> bytes:
    from onnx import TensorProto, helper

    node = helper.make_node(
        "RotaryEmbedding",
        ["x", "start", "cos", "sin"],
        ["y"],
        domain="com.microsoft",
        interleaved=int(interleaved),
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "rotary",
        [
            info("x", proto, x_shape),
            info("start", TensorProto.INT64, (1,)),
            info("cos", proto, table_shape),
            info("sin", proto, table_shape),
        ],
        [info("y", proto, x_shape)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    # The oldest IR that has these opsets: a newer onnx must not outrun the runtime.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())
