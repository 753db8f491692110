"""Checks graphs with onnx's own checker and strict shape inference, and every input's type against the operator's schema.

    pip install onnx
    npx tsx bench/write-graphs.ts /tmp/graphs float16 test/fixtures/checkpoints/*
    python bench/check_graphs.py /tmp/graphs/*.onnx

onnx does not know the operators of com.microsoft. Those of the plain form are replaced by Identity nodes that have their
types, so that inference goes on behind them. Weights are replaced by inputs of their shapes, because their files are not read.
Inference says nothing where it fails in the body of a Loop. So a value without a type counts as an error, and so does a
node whose inputs have types that its schema does not allow together.
"""

import sys
from collections import Counter

import onnx
from onnx import AttributeProto, TensorProto, helper

EXTERNAL = TensorProto.EXTERNAL


def graphs_in(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_in(attribute.g)


def weights_as_inputs(graph):
    weights = [tensor for tensor in graph.initializer if tensor.data_location == EXTERNAL]
    for tensor in weights:
        graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        graph.initializer.remove(tensor)
    return len(weights)


# The inputs that outputs have the types and shapes of: an attention's are its query and its cache, a norm's its rows.
SOURCES = {
    "MultiHeadAttention": lambda inputs: [inputs[0], *inputs[6:8]],
    "SkipSimplifiedLayerNormalization": lambda inputs: [inputs[0]] * 4,
    "RotaryEmbedding": lambda inputs: [inputs[0]],
}


def stand_ins(node):
    for source, output in zip(SOURCES[node.op_type](node.input), node.output):
        if output:
            yield helper.make_node("Identity", [source], [output])


def without_microsoft(graph):
    nodes = []
    for node in graph.node:
        nodes.extend(stand_ins(node) if node.op_type in SOURCES else [node])
    del graph.node[:]
    graph.node.extend(nodes)


def element_type(info):
    return TensorProto.DataType.Name(info.type.tensor_type.elem_type)


def check_types(graph, outer, version):
    """Every value has a type, and the inputs of every node fit its schema. Returns how many values have each type."""
    types = dict(outer)
    types.update({tensor.name: TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer})
    types.update({info.name: element_type(info) for info in [*graph.input, *graph.output, *graph.value_info]})
    for node in graph.node:
        for name in [*node.input, *node.output]:
            if name and types.get(name, "UNDEFINED") == "UNDEFINED":
                raise TypeError(f"{node.name}: no type was inferred for {name}")
        check_node(node, types, version)
    counts = Counter(types[info.name] for info in graph.value_info)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                counts += check_types(attribute.g, types, version)
    return counts


def check_node(node, types, version):
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    bound = {}
    for index, name in enumerate(node.input):
        parameter = schema.inputs[min(index, len(schema.inputs) - 1)]
        if not name:
            continue
        got = f"tensor({types[name].lower()})"
        if got not in allowed.get(parameter.type_str, [parameter.type_str]):
            raise TypeError(f"{node.name}: {parameter.name} may not be {got}")
        same = parameter.option != onnx.defs.OpSchema.FormalParameterOption.Variadic or parameter.is_homogeneous
        if same and bound.setdefault(parameter.type_str, got) != got:
            raise TypeError(f"{node.name}: {parameter.type_str} is {bound[parameter.type_str]} and {got}")


def check(path):
    model = onnx.load(path, load_external_data=False)
    operators = Counter(node.op_type for graph in graphs_in(model.graph) for node in graph.node)
    weight_count = weights_as_inputs(model.graph)
    for graph in reversed(list(graphs_in(model.graph))):  # Bodies first: extend copies the nodes that hold them.
        without_microsoft(graph)
    onnx.checker.check_model(model, full_check=False)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    [version] = [opset.version for opset in model.opset_import if opset.domain == ""]
    types = check_types(inferred.graph, {}, version)
    outputs = {element_type(output) for output in inferred.graph.output}
    name = path.rsplit("/", 1)[-1]
    print(f"{name}: {sum(operators.values())} nodes, {weight_count} weights, {dict(types)}, outputs {sorted(outputs)}")


if __name__ == "__main__":
    print(f"onnx {onnx.__version__}")
    for path in sys.argv[1:]:
        check(path)
