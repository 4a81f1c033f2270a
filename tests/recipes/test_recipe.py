from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.errors import UserError
from edgeopt.recipes.recipe import Recipe, load_recipe, parse, recipe_names

PASSES = '[[passes]]\nname = "linear-attention"\n'


def test_the_recipes_that_come_along() -> None:
    assert {"exact", "linear", "slab"} <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.summary and recipe.source and recipe.cost and recipe.text
        assert recipe.is_trained is (name != "exact")
    assert [step.name for step in load_recipe("slab").passes] == ["replace-layernorm", "linear-attention"]


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f'force = true\n{PASSES}feature-map = "elu"\n[tune]\nbudget = "90s"\nrate = 1\nbatch = 4\nmodel = false\n'
    )
    recipe = load_recipe(str(path))
    assert recipe.force and not recipe.model and recipe.blocks
    assert (recipe.tune.seconds, recipe.tune.rate, recipe.tune.batch) == (90.0, 1, 4)
    assert dict(recipe.passes[0].settings) == {"feature_map": "elu"}


def test_what_manifests_keep() -> None:
    described = parse("mine", f"{PASSES}window = 8\n[tune]\nbudget = 300\n").described()
    assert described["passes"] == [{"name": "linear-attention", "window": 8}]
    assert described["tune"]["steps"] == 300 and described["tune"]["check-every"] > 0
    assert "tune" not in load_recipe("exact").described()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("passes = 1 =", "recipe 'mine' is not TOML", "[[passes]]"),
        ("", "recipe 'mine' has no passes", "[[passes]]"),
        ("passes = 3", "recipe 'mine' has no passes", "[[passes]]"),
        ("[[passes]]\n", "has a pass without a name", "edgeopt passes"),
        ('[[passes]]\nname = "linear-atention"', "unknown pass 'linear-atention'", "linear-attention"),
        ('[[passes]]\nname = "insert-qdq"', "pass 'insert-qdq' of recipe 'mine' is calibrated", "--precision int8"),
        (f"color = 1\n{PASSES}", "recipe 'mine' has the unknown key 'color'", "source"),
        (f'force = "yes"\n{PASSES}', "'force' of recipe 'mine' is 'yes'", "give a bool"),
        (f"{PASSES}feature-maps = 1", "unknown key 'feature-maps'", "feature-map"),
        (f"{PASSES}window = 1.5", "'window' of pass 'linear-attention' of recipe 'mine' is 1.5", "give a int"),
        (f'{PASSES}feature-map = "softmax"', "feature map 'softmax' is unknown", "hedgehog"),
        ('[[passes]]\nname = "remove-noops"\nx = 1', "unknown key 'x'", "it has no settings"),
        (f"{PASSES}[tune]\nbudget = 'soon'", "'soon' is not a budget of tuning", "5min"),
        (f"{PASSES}[tune]\nbudget = '0s'", "a budget of '0s' tunes nothing", "one step"),
        (f"{PASSES}[tune]\nsteps = 3", "[tune] of recipe 'mine' has the unknown key 'steps'", "choose one of"),
        (f"{PASSES}[tune]\nrate = -1.0", "rate is -1.0", "above 0"),
        (f"{PASSES}[tune]\nrank = -1", "rank is -1", "it must be 0, which leaves it out, or above"),
        (f"{PASSES}[tune]\nrank = 1.5", "'rank' of [tune] of recipe 'mine' is 1.5", "give a int"),
        (f"{PASSES}[tune]\nlabel-part = -0.1", "label_part is -0.1", "above"),
        (f"{PASSES}[tune]\nblocks = 1", "'blocks' of [tune] of recipe 'mine' is 1", "give a bool"),
        (f"tune = 3\n{PASSES}", "[tune] of recipe 'mine' is not a table", "[tune]"),
    ],
)
def test_what_no_recipe_holds_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        parse("mine", text)
    assert message in error.value.message and hint in str(error.value.hint)


def test_unknown_and_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'slap' is not a recipe") as error:
        load_recipe("slap")
    assert "slab" in str(error.value.hint)
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(str(path))


def test_a_recipe_needs_nothing_but_a_name() -> None:
    assert not Recipe("empty").is_trained
