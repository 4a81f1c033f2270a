"""JSON Schema of ``report.json``. ``python -m edgeopt.report.schema > docs/report.schema.json`` publishes it."""

from __future__ import annotations

import json

from edgeopt.records.run import Run


def schema_text() -> str:
    """Return the schema as text; every field carries its meaning as description."""
    schema = Run.json_form().json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
