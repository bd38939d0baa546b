"""The classes that annotations have in QuPath. Their names are written here and nowhere else.

A new class is one more row of `ANNOTATION_CLASSES`. If its outlines are to be read in a new way,
add that way to `Reading`, and say in `tiling.qupath.label_store` what its pixels mean.
"""

from enum import Enum
from typing import NamedTuple

from tiling.raster.similar_names import similar_name

REGION = "Region*"
EMPTY_REGION = "Region*: empty"
GLAND = "Gland"
IGNORE = "Ignore*"
PROPOSED = "Proposed*"
# An area of tissue, for columns `tissue` and `roi` of the sheet; not read from column `annotation`.
TISSUE = "Tissue"


class Reading(Enum):
    """How the outlines of a class are read."""

    GLAND = "one gland"
    REGION = "an area in which every gland is outlined"
    EMPTY_REGION = "such an area without any gland"
    IGNORED = "an area without weight: neither in the loss nor in a metric"
    PROPOSAL = "an area that the pipeline proposes: never read as truth"


class AnnotationClass(NamedTuple):
    """One class of annotations.

    Attributes
    ----------
    name : as QuPath shows it
    reading : how its outlines are read
    meaning : what a person says by giving an outline this class
    """

    name: str
    reading: Reading
    meaning: str


ANNOTATION_CLASSES = (
    AnnotationClass(REGION, Reading.REGION, "Every gland inside is outlined."),
    AnnotationClass(EMPTY_REGION, Reading.EMPTY_REGION, "There is no gland inside."),
    AnnotationClass(GLAND, Reading.GLAND, "This is one gland."),
    AnnotationClass(IGNORE, Reading.IGNORED, "What is inside cannot be judged."),
    AnnotationClass(PROPOSED, Reading.PROPOSAL, "Not checked by anybody yet."),
)
_DERIVED = ":"


def reading_of(label: str, *, gland_class: str = GLAND) -> Reading | None:
    """How an outline is read; None when its class is not one of the table.

    Names are matched literally. A derived class ("Gland: benign") is read like its base class,
    unless the table lists it.

    Parameters
    ----------
    label : class of the outline, "" without one
    gland_class : name of the gland class; it may contain a colon

    >>> reading_of("Gland: benign").name, reading_of("Region*: empty").name
    ('GLAND', 'EMPTY_REGION')
    >>> reading_of("Gland: benign", gland_class="Gland: benign").name, reading_of("Stroma")
    ('GLAND', None)
    """
    if label == gland_class or label.startswith(gland_class + _DERIVED):
        return Reading.GLAND
    readings = {
        entry.name: entry.reading
        for entry in ANNOTATION_CLASSES
        if entry.reading is not Reading.GLAND
    }
    base = label.partition(_DERIVED)[0].strip()
    return readings.get(label, readings.get(base))


def base_classes(*readings: Reading, gland_class: str = GLAND) -> list[str]:
    """Names of the classes that are read in one of these ways, without derived classes.

    >>> base_classes(Reading.REGION, Reading.EMPTY_REGION, Reading.GLAND, gland_class="Crypt")
    ['Region*', 'Crypt']
    """
    return [
        gland_class if entry.reading is Reading.GLAND else entry.name
        for entry in ANNOTATION_CLASSES
        if entry.reading in readings and _DERIVED not in entry.name
    ]


def similar_class(label: str, *, gland_class: str = GLAND) -> str | None:
    """The class that a person probably meant by a class that is not read; None if none is similar.

    Upper and lower case and the star do not count, nor does a derived class.

    >>> similar_class("gland"), similar_class("Glands: benign"), similar_class("Region")
    ('Gland', 'Gland', 'Region*')
    >>> similar_class("ignore"), similar_class("Tumor")
    ('Ignore*', None)
    >>> similar_class("crypts", gland_class="Crypt")
    'Crypt'
    """
    names = {_simplified(name): name for name in base_classes(*Reading, gland_class=gland_class)}
    base = _simplified(label.partition(_DERIVED)[0])
    similar = similar_name(base, names)
    return None if similar is None else names[similar]


def _simplified(name: str) -> str:
    return name.strip(" *").casefold()
