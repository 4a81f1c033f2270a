"""The published schema is that of the models, and reports satisfy it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema

from edgeopt.records.run import Run
from edgeopt.report.schema import schema_text

PUBLISHED = Path(__file__).parents[2] / "docs" / "report.schema.json"


def test_published_schema_is_current() -> None:
    assert PUBLISHED.read_text("utf-8") == schema_text(), (
        "run: python -m edgeopt.report.schema > docs/report.schema.json"
    )


def test_a_report_satisfies_the_schema(run: Run) -> None:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    report = json.loads(run.to_json())
    validator.validate(report)
    bare = replace(run, error=None, latency=None, baseline=None, not_run="no emulator")
    validator.validate(json.loads(bare.to_json()))
    del report["model"]["sha256"]
    assert not validator.is_valid(report)


def test_every_field_is_explained() -> None:
    schema = json.loads(schema_text())
    for name, part in {"Run": schema, **schema["$defs"]}.items():
        for field, form in part.get("properties", {}).items():
            assert form.get("description") or "$ref" in form, f"{name}.{field} has no description"


def test_the_manual_names_every_field() -> None:
    manual = PUBLISHED.with_name("report.md").read_text("utf-8")
    schema = json.loads(schema_text())
    for part in (schema, *schema["$defs"].values()):
        for field in part.get("properties", {}):
            assert re.search(rf"`[^`\n]*\b{field}\b[^`\n]*`", manual) or f"## {field}" in manual, field
