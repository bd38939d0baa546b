"""Scripts that carry a run's outlines into a whole QuPath project, and its annotations back.

QuPath runs them once per image (Run > Run for project). They name the slides of the sheet, and find the outlines beside themselves.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from tiling.raster.atomic_files import write_atomic

_TEMPLATES = Path(__file__).parent / "templates"


def write_scripts(
    slides: Iterable[tuple[str, str]], gland_class: str, ending: str, *, into: Path, out: Path
) -> None:
    """Write the scripts for import and export.

    Parameters
    ----------
    slides : id and path of each slide
    gland_class : class of the glands
    ending : of the outline files, "geojson" or "geojson.gz"
    into, out : Groovy scripts, of the import and of the export
    """
    rows = ",\n".join(
        f"    [id: {literal(slide)}, file: {literal(Path(path).name)}]" for slide, path in slides
    )
    values = {"SLIDES": rows, "GLAND_CLASS": literal(gland_class), "ENDING": ending}
    find_slide = _filled("find_slide.groovy", values).rstrip("\n")
    for template, path in (("import_all.groovy", into), ("export_annotations.groovy", out)):
        write_atomic(path, _filled(template, {"FIND_SLIDE": find_slide, **values}))


def literal(text: str) -> str:
    r"""Text as a Groovy string; nothing in it is code.

    >>> print(literal("it's $x"), literal("a\\b"))
    'it\'s $x' 'a\\b'
    """
    safe = "".join(letter if letter.isprintable() else "?" for letter in text)
    return "'" + safe.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _filled(template: str, values: dict[str, str]) -> str:
    """A template with its `@NAME@` replaced, in one pass: a value that looks like a name stays text."""
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub("@([A-Z_]+)@", lambda name: values[name[1]], text)
