"""Which of transformers' classes a folder's configuration names, or a task of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from edgeopt.errors import UserError, nearest, quoted
from edgeopt.foreign import foreign
from edgeopt.frontend.huggingface.folder import CONFIG, Folder

BODIES = ("feature-extraction", "image-feature-extraction")
"""Tasks of a model without its head."""


def configuration(library: ModuleType, folder: Folder) -> Any:
    """Return the configuration as transformers' object.

    Raises UserError where its type is unknown or its values are not legal.
    """
    known, kind = library.CONFIG_MAPPING, folder.config.get("model_type")
    remedy = f"use the version of transformers that it was saved with (here: {library.__version__})"
    with foreign(f"'{folder.path / CONFIG}' is not a configuration that transformers takes", remedy):
        if "AutoConfig" in folder.own_code:
            return library.AutoConfig.from_pretrained(folder.path, trust_remote_code=True, local_files_only=True)
        if not isinstance(kind, str):
            raise UserError(f"'{folder.path / CONFIG}' names no model_type", "save the folder with save_pretrained")
        if kind not in known:
            near = nearest(kind, known.keys())
            hint = near if near.startswith("did you mean") else remedy
            raise UserError(f"model_type '{kind}' is not known to transformers {library.__version__}", hint)
        return known[kind].from_dict(_computed_here(folder.config))


def _computed_here(content: Any) -> Any:
    """Return a configuration without what names the kernels to compute with: transformers would fetch and run them."""
    if not isinstance(content, dict):
        return content
    return {key: _computed_here(value) for key, value in content.items() if "_implementation" not in key}


def model_class(library: ModuleType, folder: Folder, config: Any, task: str | None) -> Any:
    """Return the class of the model: the architecture that the configuration names, or else that of the task. The
    tasks of ``BODIES`` are the architecture's too, whose head is taken off later: what is trained is then all there.

    Raises UserError where there is none.
    """
    names = [str(name) for name in folder.config.get("architectures") or ()]
    if task is not None:
        classes = _classes(library, folder, config, task)
        if not (task in BODIES and names):
            return classes[0]
    for name in names[:1]:
        if reference := next((path for path in folder.own_code.values() if path.endswith(f".{name}")), None):
            return _of_folder(folder, reference)
        if isinstance(found := getattr(library, name, None), type) and issubclass(found, library.PreTrainedModel):
            return found
    lacked = f"the architecture {quoted(names[0])}, which transformers {library.__version__} lacks" if names else ""
    fact = lacked or "no task"
    known = ", ".join(_tasks(library, folder, config)) or "feature-extraction"
    raise UserError(f"'{folder.path / CONFIG}' names {fact}", f"name the task with --task, one of: {known}")


def _classes(library: ModuleType, folder: Folder, config: Any, task: str) -> list[Any]:
    """Return the classes that do a task with models of this configuration.

    Raises UserError where there is none.
    """
    every = library.pipelines.SUPPORTED_TASKS
    task = library.pipelines.TASK_ALIASES.get(task, task)
    if task not in every:
        raise UserError(f"task '{task}' is not known", nearest(task, every))
    if found := list(_found(folder, config, every[task]["pt"])):
        return found
    known = ", ".join(_tasks(library, folder, config)) or "none"
    raise UserError(f"models of type '{config.model_type}' have no task '{task}'", f"name one of theirs: {known}")


def _tasks(library: ModuleType, folder: Folder, config: Any) -> list[str]:
    """Return the tasks that models of this configuration can be trained for."""
    every = library.pipelines.SUPPORTED_TASKS
    return [task for task, entry in every.items() if next(_found(folder, config, entry["pt"]), None) is not None]


def _found(folder: Folder, config: Any, autos: tuple[Any, ...]) -> Iterator[Any]:
    for auto in autos:
        if auto.__name__ in folder.own_code:
            yield _of_folder(folder, folder.own_code[auto.__name__])
        elif type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            yield found[0] if isinstance(found, tuple | list) else found


def _of_folder(folder: Folder, reference: str) -> Any:
    """Return a class that the folder's own code defines, which is trusted."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    with foreign(f"the code of '{folder.path}' fails", "check that all its files are there"):
        return get_class_from_dynamic_module(reference, str(folder.path), local_files_only=True)
