"""Rows of the table: the methods, and variants of Semi-MoE."""

from collections.abc import Sequence
from dataclasses import dataclass

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_errors import SettingsError
from tiling.raster.similar_names import similar_name

BASELINE = "supervised"
ALL = "all"


@dataclass(frozen=True)
class TableRow:
    """One row of the table.

    Attributes
    ----------
    name : on the command line and in names of files
    label : in tables and figures
    method : see `semimoe.methods`
    settings : what differs from the recipe, `GROUP.KEY=VALUE`
    teacher : row whose finished model makes the pseudo-labels; None: the method itself does
    group : variants of one group answer one question; "" for the methods
    """

    name: str
    label: str
    method: str
    settings: tuple[str, ...] = ()
    teacher: str | None = None
    group: str = ""

    @property
    def colour(self) -> str:
        """Colour of its method."""
        return METHODS[self.method].colour


def _variant(group: str, name: str, text: str, *settings: str, **options: str) -> TableRow:
    return TableRow(
        name, f"{MAIN_METHOD.label}, {text}", MAIN_METHOD.name, settings, group=group, **options
    )


# Group -> the question that its variants answer.
VARIANT_GROUPS = {
    "experts": "which experts are needed (Table 2 of the paper)",
    "objective": "one gate, or a plain sum of losses (Table 4 of the paper)",
    "pseudo-labels": "who makes the pseudo-labels",
    "switches": "where text and code of the paper, or their defaults here, differ",
}
# A moving average that labels with full weight after a tenth of the schedule.
_OF_TEACHER = (
    "training.ema_decay=0.99",
    "training.unsup_max=1",
    "training.unsup_schedule=ramp",
)
_VARIANTS = (
    _variant("experts", "seg+sdf", "mask and distance", "network.tasks=seg+sdf"),
    _variant("experts", "seg+bnd", "mask and boundary", "network.tasks=seg+bnd"),
    _variant("experts", "seg", "mask alone", "network.tasks=seg"),
    _variant(
        "objective",
        "single-gate",
        "single gate",
        "network.gates=single",
        "training.pseudo=derived",
    ),
    _variant("objective", "plain-sum", "plain sum of losses", "training.aggregate=sum"),
    _variant(
        "pseudo-labels",
        "stored",
        "labels of the finished supervised model",
        teacher=BASELINE,
    ),
    _variant(
        "pseudo-labels",
        "teacher",
        "labels of its moving average",
        "training.pseudo=teacher",
        *_OF_TEACHER,
    ),
    _variant(
        "pseudo-labels",
        "teacher-glands",
        "glands of its moving average",
        "training.pseudo=teacher-glands",
        *_OF_TEACHER,
    ),
    _variant(
        "pseudo-labels",
        "teacher-mask",
        "mask of its moving average",
        "training.pseudo=teacher-mask",
        *_OF_TEACHER,
    ),
    _variant("switches", "two-step", "two updates", "training.update=two-step"),
    _variant("switches", "joint", "one update", "training.update=joint"),
    _variant(
        "switches",
        "gaussian-5",
        "weight up to 5 (text)",
        "training.unsup_max=5",
        "training.unsup_schedule=gaussian",
    ),
    _variant(
        "switches",
        "linear-0.5",
        "weight up to 0.5 (code)",
        "training.unsup_max=0.5",
        "training.unsup_schedule=linear",
    ),
    _variant("switches", "gate-code", "gate of the code", "network.gate=code"),
    _variant("switches", "sdf-half", "half the distance loss (code)", "training.sdf_weight=0.5"),
    _variant("switches", "outer-boundary", "outer boundary (code)", "network.boundary=outer"),
    _variant("switches", "separate", "three networks", "network.experts=separate"),
    _variant("switches", "shared", "shared encoder (text)", "network.experts=shared"),
    _variant(
        "switches", "both-statistics", "statistics of both batches", "training.statistics=both"
    ),
)
METHOD_ROWS = {
    method.name: TableRow(method.name, method.label, method.name) for method in METHODS.values()
}
VARIANT_ROWS = {row.name: row for row in _VARIANTS}
TABLE_ROWS = METHOD_ROWS | VARIANT_ROWS


def chosen_rows(methods: Sequence[str], variants: Sequence[str]) -> list[TableRow]:
    """Rows by name; the teachers that they need are added.

    >>> [row.name for row in chosen_rows(["unet"], ["experts"])]
    ['unet', 'seg+sdf', 'seg+bnd', 'seg']
    >>> [row.name for row in chosen_rows([], ["stored"])]
    ['supervised', 'stored']

    Parameters
    ----------
    methods : names of methods, or `all`
    variants : names of variants or of their groups, or `all`

    Raises
    ------
    SettingsError
        A name that does not exist, or no row at all.
    """
    names = _names(methods, METHOD_ROWS, {}, option="--methods")
    groups = {
        group: [row.name for row in _VARIANTS if row.group == group] for group in VARIANT_GROUPS
    }
    names += _names(variants, VARIANT_ROWS, groups, option="--variants")
    if not names:
        raise SettingsError("no row: give --methods or --variants")
    chosen = dict.fromkeys(names)
    teachers = dict.fromkeys(
        teacher
        for name in chosen
        if (teacher := TABLE_ROWS[name].teacher) is not None and teacher not in chosen
    )
    return [TABLE_ROWS[name] for name in (*teachers, *chosen)]


def _names(
    asked: Sequence[str],
    rows: dict[str, TableRow],
    groups: dict[str, list[str]],
    *,
    option: str,
) -> list[str]:
    names: list[str] = []
    for name in asked:
        if name == ALL:
            names += rows
        elif name in groups:
            names += groups[name]
        elif name in rows:
            names.append(name)
        else:
            known = [*groups, *rows, ALL]
            meant = similar_name(name, known)
            hint = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}"
            raise SettingsError(f"{option} {name}: no such row; {hint}")
    return names
