"""TVM as the source of kernels that we have not: a region in, plain C out, no TVM symbol left.

Relax legalizes and fuses the region, TIR is lowered as for a build but without TVM's packed calling convention: the
buffers of a function become pointers, and so do its larger allocations, which the arena's planner then places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from edgeopt.errors import ToolchainMissing
from edgeopt.ir.program import op_name
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.lower.region import Region
from edgeopt.targets.mcu.nodes.generated import Code, Generated
from edgeopt.targets.mcu.plan.first_fit import Buffer, plan
from edgeopt.targets.mcu.tvm.module import RegionModule

INSTALL = 'pip install "edgeopt[tvm]"'
_ON_STACK = 64  # bytes: smaller allocations stay local arrays
_PRELUDE = re.compile(r"^(#define TVM_EXPORTS|#include .*|void\* __tvm_ffi__library_ctx.*|// tvm target.*)\n", re.M)
_EXTERN = re.compile(r'#ifdef __cplusplus\nextern "C"\n#endif\n')
_LOCAL = re.compile(r"^(\s+\w+ \w+\[\d+\]);$", re.M)
_LIBRARY = re.compile(r"^TVM_DLL \w+ (?!generated_)\w+\([^;{]*\);\n", re.M)


def compile_region(region: Region, sources: Sequence[Tensor], target: Tensor) -> Generated:
    """Return the node that computes a region of ``sources`` as C.

    Raises ToolchainMissing without TVM, ValueError, with the reason, where TVM cannot compile it.
    """
    name, module = region.end.name, RegionModule(region, sources, target)
    code = _generate(f"generated_{name}", module, sources, target)
    operators = tuple(dict.fromkeys(map(op_name, region.nodes)))
    inputs = tuple(source.name for source in sources)
    return Generated(name, inputs, target.name, module.run, code, target.shape, operators)


def _generate(prefix: str, module: RegionModule, sources: Sequence[Tensor], target: Tensor) -> Code:
    """Compile a region; ``prefix`` makes its C names unique and starts with ``generated_``."""
    try:
        import tvm
    except ImportError as error:
        raise ToolchainMissing("TVM, which would compile it,", INSTALL) from error
    examples = tuple(torch.zeros(1, *tensor.shape, dtype=torch.int8) for tensor in sources)
    try:
        relax = _legalized(module, examples)
        functions, workspaces = _lowered(relax, prefix)
        source = tvm.get_global_func("target.build.c")(functions, _target()).inspect_source()
    except Exception as error:  # TVM raises what it likes; the reason goes into the list of what cannot be placed
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"TVM cannot compile it: {lines[-1] if lines else error!r}") from error
    return _assemble(prefix, _plain_c(source), relax["main"], workspaces, target.size)


@cache
def _target() -> Any:
    """Plain C, with what TVM does not say of it: ``fabsf`` is in libm like the others."""
    import tvm
    from tvm import tirx

    def absolute(call: Any) -> Any:
        return tirx.call_pure_extern(call.ty, "fabsf", *call.args) if call.ty.dtype == "float32" else call

    tirx.op.register_intrin_lowering("tirx.fabs", target="c", f=absolute)
    return tvm.target.Target({"kind": "c"})


def _legalized(module: RegionModule, examples: tuple[torch.Tensor, ...]) -> Any:
    """Relax with fused TIR functions and a straight-line ``main``."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    with torch.no_grad():
        exported = torch.export.export(module.eval(), examples).run_decompositions({})
    t = relax.transform
    passes = [
        t.DecomposeOpsForInference(), t.FoldConstant(), t.CanonicalizeBindings(), t.LegalizeOps(),
        t.AnnotateTIROpPattern(), t.FoldConstant(), t.FuseOps(), t.FuseTIR(), t.DeadCodeElimination(),
        t.RewriteDataflowReshape(), t.ToNonDataflow(), t.RemovePurityChecking(), t.CallTIRRewrite(),
    ]  # fmt: skip
    with tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(from_exported_program(exported, custom_convert_map=_CONVERTED))


def _largest(node: torch.fx.Node, importer: Any) -> Any:
    from tvm import relax

    x, *given = node.args
    dims, keeps = (*given, False)[:2] if given else ([], False)
    return importer.block_builder.emit(relax.op.max(importer.env[x], dims or None, keeps))


_CONVERTED = {"amax.default": _largest}
"""What TVM's importer does not know by itself."""


def _lowered(module: Any, prefix: str) -> tuple[Any, dict[str, list[int]]]:
    """TIR functions with plain pointers, and the bytes of the workspaces that each takes as further arguments."""
    import tvm
    from tvm import relax, s_tir, tirx

    bindings = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    called = {v.op for v in bindings if isinstance(v, relax.Call) and isinstance(v.op, tvm.ir.GlobalVar)}
    own = {var: f for var, f in module.functions.items() if isinstance(f, tirx.PrimFunc) and var in called}
    functions, s, t = _inlined(tvm.IRModule(own), [var.name_hint for var in own]), s_tir.transform, tirx.transform
    passes = [
        s.CanonicalizeLoop(), s.LowerInitBlock(), s.PlanAndUpdateBufferAllocationLocation(), s.ConvertBlocksToOpaque(),
        s.CompactBufferAllocation(), s.LowerMatchBuffer(), s.StmtSimplify(), s.LowerOpaqueBlock(), t.FlattenBuffer(),
        t.NarrowDataType(32), s.LoopPartition(), t.VectorizeLoop(False), t.StorageRewrite(), s.HoistIfThenElse(),
        t.UnrollLoop(), t.StmtSimplify(), t.RemoveNoOp(), s.RewriteUnsafeSelect(), t.CommonSubexprElim(),
    ]  # fmt: skip
    with tvm.transform.PassContext(opt_level=3):
        lowered = tvm.transform.Sequential(passes)(functions)
    unpacked, workspaces = {}, {}
    for var, function in lowered.functions.items():
        name = f"{prefix}_{var.name_hint}"
        unpacked[tvm.ir.GlobalVar(name)], workspaces[var.name_hint] = _unpacked(function, name)
    return t.LowerIntrin()(tvm.IRModule(unpacked)), workspaces


def _inlined(functions: Any, names: Sequence[str]) -> Any:
    """Elementwise stages computed where they are read: no memory, and one loop instead of many."""
    from tvm import s_tir

    schedule = s_tir.Schedule(functions)
    for name in names:
        for block in schedule.get_child_blocks(schedule.get_sblock("root", func_name=name)):
            try:
                schedule.compute_inline(block)
            except s_tir.ScheduleError:  # a reduction, or the function's result
                continue
    return schedule.mod


def _unpacked(function: Any, name: str) -> tuple[Any, list[int]]:
    """A function of pointers: to its buffers, then to its allocations that are too large for the stack."""
    import tvm_ffi
    from tvm import tirx

    pointers = [tirx.Var(f"{p.name}_p", p.data.ty) for p in function.params]
    head = [tirx.DeclBuffer(p, data=v) for p, v in zip(function.params, pointers, strict=True)]
    sizes: list[int] = []

    def take(allocation: Any) -> Any:
        buffer = allocation.buffer
        size = int(np.prod([int(extent) for extent in buffer.shape])) * np.dtype(str(buffer.dtype)).itemsize
        if size <= _ON_STACK:
            return allocation
        pointers.append(tirx.Var(f"{buffer.name}_ws", buffer.data.ty))
        sizes.append(size)
        return tirx.DeclBuffer(buffer, data=pointers[-1])

    body = tvm_ffi.structural_map(function.body, [(tirx.AllocBuffer, take)], order="pre")
    unpacked = tirx.PrimFunc(pointers, tirx.SeqStmt([*head, body]), ret_type=None)
    for key, value in (("global_symbol", name), ("tirx.noalias", True), ("target", _target())):
        unpacked = unpacked.with_attr(key, value)
    return unpacked, sizes


def _plain_c(source: str) -> str:
    """The C source without TVM's headers, exports and prototypes of libm, small arrays zero before they are summed."""
    for pattern in (_PRELUDE, _EXTERN, _LIBRARY):
        source = pattern.sub("", source)
    source = _LOCAL.sub(r"\1 = {0};", source)  # compilers cannot see that every element is written before it is read
    return source.replace("TVM_DLL ", "static ").strip() + "\n"


def _assemble(prefix: str, functions: str, main: Any, workspaces: dict[str, list[int]], size: int) -> Code:
    """Walk ``main``: calls in order, constants, and a plan of everything between them.

    A result that no call writes, because it is a constant or an operand, is copied: ``size`` bytes.
    """
    names = {parameter: f"x{i}" for i, parameter in enumerate(main.params)}
    walk = _Walk(prefix, names, workspaces)
    for block in main.body.blocks:
        for binding in block.bindings:
            walk.bind(binding.var, binding.value)
    result = walk.operand(main.body.body)
    buffers = [b for b in walk.buffers() if b.name != result]
    placed = plan(buffers, [])
    arguments = {b.name: f"(char *)scratch + {placed.offsets[b.name]}" for b in buffers} | {result: "y"}
    calls = tuple(
        f"{name}({', '.join(f'(void *)({arguments.get(a, a)})' for a in operands)});" for name, operands in walk.calls
    )
    if result not in walk.sizes:
        calls = (*calls, f"memcpy(y, {result}, {size});")
    return Code(functions, calls, tuple(walk.constants), placed.arena_bytes)


class _Walk:
    """What ``main`` does, as names: of operands, of buffers that it allocates, of constants.

    ``names`` are by variable: several of TVM's may be called alike.
    """

    def __init__(self, prefix: str, names: dict[Any, str], workspaces: dict[str, list[int]]) -> None:
        self.prefix, self.names, self.workspaces = prefix, names, workspaces
        self.sizes: dict[str, int] = {}
        self.constants: list[np.ndarray] = []
        self.calls: list[tuple[str, list[str]]] = []

    def bind(self, variable: Any, value: Any) -> None:
        import tvm
        from tvm import relax

        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
            self._call(value.op.name_hint, value.args)
        elif isinstance(value, relax.Call) and isinstance(value.op, relax.ExternFunc):
            raise ValueError(f"TVM leaves {value.op.global_symbol} to its runtime, which is not in the library")
        elif isinstance(value, relax.Call) and value.op.name == "relax.builtin.alloc_tensor":
            shape, dtype = [int(extent) for extent in value.args[0].values], str(value.args[1].value)
            name = f"buffer_{len(self.sizes)}"
            self.sizes[name] = int(np.prod(shape)) * np.dtype(dtype).itemsize
            self.names[variable] = name
        elif isinstance(value, relax.Call):  # a reshape: the same bytes
            self.names[variable] = self.operand(value.args[0])
        else:  # an alias, or the tuple of the one result
            self.names[variable] = self.operand(value.fields[0] if isinstance(value, relax.Tuple) else value)

    def operand(self, value: Any) -> str:
        """The name of a value: of a buffer, an operand, or a constant, which is numbered with this."""
        if value in self.names:
            return self.names[value]
        if not hasattr(value, "value"):
            raise ValueError(f"TVM makes a {type(value).__name__} of it, which is not a call, tensor or constant")
        self.constants.append(value.value.numpy())
        return f"{self.prefix}_constant_{len(self.constants) - 1}"

    def _call(self, function: str, arguments: Any) -> None:
        operands = [self.operand(argument) for argument in arguments]
        for i, size in enumerate(self.workspaces[function]):
            workspace = f"workspace_{len(self.calls)}_{i}"
            self.sizes[workspace] = size
            operands.append(workspace)
        self.calls.append((f"{self.prefix}_{function}", operands))

    def buffers(self) -> list[Buffer]:
        """Lives of everything allocated, in calls."""
        lives = {name: [i for i, (_, operands) in enumerate(self.calls) if name in operands] for name in self.sizes}
        return [Buffer(name, self.sizes[name], min(life), max(life)) for name, life in lives.items() if life]
