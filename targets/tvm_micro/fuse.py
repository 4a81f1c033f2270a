"""What runs as one kernel.

The residual sum goes into the convolution in front of it, which then writes over the other operand:

    c = conv(x); y = add(c, r)   =>   y = conv(x) + r, in the memory of r

It applies where c has no other reader, r has no later reader and is no network input, and the convolution is the
later of the two operands' producers (so that r exists when it runs). The bytes are the same: c is rounded to int8
as before.

Attention runs head by head and row by row, so that only two rows of scores exist at a time:

    s = q k; p = softmax(s); y = p v   =>   y = attention(q, k, v)

It applies where s and p have no other reader.
"""

from __future__ import annotations

from dataclasses import replace

from .integer_graph import Add, Attention, Conv2d, IntegerGraph, MatMul, Node, Softmax


def fuse_residuals(graph: IntegerGraph) -> IntegerGraph:
    """Return the graph with every such sum fused."""
    nodes = list(graph.nodes)
    producer = {node.output: node for node in nodes}
    for add in [node for node in nodes if isinstance(node, Add)]:
        if len(set(add.inputs)) < 2 or any(name not in producer for name in add.inputs):
            continue
        operands = [producer[name] for name in add.inputs]
        later = max((0, 1), key=lambda i: nodes.index(operands[i]))
        conv, other = operands[later], add.inputs[1 - later]
        readers = [i for i in graph.users(other) if graph.nodes[i] is not add]
        if not isinstance(conv, Conv2d) or conv.residual or len(graph.users(conv.output)) != 1:
            continue
        if other in graph.outputs or any(graph.nodes.index(conv) <= i for i in readers):
            continue
        factors = add.factors if later == 0 else replace(add.factors, mul_a=add.factors.mul_b, mul_b=add.factors.mul_a)
        fused = replace(conv, inputs=(*conv.inputs, other), output=add.output, residual=replace(add, factors=factors))
        nodes[nodes.index(conv)] = fused
        nodes.remove(add)
        producer[add.output] = fused
    return _with_nodes(graph, nodes)


def fuse_attention(graph: IntegerGraph) -> IntegerGraph:
    """Return the graph with every product, softmax and product as one node."""
    nodes = list(graph.nodes)
    producer = {node.output: node for node in nodes}
    for mix in [node for node in nodes if isinstance(node, MatMul)]:
        softmax = producer.get(mix.inputs[0])
        scores = producer.get(softmax.inputs[0]) if isinstance(softmax, Softmax) else None
        if not isinstance(softmax, Softmax) or not isinstance(scores, MatMul) or not _is_attention(scores, mix):
            continue
        if any(len(graph.users(node.output)) != 1 or node.output in graph.outputs for node in (scores, softmax)):
            continue
        inputs = (*scores.inputs, mix.inputs[1])
        nodes[nodes.index(mix)] = Attention(mix.name, inputs, mix.output, scores, softmax, mix)
        nodes.remove(scores)
        nodes.remove(softmax)
    return _with_nodes(graph, nodes)


def _is_attention(scores: MatMul, mix: MatMul) -> bool:
    """Whether the second product reads the rows that the first one wrote, in their order."""
    columns = scores.b.sizes[2]
    in_rows = (scores.a.sizes[1] * columns, columns, 1)
    return all(
        strides.sizes == (*scores.a.sizes[:2], columns)
        and strides.offset == 0
        and all(size == 1 or step == row for size, step, row in zip(strides.sizes, strides.steps, in_rows, strict=True))
        for strides in (scores.y, mix.a)
    )


def _with_nodes(graph: IntegerGraph, nodes: list[Node]) -> IntegerGraph:
    used = {name for node in nodes for name in (*node.inputs, node.output)} | {*graph.inputs}
    return replace(graph, nodes=tuple(nodes), tensors={k: v for k, v in graph.tensors.items() if k in used})
