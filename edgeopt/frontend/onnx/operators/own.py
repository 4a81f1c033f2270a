"""edgeopt's own functions, as it writes them to ONNX, are its own operators again."""

from __future__ import annotations
