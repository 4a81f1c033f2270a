"""What a search keeps between runs, and what it says of a damaged file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeopt.errors import UserError
from edgeopt.search.store import Store


@dataclass(frozen=True)
class Figure:
    value: float
    note: str | None = None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Store(["facts"])


def never() -> Figure:
    raise AssertionError("measured again")


@pytest.mark.parametrize("figure", [Figure(1.5, "fast"), Figure(math.inf), Figure(-math.inf)])
def test_a_measurement_is_made_once_and_comes_back_as_it_was(store: Store, figure: Figure) -> None:
    assert store.recall("trial", lambda: figure, Figure) == figure
    again = Store(["facts"])
    assert again.recall("trial", never, Figure) == figure
    assert (store.reused, again.reused) == (0, 1)
    assert Store(["others"]).values == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"trial": {"va', "it is not JSON"), ("\x00\xff", "it is not JSON"), ("[1]", "it holds no measurements by name")],
)
def test_a_damaged_file_is_named_with_the_remedy(store: Store, text: str, reason: str) -> None:
    store.recall("trial", lambda: Figure(1.0), Figure)
    store.file.write_text(text, "latin-1")
    with pytest.raises(UserError, match=reason) as caught:
        Store(["facts"])
    assert str(store.file) in caught.value.message and caught.value.hint == "remove it to measure anew"


@pytest.mark.parametrize("text", ['{"trial": 3}', '{"trial": {"value": "much"}}', '{"trial": {}}', '{"trial": null}'])
def test_a_measurement_of_another_form_is_named_too(store: Store, text: str) -> None:
    store.recall("trial", lambda: Figure(1.0), Figure)
    store.file.write_text(text)
    with pytest.raises(UserError, match="'trial' is not what it should be"):
        Store(["facts"]).recall("trial", never, Figure)
