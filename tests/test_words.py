"""The field's terms and American spelling, everywhere: words that were replaced do not come back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

SPELLING = (
    r"(quant|normal|random|initial|equal|canonical|optim|minim|maxim|serial|recogn|legal|functional|sanit|summar|organ)is"
    r"(e|ed|es|er|ers|ing|ation|ations)\b|neighbour|colour|favour|behaviour|labelled|labelling|modelled|artefact|catalogue"
    r"|\bcentred?\b|\bcentring\b"
)
TERMS = (
    r"\b(tvm_micro|ledger|on_step|migrate[-_]scales|adapt[-_]rounding|correct[-_]bias|search[-_]floats|widen[-_]blocks"
    r"|pack[-_]signs|sign[-_]steps|quantize[-_]weights|equalize[-_]layers|mixtures)\b|\bp8_|theorem of a pass"
)
OLD = re.compile(f"{SPELLING}|{TERMS}", re.IGNORECASE)
# The changelog names what was renamed; sentences are data there; this file lists the words.
LEFT_OUT = {
    "CHANGELOG.md",
    "tests/golden_artifacts.toml",
    "tests/models/minilm.py",
    "tests/test_words.py",
    "LICENSE",
    "CODE_OF_CONDUCT.md",
}


def _files() -> list[str]:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git does not list the files here")
    return [name for name in listed.stdout.splitlines() if name not in LEFT_OUT and (ROOT / name).is_file()]


def test_replaced_words_do_not_come_back() -> None:
    found = []
    for name in _files():
        try:
            text = (ROOT / name).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match.group()}" for match in OLD.finditer(f"{name}\n{text}")]
    assert not found, f"{len(found)} words that were replaced: {found[:20]}"


def test_the_core_names_no_vendors_runtime() -> None:
    """What a target's runtime does is told in the target's folder; keywords of all targets are generated."""
    files = [name for name in _files() if re.fullmatch(r"edgeopt/.*\.(py|toml)", name)]
    texts = {name: (ROOT / name).read_text("utf-8") for name in files if name != "edgeopt/deploy/overrides.py"}
    assert len(texts) > 100
    assert [name for name, text in texts.items() if re.search("openvino|tensorrt", text, re.IGNORECASE)] == []
