"""What a Hugging Face folder holds, read without running anything: configuration, weights, files of the tokenizer.

Raises UserError where the folder is not whole, names files outside itself, or needs code of its own to be run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from edgeopt.errors import UserError, quoted
from edgeopt.files import reading

CONFIG = "config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_ADAPTER = "adapter_config.json"
_COMPANIONS = (
    *(CONFIG, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model"),
    *("*processor_config.json", "chat_template*"),
)
"""Files that a runtime needs beside the model: what turns texts, images and sounds into its inputs, and labels."""
_AGAIN = "download or save the folder again"


@dataclass(frozen=True)
class Folder:
    """A folder as ``save_pretrained`` writes it; ``trust``: its pickles may be read, and its code may run."""

    path: Path
    trust: bool = False

    def check(self) -> None:
        """Raise UserError where the folder cannot be read safely: nothing need be imported to tell."""
        _ = self.config, self.weight_files

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        content = self.json(CONFIG)
        if content.get("auto_map") and not self.trust:
            raise UserError(
                f"'{self.path}' brings code of its own: its {CONFIG} names {quoted(content['auto_map'])}",
                "pass --trust if you trust where it comes from: that code is then run",
            )
        if isinstance(method := content.get("quantization_config"), Mapping):
            raise UserError(
                f"the weights in '{self.path}' are quantized by '{method.get('quant_method', 'an unnamed method')}'",
                "give the folder of the model before it was quantized",
            )
        return content

    @property
    def own_code(self) -> dict[str, str]:
        """Classes that the folder's own code defines, by the class of transformers that they stand for."""
        named = self.config.get("auto_map")
        pairs = named.items() if isinstance(named, Mapping) else ()
        return {name: path for name, path in pairs if isinstance(path, str)}

    def json(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the object in a JSON file of the folder; ``default`` where there is no such file."""
        if default is not None and not (self.path / name).exists():
            return default
        file = self._own(name)
        with reading(file, _AGAIN):
            content = json.loads(file.read_text("utf-8"))
        if not isinstance(content, dict):
            raise UserError(f"'{file}' holds no JSON object but {quoted(content)}", _AGAIN)
        return content

    @cached_property
    def weight_files(self) -> tuple[Path, ...]:
        """The files of the weights, the shards in the order of their names."""
        for name, is_index in ((_WEIGHTS, False), (_INDEX, True), *zip(_PICKLES, (False, True), strict=True)):
            if (self.path / name).exists():
                if name in _PICKLES and not self.trust:
                    raise UserError(
                        f"the weights in '{self.path}' are a pickle ({name}), and loading it could run code",
                        "save them as safetensors with transformers: AutoModel.from_pretrained(folder)"
                        ".save_pretrained(new_folder) with the class of its task; or pass --trust",
                    )
                return self._shards(name) if is_index else (self._own(name),)
        if (self.path / _ADAPTER).exists():
            raise UserError(
                f"'{self.path}' holds an adapter alone", "merge it into its model with peft: model.merge_and_unload()"
            )
        raise UserError(f"'{self.path}' holds no weights", f"put {_WEIGHTS} there, or {_INDEX} and what it names")

    def _shards(self, index: str) -> tuple[Path, ...]:
        names = self.json(index).get("weight_map")
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise UserError(f"'{self.path / index}' names no files of weights", _AGAIN)
        return tuple(self._own(name) for name in sorted(set(names.values())))

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the tensors of all files of weights by name."""
        state: dict[str, torch.Tensor] = {}
        for file in self.weight_files:
            with reading(file, _AGAIN):
                is_safe = file.suffix == ".safetensors"
                state |= load_file(file) if is_safe else torch.load(file, map_location="cpu", weights_only=True)
        return state

    def companions(self) -> tuple[Path, ...]:
        """Return the files that a runtime needs beside the model."""
        found = {file for pattern in _COMPANIONS for file in self.path.glob(pattern) if file.is_file()}
        return tuple(self._own(file.name) for file in sorted(found - set(self.path.glob("*.index.json"))))

    def sha256(self) -> str:
        """Return the SHA-256 over the names and contents of the configuration and the weights."""
        digest = hashlib.sha256()
        for file in (self._own(CONFIG), *self.weight_files):
            with file.open("rb") as stream:
                digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()

    def _own(self, name: str) -> Path:
        """Return the path of a file that the folder holds itself, or by a link into the cache it was downloaded to."""
        file = self.path / name
        if Path(name).name != name or not any(file.resolve().is_relative_to(home) for home in self._homes()):
            raise UserError(f"'{self.path}' names the file {quoted(name)}, which lies outside of it", "do not use it")
        if not file.is_file():
            raise UserError(f"'{self.path}' lacks the file {quoted(name)}", _AGAIN)
        return file

    def _homes(self) -> Iterator[Path]:
        """Yield where its files may lie: in the folder; a snapshot of the Hub's cache links to the blobs beside it."""
        own = self.path.resolve()
        yield own
        if own.parent.name == "snapshots":
            yield own.parents[1] / "blobs"
