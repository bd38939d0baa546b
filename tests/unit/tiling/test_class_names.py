"""The names of the annotation classes in QuPath stand in one module only."""

from pathlib import Path

import pytest

from tiling.qupath.class_names import (
    ANNOTATION_CLASSES,
    GLAND,
    REGION,
    Reading,
    base_classes,
    reading_of,
)

REPOSITORY = Path(__file__).parents[3]
SOURCES = [
    path
    for folder in ("tiling", "semimoe", "workflow", "benchmarks")
    for suffix in ("py", "groovy", "smk")
    for path in (REPOSITORY / folder).rglob(f"*.{suffix}")
    if path.name not in ("class_names.py", "geojson_reader.py")  # the reader has examples
]


def test_sources_take_class_names_from_the_table() -> None:
    assert len(SOURCES) > 100
    names = [entry.name for entry in ANNOTATION_CLASSES if entry.name != GLAND]
    quoted_gland = [f"{quote}{GLAND}{quote}" for quote in "'\""]
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        repeated = [name for name in (*names, *quoted_gland) if name in text]
        assert not repeated, f"{path}: {repeated}"


@pytest.mark.parametrize("entry", ANNOTATION_CLASSES, ids=lambda entry: entry.name)
def test_each_class_and_what_is_derived_from_it_are_read_alike(entry) -> None:
    assert reading_of(entry.name) is entry.reading
    base = reading_of(entry.name.partition(":")[0])
    derived = f"{entry.name}: derived"
    assert reading_of(derived) is (entry.reading if ":" not in entry.name else base)


def test_each_way_of_reading_has_a_class() -> None:
    assert {entry.reading for entry in ANNOTATION_CLASSES} == set(Reading)


def test_another_gland_class_replaces_the_usual_one() -> None:
    assert reading_of("Crypt: small", gland_class="Crypt") is Reading.GLAND
    assert reading_of(GLAND, gland_class="Crypt") is None
    assert base_classes(Reading.GLAND, gland_class="Crypt") == ["Crypt"]


def test_the_table_of_the_documentation_agrees_with_the_classes() -> None:
    text = (REPOSITORY / "docs" / "qupath.md").read_text(encoding="utf-8")
    table = text.partition("| class | meaning |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    documented = {name.strip(" `"): meaning.strip() for name, meaning in rows}
    meanings = {entry.name: entry.meaning for entry in ANNOTATION_CLASSES}
    assert REGION in documented
    assert documented.items() <= meanings.items()
