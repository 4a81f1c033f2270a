"""What to test a pass or a target of your own with; part of the public interface."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.utils._pytree as pytree

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND
from edgeopt.errors import PassError, UserError
from edgeopt.ir.context import EMPTY, Context
from edgeopt.ir.convert import from_exported
from edgeopt.ir.metrics import compare
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program, to_numpy
from edgeopt.passes.order import check_requirements, check_stages
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Artifact, Session, Target, TargetOptions

# -- passes --------------------------------------------------------------------------------------------


def to_program(module: torch.nn.Module, inputs: Sequence[Any], dynamic_shapes: Any = None) -> Program:
    """Return a module as a Program; it is put into eval mode. ``dynamic_shapes`` as torch.export takes them."""
    apart = pytree.tree_map_only(torch.Tensor, torch.clone, tuple(inputs))  # one tensor twice would be one input
    with torch.no_grad():
        exported = torch.export.export(module.eval(), apart, dynamic_shapes=dynamic_shapes)
    return from_exported(exported)


def assert_pass(
    pass_: Pass | Pipeline,
    model: Program | torch.nn.Module,
    inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
    *,
    bound: float = EXACT_BOUND,
    changes: bool | None = None,
    context: Context = EMPTY,
) -> PassResult:
    """Assert that a pass keeps its word on a model, and return what it did.

    Asserted are: the outputs on ``inputs`` (in the order of ``program.inputs``, or by name) move by at most
    ``bound`` relative to their largest value; ``changed`` is the truth, and is ``changes`` where that is given;
    the given program is left as it was; the invariants hold; a second run changes nothing. ``context`` has what the
    pass needs.
    """
    program = model if isinstance(model, Program) else to_program(model, tuple(inputs))
    named = inputs if isinstance(inputs, Mapping) else _by_name(program, inputs)
    sample = {name: to_numpy(value) for name, value in named.items()}
    result, again = _run_twice(pass_, program, context)
    error = compare(program.run(sample), result.program.run(sample))
    assert error.relative <= bound, f"{pass_.name} moved the outputs by {error.relative:.2e} (bound {bound:.0e})"
    assert changes is None or result.changed is changes, f"{pass_.name} says changed={result.changed}\n{program.text()}"
    assert not again.changed, (
        f"{pass_.name} is not idempotent:\n{result.program.text()}\nbecame\n{again.program.text()}"
    )
    return result


def _run_twice(pass_: Pass | Pipeline, program: Program, context: Context) -> tuple[PassResult, PassResult]:
    # The driver is what holds a pass to its claim and its invariants.
    driver = pass_ if isinstance(pass_, Pipeline) else Pipeline([pass_])
    try:
        result = driver(program, context)
        return result, driver(result.program, context)
    except PassError as error:
        raise AssertionError(error.message) from error


def _by_name(program: Program, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {spec.name: value for spec, value in zip(program.inputs, inputs, strict=True)}


# -- targets -------------------------------------------------------------------------------------------


class ContractModel(torch.nn.Module):
    """A small model with what trips targets up: a batch norm, an integer and a boolean input, an output that
    is an input, one that is a constant, one that is returned twice, and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 4)
        self.classes = torch.nn.Buffer(torch.arange(4))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4

    def forward(self, image: torch.Tensor, token: torch.Tensor, keep: torch.Tensor) -> dict[str, torch.Tensor]:
        """``image`` [N, 3, 8, 8] float32, ``token`` [N] int64, ``keep`` [N] bool."""
        features = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        logits = self.head(features) * keep.unsqueeze(1)
        return {
            "logits": logits,
            "again": logits,
            "next_token": token + 1,
            "image_out": image,
            "classes": self.classes,
            "total": logits.sum(),
        }


class TargetContract:
    """The contract of a target, as tests: inherit, name the target, and let pytest collect the subclass.

        class TestMine(TargetContract):
            target = "mine"

    Override ``options``, ``bound`` (largest relative error against torch) and ``program`` with ``samples``
    where the target takes other models than ``ContractModel``. Skipped, with the reason, where the target's
    toolchain is missing.
    """

    target: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    bound: ClassVar[float] = 1e-4

    _target: ClassVar[Target]
    _options: ClassVar[TargetOptions]
    _program: ClassVar[Program]
    _folder: ClassVar[Path]
    _artifact: ClassVar[Artifact]

    @classmethod
    def program(cls) -> Program:
        """Return the program to compile: ``ContractModel`` with a dynamic batch."""
        inputs = (torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.bool))
        batch = torch.export.Dim("batch", min=1, max=8)
        return to_program(ContractModel(), inputs, ({0: batch}, {0: batch}, {0: batch}))

    @classmethod
    def samples(cls) -> list[dict[str, np.ndarray]]:
        """Return inputs to run; two at least, and different."""
        random = np.random.default_rng(0)
        return [
            {
                "image": random.standard_normal((n, 3, 8, 8), dtype=np.float32),
                "token": random.integers(0, 100, n),
                "keep": random.random(n) < 0.5,
            }
            for n in (2, 1, 5)
        ]

    @classmethod
    def setup_class(cls) -> None:
        """Compile the program once for all tests."""
        cls._target = resolve(cls.target)
        probe = cls._target.probe()
        if not probe.found:
            raise unittest.SkipTest(f"target '{cls.target}' is not installed: {probe.install}")
        cls._options = cls._target.Options(**{**cls._target.device.options, **cls.options})
        cls._program = cls.program()
        cls._folder = Path(tempfile.mkdtemp(prefix="edgeopt-"))
        cls._artifact = cls._target.compile(cls._program, cls._folder, cls._options)

    @classmethod
    def teardown_class(cls) -> None:
        """Remove what was compiled."""
        shutil.rmtree(cls._folder, ignore_errors=True)

    def open(self) -> Session:
        """Open the compiled artifact."""
        return self._target.open(self._folder, self._options)

    def test_devices_are_described(self) -> None:
        """There is a device, and each resolves to this target by name and alias."""
        devices = type(self._target).devices()
        assert devices
        for device in devices:
            assert device.description
            for alias in (device.name, *device.aliases):
                assert type(resolve(alias)) is type(self._target), f"'{alias}' resolves to another target"

    def test_probe_reports_versions(self) -> None:
        """A toolchain that is found says its versions."""
        assert self._target.probe().versions

    def test_every_step_of_the_pipeline_has_a_reason(self) -> None:
        """Each step builds a pass and says why it stands there; what a pass requires, one before it ensures."""
        steps = self._target.pipeline(self._options)
        passes = [step.build() for step in steps]
        assert all(isinstance(one, Pass) for one in passes)
        assert all(step.reason for step in steps)
        check_stages(passes)
        check_requirements(passes)

    def test_options_that_are_not_legal_are_refused(self) -> None:
        """An unknown precision and a thread count of zero raise UserError with a hint."""
        for wrong in ({"precision": "fp7"}, {"threads": 0}):
            options = self._target.Options(**{**self.options, **wrong})
            try:
                self._target.check_options(options)
            except UserError as error:
                assert error.hint
            else:
                raise AssertionError(f"{wrong} is accepted")

    def test_nothing_is_unsupported(self) -> None:
        """A program that compiles has no node that cannot be placed, and asking writes nothing."""
        before = sorted(self._folder.iterdir())
        assert self._target.lower(self._program, self._options).unsupported == ()
        assert sorted(self._folder.iterdir()) == before

    def test_the_artifact_names_its_files(self) -> None:
        """All files named exist, no others were left, and the specs are the program's."""
        left = {p.relative_to(self._folder).as_posix() for p in self._folder.rglob("*") if p.is_file()}
        assert set(self._artifact.files) == left
        assert self._artifact.inputs == self._program.inputs
        assert self._artifact.outputs == self._program.outputs

    def test_outputs_equal_the_program(self) -> None:
        """Every output lies within ``bound`` of torch, with its shape and dtype, at every batch size."""
        session = self.open()
        for sample in self.samples():
            expected, got = self._program.run(sample), session.run(sample)
            assert list(got) == list(expected)
            for name, reference in expected.items():
                error = compare({name: reference}, {name: got[name]})
                assert error.relative <= self.bound, f"output '{name}' is off by {error.relative:.2e}"
                assert got[name].dtype == reference.dtype, f"output '{name}' is {got[name].dtype}"
        session.close()

    def test_runs_are_independent(self) -> None:
        """A run neither changes an earlier run's outputs nor depends on it, and leaves its inputs alone."""
        session = self.open()
        first, second = self.samples()[:2]
        given = {name: array.copy() for name, array in first.items()}
        outputs = session.run(first)
        kept = {name: array.copy() for name, array in outputs.items()}
        session.run(second)
        again = session.run(first)
        for name in kept:
            np.testing.assert_array_equal(outputs[name], kept[name])
            np.testing.assert_array_equal(again[name], kept[name])
        for name in given:
            np.testing.assert_array_equal(first[name], given[name])
        session.close()

    def test_layers_are_named_and_timed(self) -> None:
        """Every layer has a name, a type, a precision and a cost that is not negative."""
        session = self.open()
        layers = session.layers(self.samples()[0], 3)
        assert layers
        for layer in layers:
            assert layer.name and layer.type and layer.precision
            assert layer.median is None or layer.median >= 0
        session.close()

    def test_the_files_are_reproducible(self) -> None:
        """Compiling the program again gives the same bytes."""
        with tempfile.TemporaryDirectory() as folder:
            again = self._target.compile(self.program(), Path(folder), self._options)
            assert again.files == self._artifact.files
            for name in again.files:
                first, second = (self._folder / name).read_bytes(), (Path(folder) / name).read_bytes()
                assert first == second, f"{name} differs between two compilations"

    def test_the_files_hold_no_path_of_this_machine(self) -> None:
        """No file holds the path of the working folder, of the home folder or of torch."""
        paths = [str(path).encode() for path in (Path.cwd(), Path.home(), Path(torch.__file__).parent)]
        for name in self._artifact.files:
            content = (self._folder / name).read_bytes()
            assert not [path for path in paths if path in content], f"{name} holds a path of this machine"
