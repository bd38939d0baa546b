"""`python -m workflow.config`: write the documentation of the configuration from its types."""

from pathlib import Path

from workflow.config.documentation import markdown, schema_text

DOCS = Path(__file__).parents[2] / "docs"

if __name__ == "__main__":
    (DOCS / "configuration.md").write_text(markdown(), encoding="utf-8")
    (DOCS / "configuration.schema.json").write_text(schema_text(), encoding="utf-8")
