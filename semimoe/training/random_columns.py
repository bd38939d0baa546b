"""Meaning of the random numbers of a training tile.

Each tile has one row of uniform numbers in [0, 1). A column has the same meaning for every kind of
augmentation: with the same seed, two kinds choose the same crop.
"""

GLASS_EDGES = 2
_NUMBERS_PER_EDGE = 12
_CONTROL_POINTS = 5  # of the elastic deformation, along each axis


class Column:
    """Columns by their meaning."""

    SCALE, CROP_Y, CROP_X, FLIP, QUARTER_TURNS, ANGLE = range(6)
    STAIN_AMOUNTS = slice(6, 9)
    DENSITY_SHIFTS = slice(9, 12)
    CHANGES_FOCUS, FOCUS = 12, 13
    NOISE_SHIFT = slice(14, 16)
    EDGES = slice(16, 16 + GLASS_EDGES * _NUMBERS_PER_EDGE)
    DISPLACEMENT = slice(EDGES.stop, EDGES.stop + 2 * _CONTROL_POINTS**2)


class EdgeColumn:
    """Columns of one glass edge, within the columns of all edges."""

    IS_PRESENT, ANGLE, IS_WAVY, AMPLITUDE, IS_PARALLEL, WAVES, PHASE, OFFSET = range(8)
    GREY = 8
    COLOUR = slice(9, _NUMBERS_PER_EDGE)


NUMBERS_PER_TILE = Column.DISPLACEMENT.stop
