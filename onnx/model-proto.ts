import { PbfWriter } from 'pbf';
import { elementTypeNumbers } from './element-type.ts';
import type { Attribute, Graph, Initializer, Node, ValueInfo } from './graph.ts';

/**
 * Opset 20: kernels that CUDA registers for an operator's newest schema do not match a graph stamped with a later
 * opset, and Loop then falls back to the CPU. See docs/decisions/0002-graphs-in-memory.md.
 */
const OPSET = 20;
const IR_VERSION = 9;
export const MICROSOFT_DOMAIN = 'com.microsoft';

/** Room for the graph of a large model, so that the buffer does not grow step by step. */
const INITIAL_BUFFER_BYTES = 1 << 20;

/** Values of `AttributeProto.AttributeType`. */
const ATTRIBUTE_FLOAT = 1;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_STRING = 3;
const ATTRIBUTE_GRAPH = 5;
const ATTRIBUTE_INTS = 7;
/** `TensorProto.DataLocation.EXTERNAL`. */
const DATA_LOCATION_EXTERNAL = 1;

/**
 * Serialises a graph as an ONNX ModelProto.
 * Field numbers: onnx/onnx.proto3 (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto).
 */
export function encodeModel(graph: Graph): Buffer {
  const writer = new PbfWriter(new Uint8Array(INITIAL_BUFFER_BYTES));
  writer.writeVarintField(1, IR_VERSION);
  writer.writeStringField(2, 'blip-handler');
  writer.writeMessage(7, writeGraph, graph);
  writer.writeMessage(8, writeOpset, { domain: '', version: OPSET });
  writer.writeMessage(8, writeOpset, { domain: MICROSOFT_DOMAIN, version: 1 });
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeOpset(opset: { domain: string; version: number }, writer: PbfWriter): void {
  writer.writeStringField(1, opset.domain);
  writer.writeVarintField(2, opset.version);
}

function writeGraph(graph: Graph, writer: PbfWriter): void {
  for (const node of graph.nodes) writer.writeMessage(1, writeNode, node);
  writer.writeStringField(2, graph.name);
  if (graph.parent === undefined) {
    for (const initializer of graph.initializers.values()) writer.writeMessage(5, writeTensor, initializer);
  }
  for (const input of graph.inputs) writer.writeMessage(11, writeValueInfo, input);
  for (const output of graph.outputs) writer.writeMessage(12, writeValueInfo, output);
  for (const info of graph.valueInfos) writer.writeMessage(13, writeValueInfo, info);
}

function writeNode(node: Node, writer: PbfWriter): void {
  for (const input of node.inputs) writer.writeStringField(1, input);
  for (const output of node.outputs) writer.writeStringField(2, output);
  writer.writeStringField(3, node.name);
  writer.writeStringField(4, node.operator);
  for (const [name, attribute] of Object.entries(node.attributes))
    writer.writeMessage(5, writeAttribute, { name, attribute });
  writer.writeStringField(7, node.domain);
}

function writeAttribute({ name, attribute }: { name: string; attribute: Attribute }, writer: PbfWriter): void {
  writer.writeStringField(1, name);
  if ('float' in attribute) {
    writer.writeFloatField(2, attribute.float);
    writer.writeVarintField(20, ATTRIBUTE_FLOAT);
  } else if ('int' in attribute) {
    writer.writeVarintField(3, attribute.int);
    writer.writeVarintField(20, ATTRIBUTE_INT);
  } else if ('string' in attribute) {
    writer.writeBytesField(4, Buffer.from(attribute.string));
    writer.writeVarintField(20, ATTRIBUTE_STRING);
  } else if ('graph' in attribute) {
    writer.writeMessage(6, writeGraph, attribute.graph);
    writer.writeVarintField(20, ATTRIBUTE_GRAPH);
  } else {
    for (const value of attribute.ints) writer.writeVarintField(8, value);
    writer.writeVarintField(20, ATTRIBUTE_INTS);
  }
}

function writeTensor(initializer: Initializer, writer: PbfWriter): void {
  for (const dimension of initializer.shape) writer.writeVarintField(1, dimension);
  writer.writeVarintField(2, elementTypeNumbers[initializer.elementType]);
  writer.writeStringField(8, initializer.name);
  if (initializer.data instanceof Uint8Array) {
    writer.writeBytesField(9, initializer.data);
    return;
  }
  const { location, offsetBytes, lengthBytes } = initializer.data;
  for (const [key, value] of Object.entries({ location, offset: offsetBytes, length: lengthBytes })) {
    writer.writeMessage(13, writeStringEntry, { key, value: String(value) });
  }
  writer.writeVarintField(14, DATA_LOCATION_EXTERNAL);
}

function writeStringEntry(entry: { key: string; value: string }, writer: PbfWriter): void {
  writer.writeStringField(1, entry.key);
  writer.writeStringField(2, entry.value);
}

function writeValueInfo(info: ValueInfo, writer: PbfWriter): void {
  writer.writeStringField(1, info.name);
  writer.writeMessage(2, writeType, info);
}

function writeType(info: ValueInfo, writer: PbfWriter): void {
  writer.writeMessage(1, writeTensorType, info);
}

function writeTensorType(info: ValueInfo, writer: PbfWriter): void {
  writer.writeVarintField(1, elementTypeNumbers[info.elementType]);
  if (info.shape !== undefined) writer.writeMessage(2, writeShape, info.shape);
}

function writeShape(shape: readonly (number | string)[], writer: PbfWriter): void {
  for (const dimension of shape) writer.writeMessage(1, writeDimension, dimension);
}

function writeDimension(dimension: number | string, writer: PbfWriter): void {
  if (typeof dimension === 'number') writer.writeVarintField(1, dimension);
  else writer.writeStringField(2, dimension);
}
