"""An exported graph tells nothing of the machine that made it."""

from __future__ import annotations

from onnx import TensorProto, helper

from diorama.export.graph import forget_origin


def test_notes_of_the_exporter_are_removed() -> None:
    node = helper.make_node("Relu", ["image"], ["depth"], doc_string='File "/a/place/network.py"')
    value, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "depth"))
    graph = helper.make_model(helper.make_graph([node], "small", [value], [answer]))
    graph.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/a/place/network.py")
    graph.graph.input[0].metadata_props.add(key="origin", value="/a/place")
    graph.metadata_props.add(key="diorama", value="kept")
    assert b"/a/place" in graph.SerializeToString()
    forget_origin(graph)
    assert b"/a/place" not in graph.SerializeToString()
    assert graph.metadata_props[0].value == "kept"
    assert graph.graph.node[0].op_type == "Relu"
