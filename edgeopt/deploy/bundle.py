"""The bundle: a folder with the artifact, golden inputs and outputs, a manifest of hashes, and the reports.

It is written to a temporary folder beside its place and renamed when complete; what edgeopt did not write is never
replaced. The manifest covers every file
but the reports, which hold times: two exports of one model with the same options give equal manifests.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from edgeopt.errors import UserError, quoted
from edgeopt.files import followed, made_parents, reading, reason, write_whole, writing
from edgeopt.frontend.inputs import load_sample
from edgeopt.ir.metrics import Reference
from edgeopt.options import declared
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Arrays, Session, TargetOptions
from edgeopt.records.outputs import Error
from edgeopt.records.run import Run
from edgeopt.report.render import html
from edgeopt.report.sections import sections

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
REPORT = "report.json"
REPORT_HTML = "report.html"
PROCESSOR = "processor"
"""Folder for what turns texts, images and sounds into the artifact's inputs."""
_REPORTS = (REPORT, REPORT_HTML)


class _FileEntry(TypedDict):
    path: str
    bytes: int
    sha256: str


class _Golden(TypedDict):
    bound: float
    not_run: str | None
    not_compared: dict[str, str]


class _Target(TypedDict):
    name: str
    device: str
    options: dict[str, Any]


class _Manifest(TypedDict):
    artifact: Annotated[list[str], Field(min_length=1)]
    files: list[_FileEntry]
    golden: _Golden
    target: _Target
    verdict: str
    accepted_difference: str | None


_FORM = TypeAdapter(_Manifest)
"""What is read of a manifest; it holds more."""
_FILES = TypeAdapter(list[_FileEntry])


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``output`` when the block ends without an error.

    Only what the manifest of an earlier bundle lists is ever replaced; a link is written through. Raises UserError
    where ``output`` cannot be written, or is anything but an empty folder or a bundle with nothing else in it.
    """
    with writing(output):
        output = followed(output)
        _refuse_loss(output)
        with made_parents(output):
            folder = Path(tempfile.mkdtemp(prefix=".edgeopt-", dir=output.parent))
            try:
                folder.chmod(0o755)
                yield folder
                _refuse_loss(output)
                _put(folder, output)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, output: Path) -> None:
    """Rename ``folder`` to ``output``; a bundle that is there leaves only once the new one is whole."""
    if not output.exists():
        folder.rename(output)
        return
    with tempfile.TemporaryDirectory(prefix=".edgeopt-", dir=output.parent, ignore_cleanup_errors=True) as old:
        earlier = output.rename(Path(old) / output.name)
        try:
            folder.rename(output)
        except OSError:
            earlier.rename(output)
            raise


def refuse_within(output: Path, others: Iterable[str | os.PathLike[str]]) -> None:
    """Raise UserError where something that an export reads, or writes beside its bundle, lies in the folder that the
    bundle replaces."""
    for other in map(Path, others):
        if _real(other).is_relative_to(_real(output)):
            raise UserError(f"'{other}' lies in '{output}', which the bundle replaces", "choose another folder with -o")


def _real(path: Path) -> Path:
    """Return a path with its links followed; one in a loop of links as it is, where Path.resolve would fail."""
    return Path(os.path.realpath(path))


def _refuse_loss(output: Path) -> None:
    """Raise UserError where something would be lost, or could not be renamed, if ``output`` were replaced."""
    if Path.cwd().is_relative_to(_real(output)):
        raise UserError(f"'{output}' holds the folder that this runs in", "choose another folder with -o")
    if output.is_mount():
        raise UserError(f"'{output}' is a mount point", f"choose a folder inside it: -o {output / 'bundle'}")
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"'{output}' exists and is not a bundle", "choose another folder with -o, or remove it")
    files = _listed(output)
    for paths, fact in (
        (_foreign(output, files), "which edgeopt did not write"),
        (damaged_files(output, files, missing=False), "which was changed since edgeopt wrote it"),
    ):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            raise UserError(
                f"'{output}' holds '{paths[0]}'{more}, {fact}", "choose another folder with -o, or move it elsewhere"
            )


def _listed(folder: Path) -> list[_FileEntry]:
    """Return the entries of the files that a folder's manifest lists; none where it cannot be read."""
    try:
        return _FILES.validate_python(json.loads((folder / MANIFEST).read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _foreign(folder: Path, files: Sequence[_FileEntry]) -> list[str]:
    """Return the paths in a folder that are not among its manifest's files, nor on the way to one of them."""
    listed = [entry["path"] for entry in files]
    own = {MANIFEST, *_REPORTS, *listed} if listed else set()
    own |= {parent.as_posix() for path in listed for parent in PurePosixPath(path).parents}
    os.scandir(folder).close()  # rglob passes over a folder that cannot be read
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(path for path in found if path not in own)


def file_entry(folder: Path, path: str) -> dict[str, Any]:
    """Return ``{path, bytes, sha256}`` of a file in ``folder``."""
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path, "bytes": (folder / path).stat().st_size, "sha256": digest}


def write_companions(folder: Path, files: Iterable[Path]) -> None:
    """Copy the files that came with the model, such as its tokenizer's, to ``processor`` in a bundle."""
    for file in files:
        (folder / PROCESSOR).mkdir(exist_ok=True)
        shutil.copyfile(file, folder / PROCESSOR / file.name)


def write_golden(folder: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write the inputs and the artifact's outputs on them as ``golden.npz``."""
    arrays: dict[str, Any] = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()}
    np.savez(folder / GOLDEN, **arrays)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``manifest.json``: the given facts and the hash of every file in the folder but the reports."""
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    files = [file_entry(folder, path) for path in paths if path not in (MANIFEST, *_REPORTS)]
    content = {"schema_version": SCHEMA_VERSION, **facts, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a bundle's manifest.

    Raises UserError where there is none or it is of another form.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"'{folder}' is not a bundle ({reason(error)})", "give the folder that edgeopt export wrote"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"'{folder}' holds a manifest of another form", "export the model again")
    try:
        _FORM.validate_python(manifest)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"the manifest of '{folder}' is damaged at '{place}'", "export the model again") from error
    _refuse_unlisted(folder, manifest)
    return manifest


def _refuse_unlisted(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise UserError where a file that the bundle consists of has no hash in its manifest."""
    needed = [*manifest["artifact"], *([GOLDEN] if manifest["golden"]["not_run"] is None else [])]
    listed = {entry["path"] for entry in manifest["files"]}
    if path := next((path for path in needed if path not in listed), None):
        raise UserError(f"the manifest of '{folder}' does not list {quoted(path)}", "export the model again")


def write_report(folder: Path, run: Run) -> None:
    """Write a bundle's ``report.json`` and ``report.html``."""
    write_whole(folder / REPORT, run.to_json())
    write_whole(folder / REPORT_HTML, html(sections(run)))


def read_report(folder: Path) -> Run:
    """Return the record in a bundle's ``report.json``.

    Raises UserError where there is none or it cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder", "give the folder of the bundle, which edgeopt export wrote")
    with reading(folder / REPORT, "give the folder that edgeopt export wrote"):
        return Run.from_json((folder / REPORT).read_text("utf-8"))


@dataclass(frozen=True)
class Verification:
    """Outcome of ``verify``: files whose bytes differ, and the golden outputs' error against its bound.

    ``error``: of the worst output; None where nothing was run or nothing can be compared. ``not_compared``: why, by
    output, where none can be; else the outputs that the golden file lacks. ``verdict`` and ``accepted_difference``:
    what the export found when it compared the artifact with the original. ``report_fault``: why ``report.json``, which
    the manifest does not cover, cannot be read.
    """

    files: int
    verdict: str
    accepted_difference: str | None
    damaged: tuple[str, ...] = ()
    error: Error | None = None
    bound: float | None = None
    not_run: str | None = None
    report_fault: str | None = None
    not_compared: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every hash agrees, the report can be read, the artifact, where it could run, gave its golden outputs,
        nothing is missing to compare, and it does not differ from the original, unless that was accepted."""
        runs = self.error is None or self.bound is None or self.error.relative <= self.bound
        intact = not self.damaged and self.report_fault is None
        compared = not self.not_compared and self.verdict != "not compared"
        return intact and runs and compared and (self.verdict != "differs" or self.accepted_difference is not None)


def verify(folder: Path | str) -> Verification:
    """Check a bundle: hashes of all files, then its golden outputs by running the artifact.

    Raises UserError where the folder is not a bundle.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    found = partial(
        Verification,
        len(manifest["files"]),
        manifest["verdict"],
        manifest["accepted_difference"],
        report_fault=_report_fault(folder),
    )
    golden = manifest["golden"]
    if damaged := damaged_files(folder, manifest["files"]):
        return found(damaged, not_run="files differ from the manifest")
    if golden["not_run"] is not None and not (folder / GOLDEN).exists():
        return found(not_run=golden["not_run"])
    target, options = restore(manifest)
    probe = target.probe()
    if not probe.found:
        return found(not_run=f"{target.name} is missing: {probe.install}")
    inputs, expected = read_golden(folder)
    with closing(target.open(folder, options)) as session:
        outputs = session.run(inputs)
    comparison = Reference((expected,), golden["not_compared"]).compare([outputs])
    lacking = {name: f"{GOLDEN} does not hold it" for name in outputs if name not in expected}
    if comparison.worst is None:
        reasons = {one.name: one.reason or "" for one in comparison.outputs}
        return found(not_run="no output can be compared", not_compared={**reasons, **lacking})
    # Whoever changes files may change the manifest too: it may only state a tighter bound than the target's.
    bound = min(golden["bound"], target.golden_bounds[options.precision])
    return found(error=comparison.worst, bound=bound, not_compared=lacking)


def _report_fault(folder: Path) -> str | None:
    try:
        read_report(folder)
    except UserError as error:
        return error.message
    return None


def restore(manifest: Mapping[str, Any]) -> tuple[Any, TargetOptions]:
    """Return the target and options that a manifest names."""
    chosen = manifest["target"]
    target = resolve(f"{chosen['name']}:{chosen['device']}")
    with reading(MANIFEST, "export the model again"):
        declarations = declared(target.Options)
        options = target.Options(**{name: declarations[name].value(given) for name, given in chosen["options"].items()})
        target.check_options(options)
    return target, options


def open_bundle(folder: Path) -> Session:
    """Open a bundle's artifact as its manifest says.

    Raises UserError where the folder is not a bundle, ToolchainMissing where the artifact does not run here.
    """
    target, options = restore(read_manifest(folder))
    session: Session = target.open(folder, options)
    return session


def read_golden(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a bundle's golden inputs and outputs."""
    arrays = load_sample(folder / GOLDEN)
    inputs = {k.removeprefix("input."): v for k, v in arrays.items() if k.startswith("input.")}
    outputs = {k.removeprefix("output."): v for k, v in arrays.items() if k.startswith("output.")}
    return inputs, outputs


def damaged_files(folder: Path, files: Iterable[_FileEntry], missing: bool = True) -> tuple[str, ...]:
    """Return the paths of files that are not in the folder as its manifest lists them, those that are gone too where
    ``missing``."""
    return tuple(entry["path"] for entry in files if not _is_intact(folder, entry, not missing))


def check_intact(folder: Path) -> None:
    """Raise UserError where a file of a bundle differs from its manifest."""
    if damaged := damaged_files(folder, read_manifest(folder)["files"]):
        raise UserError(
            f"'{damaged[0]}' of '{folder}' is missing or differs from the manifest", "export the model again"
        )


def _is_intact(folder: Path, entry: _FileEntry, may_lack: bool) -> bool:
    path = folder / entry["path"]
    if may_lack and not path.exists():
        return True
    inside = _real(path).is_relative_to(_real(folder))
    return inside and path.is_file() and file_entry(folder, entry["path"])["sha256"] == entry["sha256"]
