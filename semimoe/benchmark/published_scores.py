"""Published figures, for their own column of the table. Nothing is computed from them.

Source: Vu et al., Semi-MoE, BMVC 2025 (arXiv 2509.13834v1), Tables 1 to 3.
"""

from typing import NamedTuple

SOURCE = "Semi-MoE, BMVC 2025, arXiv 2509.13834v1"
PROTOCOL_NOTE = (
    "published: Table 1 (variants: Table 2) of the paper, Dice and Jaccard in per cent; deviations"
    " are given for Semi-MoE only. Its public code scores at 256 x 256, pooled over the"
    " pixels of all test images, with the best threshold and the best of every 5th epoch on the"
    " test images (GlaS: 80 images of testA and testB); other lists of labelled images, which are"
    " not published. So these figures can only be compared with protocol as-published, and not"
    " image by image"
)
TOPOSEMISEG_NOTE = (
    "the paper's figures of TopoSemiSeg are in another metric than those of its other rows"
)


class PublishedScore(NamedTuple):
    """Dice and, where it is given, Jaccard, per cent."""

    dice: float
    jaccard: float | None = None

    @property
    def text(self) -> str:
        """For a table.

        >>> PublishedScore(89.46, 80.94).text, PublishedScore(87.93).text
        ('89.46 / 80.94', '87.93')
        """
        return f"{self.dice:.2f}" + ("" if self.jaccard is None else f" / {self.jaccard:.2f}")


# Row -> GlaS 20 %, GlaS 10 %, CRAG 20 %, CRAG 10 %.
_COLUMNS = (("glas", 0.2), ("glas", 0.1), ("crag", 0.2), ("crag", 0.1))
# fmt: off
_TABLE_1 = {
    "mean-teacher": ((89.46, 80.94), (87.65, 78.02), (89.77, 81.43), (86.82, 76.71)),
    "entropy-minimisation": ((88.53, 79.42), (83.64, 71.89), (87.55, 77.93), (84.13, 72.61)),
    "uncertainty-aware-mean-teacher": (
        (89.27, 80.62),
        (84.41, 73.03),
        (88.84, 80.01),
        (83.97, 72.75),
    ),
    "cross-consistency": ((89.49, 80.98), (85.46, 74.51), (89.50, 80.99), (85.28, 74.34)),
    "cps": ((90.25, 82.23), (89.15, 80.43), (89.42, 80.87), (85.52, 74.70)),
    "urpc": ((88.92, 80.05), (81.59, 68.9), (88.75, 79.25), (82.5, 72.1)),
    "cross-teaching": ((88.45, 79.29), (81.65, 68.99), (86.96, 75.9), (80.33, 67.13)),
    "xnet": ((88.68, 79.67), (84.44, 73.07), (88.1, 79.1), (86.67, 76.48)),
    "toposemiseg": ((89.35, 81.8), (87.8, 79.7), (89.8, 82.0), (88.4, 79.8)),
    "semimoe": ((90.40, 82.48), (89.23, 80.55), (91.06, 83.59), (89.27, 80.61)),
}
# fmt: on
# In the same order; Dice only.
_TABLE_2 = {
    "seg+sdf": (87.93, 85.34, 90.73, 85.85),
    "seg+bnd": (89.04, 88.81, 90.71, 88.37),
}
# Millions of parameters that are trained, and GPU memory in GB.
TABLE_3 = {"semimoe": (181, 12.36), "cps": (272, 15.71), "xnet": (326, 15.27)}


def published_score(row: str, dataset: str, labelled: float) -> PublishedScore | None:
    """The published figure of a row; None if there is none.

    >>> published_score("cps", "glas", 0.1)
    PublishedScore(dice=89.15, jaccard=80.43)
    """
    for column, (name, share) in enumerate(_COLUMNS):
        if name == dataset and abs(share - labelled) < 1e-9:
            if row in _TABLE_1:
                return PublishedScore(*_TABLE_1[row][column])
            if row in _TABLE_2:
                return PublishedScore(_TABLE_2[row][column])
    return None
