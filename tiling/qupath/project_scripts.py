"""Groovy scripts that import the outlines of a run into a QuPath project, and export annotations.

QuPath runs a script once for each image (Run > Run for project). The scripts contain the names of
the slides in the sheet, and find the outline files relative to their own place.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from tiling.qupath.class_names import PROPOSED, Reading, base_classes
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
    into, out : Groovy scripts to write, for the import and for the export
    """
    rows = ",\n".join(
        f"    [id: {groovy_string(slide)}, file: {groovy_string(Path(path).name)}]"
        for slide, path in slides
    )
    region_classes = ", ".join(map(groovy_string, base_classes(Reading.REGION)))
    values = {
        "SLIDES": rows,
        "GLAND_CLASS": groovy_string(gland_class),
        "PROPOSED_CLASS": groovy_string(PROPOSED),
        "REGION_CLASSES": f"[{region_classes}]",
        "ENDING": ending,
    }
    find_slide = _filled("find_slide.groovy", values).rstrip("\n")
    for template, path in (("import_all.groovy", into), ("export_annotations.groovy", out)):
        write_atomic(path, _filled(template, {"FIND_SLIDE": find_slide, **values}))


def groovy_string(text: str) -> str:
    r"""Text as a Groovy string literal, in which nothing is code.

    >>> print(groovy_string("it's $x"), groovy_string("a\\b"))
    'it\'s $x' 'a\\b'
    """
    safe = "".join(character if character.isprintable() else "?" for character in text)
    return "'" + safe.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _filled(template: str, values: dict[str, str]) -> str:
    """A template with its `@NAME@` replaced in one pass.

    A value that looks like `@NAME@` itself stays as it is.
    """
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub("@([A-Z_]+)@", lambda name: values[name[1]], text)
