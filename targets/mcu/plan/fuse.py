"""What runs as one kernel.

The residual sum goes into the convolution in front of it, which then writes over the other operand:

    c = conv(x); y = add(c, r)   =>   y = conv(x) + r, in the memory of r

It applies where c has no other reader, r has no later reader and is not a network input, and the convolution is the
later of the two operands' producers (so that r exists when it runs). The bytes are the same: c is rounded to int8
as before.

Attention runs head by head and row by row, so that only two rows of scores exist at a time:

    s = q k; p = softmax(s); y = p v   =>   y = attention(q, k, v)

It applies where s and p have no other reader. Its heads may also run one after the other, so that keys and values
exist for one head at a time, and each head's output is written over its queries:

    k = K n; v = V n; y = attention(q, k, v)   =>   for each head h: q[h] = attention(q[h], K[h] n, V[h] n); y = q

The norm n is computed anew for each head. It applies where k and v are linears of one norm that nothing else reads.
Source: Liang et al., MCUFormer, NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import replace

from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.graph.strides import Strides
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.nodes.add import Add
from edgeopt.targets.mcu.nodes.attention import Attention
from edgeopt.targets.mcu.nodes.conv2d import Conv2d
from edgeopt.targets.mcu.nodes.matmul import MatMul
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.norm import Norm
from edgeopt.targets.mcu.nodes.softmax import Softmax


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
        nodes[nodes.index(mix)] = Attention(mix.name, inputs, mix.output, scores, softmax, mix, samples=mix.samples)
        nodes.remove(scores)
        nodes.remove(softmax)
    return _with_nodes(graph, nodes)


def split_heads(graph: IntegerGraph) -> IntegerGraph:
    """Return the graph with the heads of every attention one after the other."""
    tensors, nodes = dict(graph.tensors), list(graph.nodes)
    producer = {node.output: node for node in graph.nodes}
    for attention in [node for node in graph.nodes if isinstance(node, Attention) and not node.over]:
        query, key, value = (producer.get(name) for name in attention.inputs)
        if not isinstance(key, Conv2d) or not isinstance(value, Conv2d) or not _has_heads(graph, attention):
            continue
        norm = producer.get(key.inputs[0])
        if not isinstance(norm, Norm) or value.inputs != key.inputs or query is None:
            continue
        last = attention.inputs[0]
        heads: list[Node] = []
        for head in range(attention.scores.a.sizes[0]):
            normed = norm if head == 0 else _copy(tensors, norm, head, norm.inputs)
            own = [_head(tensors, layer, head, attention, normed.output) for layer in (key, value)]
            last_head = head == attention.scores.a.sizes[0] - 1
            name = attention.output if last_head else f"{attention.output}.{head}"
            tensors[name] = replace(tensors[attention.output], name=name)
            heads += [
                *([] if head == 0 else [normed]),
                *own,
                _attend(attention, head, (last, *(n.output for n in own)), name),
            ]
            last = name
        at = nodes.index(attention)
        nodes[at : at + 1] = heads
        nodes.remove(key)
        nodes.remove(value)
    return _with_nodes(replace(graph, tensors=tensors), nodes)


def _has_heads(graph: IntegerGraph, attention: Attention) -> bool:
    """Whether heads lie side by side in queries, keys, values and output, which nothing else reads."""
    scores, mix = attention.scores, attention.mix
    batch, rows, size = scores.a.sizes
    width, out = batch * size, mix.b.sizes[2]
    side_by_side = (
        (scores.a.offset, scores.a.steps) == (0, (size, width, 1))
        and (scores.b.offset, scores.b.steps) == (0, (size, 1, width))
        and (mix.b.offset, mix.b.steps) == (0, (out, batch * out, 1))
        and (mix.y.offset, mix.y.steps) == (0, (out, batch * out, 1))
    )
    alone = all(graph.users(name) == [graph.nodes.index(attention)] for name in attention.inputs)
    inputs = {*graph.inputs, *graph.outputs}
    return batch > 1 and rows > 1 and out == size and side_by_side and alone and not inputs & {*attention.inputs}


def _copy(tensors: dict[str, Tensor], node: Norm, head: int, inputs: tuple[str, ...]) -> Norm:
    name = f"{node.output}.{head}"
    tensors[name] = replace(tensors[node.output], name=name)
    return replace(node, name=f"{node.name}.{head}", inputs=inputs, output=name)


def _head(tensors: dict[str, Tensor], layer: Conv2d, head: int, attention: Attention, x: str) -> Conv2d:
    """The rows of a linear that belong to a head."""
    size = attention.scores.a.sizes[2]
    rows = slice(head * size, (head + 1) * size)
    name = f"{layer.output}.{head}"
    height, width, _ = tensors[layer.output].shape
    tensors[name] = replace(tensors[layer.output], name=name, shape=(height, width, size))
    return replace(
        layer, name=f"{layer.name}.{head}", inputs=(x,), output=name,
        weights=layer.weights[rows], bias=layer.bias[rows], multiplier=layer.multiplier[rows],
    )  # fmt: skip


def _attend(attention: Attention, head: int, inputs: tuple[str, ...], output: str) -> Attention:
    """Attention of one head: its queries and output in their places, keys and values of this head alone."""
    scores, mix = attention.scores, attention.mix
    _, rows, size = scores.a.sizes
    columns, width = scores.b.sizes[2], scores.a.steps[1]
    own = Strides(head * size, (1, rows, size), (0, width, 1))
    one_row = Strides(0, (1, rows, columns), (0, columns, 1))
    return replace(
        attention, name=f"{attention.name}.{head}", inputs=inputs, output=output, over=True,
        scores=replace(
            scores, a=own, b=Strides(0, (1, size, columns), (0, 1, size)), y=one_row, shape=(1, rows, columns)
        ),
        mix=replace(mix, a=one_row, b=Strides(0, (1, columns, size), (0, size, 1)), y=own),
    )  # fmt: skip


def _is_attention(scores: MatMul, mix: MatMul) -> bool:
    """Whether the second product reads the rows that the first one wrote, in their order."""
    columns = scores.b.sizes[2]
    in_rows = (scores.a.sizes[1] * columns, columns, 1)
    return scores.samples == mix.samples and all(
        strides.sizes == (*scores.a.sizes[:2], columns)
        and strides.offset == 0
        and all(size == 1 or step == row for size, step, row in zip(strides.sizes, strides.steps, in_rows, strict=True))
        for strides in (scores.y, mix.a)
    )


def _with_nodes(graph: IntegerGraph, nodes: list[Node]) -> IntegerGraph:
    used = {name for node in nodes for name in (*node.inputs, node.output)} | {*graph.inputs}
    return replace(graph, nodes=tuple(nodes), tensors={k: v for k, v in graph.tensors.items() if k in used})
