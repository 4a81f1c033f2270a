"""A plug-in of mypy: what a call of torch's returns, where torch says Any.

``nn.Module.__call__`` is ``Callable[..., Any]`` to torch's own types, so that a forward method that ends in a layer
would return Any. The call of a module returns what its forward method does; that of ``nn.Sequential``, which says
nothing, a tensor, and so does that of edgeopt's operators. A plain ``nn.Module`` stays Any.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.nodes import FuncDef, TypeInfo
from mypy.plugin import MethodContext, Plugin
from mypy.types import CallableType, Instance, Type

MODULE = "torch.nn.modules.module.Module"
TENSOR = "torch._tensor.Tensor"
RETURN_TENSORS = ("torch.nn.modules.container.Sequential", "torch._library.custom_ops.CustomOpDef")


class TypedCalls(Plugin):
    """Types the calls of modules and of operators."""

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        """Return what types a call, None for other methods; ``fullname`` is that of class and method."""
        class_name, _, method = fullname.rpartition(".")
        called = self._class(class_name) if method == "__call__" else None
        if called is None or not (class_name in RETURN_TENSORS or called.has_base(MODULE)):
            return None
        forward = called.get("forward")
        declared = forward.node.type if forward and isinstance(forward.node, FuncDef) else None
        if class_name in RETURN_TENSORS and (tensor := self._class(TENSOR)):
            return lambda context: Instance(tensor, [])
        return lambda context: declared.ret_type if isinstance(declared, CallableType) else context.default_return_type

    def _class(self, name: str) -> TypeInfo | None:
        symbol = self.lookup_fully_qualified(name)
        return symbol.node if symbol and isinstance(symbol.node, TypeInfo) else None


def plugin(version: str) -> type[Plugin]:
    """Return the plug-in, as mypy asks for it."""
    return TypedCalls
