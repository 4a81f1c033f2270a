"""The residual sum goes into the convolution in front of it, which then writes over the other operand.

    c = conv(x); y = add(c, r)   =>   y = conv(x) + r, in the memory of r

It applies where c has no other reader, r has no later reader and is no network input, and the convolution is the
later of the two operands' producers (so that r exists when it runs). The bytes are the same: c is rounded to int8
as before.
"""

from __future__ import annotations

from dataclasses import replace

from .integer_graph import Add, Conv2d, IntegerGraph


def fuse_residuals(graph: IntegerGraph) -> IntegerGraph:
    """Return the graph with every such sum fused."""
    nodes = list(graph.nodes)
    producer = {node.output: node for node in nodes}
    for add in [node for node in nodes if isinstance(node, Add)]:
        if add.inputs[0] == add.inputs[1] or any(name not in producer for name in add.inputs):
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
    used = {name for node in nodes for name in (*node.inputs, node.output)} | {*graph.inputs}
    return replace(graph, nodes=tuple(nodes), tensors={k: v for k, v in graph.tensors.items() if k in used})
