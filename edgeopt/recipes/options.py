"""How what a recipe swaps is tuned: the options, and the samples that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from edgeopt.calib.data import open_data
from edgeopt.distill.batches import split
from edgeopt.distill.budget import parse_budget
from edgeopt.distill.labels import with_labels
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program
from edgeopt.options import option
from edgeopt.recipes.recipe import Recipe, load_recipe

_MOST_SAMPLES = 20_000


@dataclass(frozen=True)
class SwapOptions:
    """``recipe``: a name or a TOML file. ``tune``: the budget, instead of the recipe's. ``tune_data``: unlabeled
    samples (see edgeopt.calib.data). ``checkpoint``: files to continue tuning from and to keep. ``force``: swap also
    where it does not pay.
    """

    recipe: str | None = option(
        None, "Swap layers by a recipe: exact, slab, linear, binary, or a file.", metavar="NAME|TOML"
    )
    tune: str | None = option(
        None, "Budget of tuning what a recipe swaps (default: the recipe's).", metavar="5min|STEPS"
    )
    tune_data: str | None = option(None, "Unlabeled samples to tune on (default: those of --calib).", metavar="DATA")
    checkpoint: str | None = option(None, "Keep tuning's state here, and continue from it.", metavar="PATH")
    force: bool = option(False, "Swap also where it does not pay.")

    def __post_init__(self) -> None:
        recipe = None if self.recipe is None else load_recipe(self.recipe)
        given = {"tune": self.tune, "tune-data": self.tune_data, "checkpoint": self.checkpoint}
        for name, value in given.items():
            if value is not None and (recipe is None or not recipe.is_trained):
                why = "without a recipe" if recipe is None else f"and recipe '{self.recipe}' tunes nothing"
                raise UserError(f"--{name} is given {why}", "name a recipe that does: --recipe slab or --recipe linear")
        if self.force and recipe is None:
            raise UserError("--force is given without a recipe", "name one: --recipe slab or --recipe linear")
        if recipe is not None:
            self.tuning(recipe)

    def chosen(self) -> Recipe | None:
        """Return the recipe, or None."""
        return None if self.recipe is None else load_recipe(self.recipe)

    def tuning(self, recipe: Recipe) -> TuneOptions:
        """Return the recipe's options of tuning with the budget and checkpoint given here.

        Raises UserError where the budget is none.
        """
        options = recipe.tune if self.tune is None else parse_budget(self.tune, recipe.tune)
        if self.checkpoint is None:
            return options
        path = Path(self.checkpoint)
        if not path.parent.is_dir():
            raise UserError(f"the folder of checkpoint '{path}' does not exist", "make it first")
        return replace(options, checkpoint=path)


@dataclass(frozen=True)
class TuningSamples:
    """Samples to tune on, and those held out: to decide by, and as the model's inputs alone.

    The first two have their labels where the recipe learns from them.
    """

    training: Sequence[Sample]
    deciding: Sequence[Sample]
    held_out: Sequence[Sample]


def tuning_samples(options: SwapOptions, calib: str | None, program: Program, trust: bool) -> TuningSamples | None:
    """Return the samples for a recipe that is tuned, of the calibration data where no others are given; else None.

    Raises UserError where there are none, or no labels that the recipe can learn from.
    """
    recipe = options.chosen()
    if recipe is None or not recipe.is_trained:
        return None
    source = options.tune_data or calib
    if source is None:
        raise UserError(
            f"recipe '{recipe.name}' is tuned on samples, and none are given",
            "give unlabeled ones with --tune-data: .npz, folder, or module:function",
        )
    data = open_data(source, program.inputs, trust)
    samples = list(islice(data, _MOST_SAMPLES))
    if recipe.tune.label_part:
        samples = with_labels(program, samples, data.labels())
    training, deciding = split(samples)
    names = [spec.name for spec in program.inputs]
    return TuningSamples(training, deciding, [{name: sample[name] for name in names} for sample in deciding])
