"""Where a run writes: the only place that names files and folders inside the folder of results."""

from dataclasses import dataclass
from pathlib import Path

from semimoe.model_card import CARD, HISTORY, WARM_START, WEIGHTS

LAST_FAILURE = "last_failure.txt"
# Names in the folder of results: every path of `ResultPaths` begins with one of them.
NAMES_IN_RESULTS = frozenset(
    (
        *("tiles", "labels", "pseudo_labels", "maps", "glands", "previews", "proposals"),
        *("overviews", "metrics", "models", "compare", "qupath", "records", "benchmark", "logs"),
        *("metrics.csv", "cohort.csv", "preview.html", "preview.png", "report.html"),
        *("run", LAST_FAILURE),
    )
)
# Where one of these is, a run has written before.
TRACES_OF_A_RUN = ("run.lock", "records", "logs")
_STORE_SUFFIX = ".zarr"
_RECORD_SUFFIX = ".json"


def record_of_store(store: Path) -> Path:
    """The job record of a store, beside it: the output of its rule.

    >>> record_of_store(Path("tiles/a.zarr")).as_posix()
    'tiles/a.zarr.json'
    """
    return store.with_name(store.name + _RECORD_SUFFIX)


def store_of_record(record: Path) -> Path | None:
    """The store that a job record belongs to; None if the job writes no store.

    >>> store_of_record(Path("tiles/a.zarr.json")).as_posix()
    'tiles/a.zarr'
    >>> store_of_record(Path("records/report/all.json"))
    """
    store = record.with_suffix("")
    return store if store.suffix == _STORE_SUFFIX and record.suffix == _RECORD_SUFFIX else None


def store_of(path: str | Path) -> Path:
    """The store, if `path` is the job record of one; otherwise `path`.

    >>> store_of("tiles/a.zarr.json").as_posix(), store_of("a.csv").as_posix()
    ('tiles/a.zarr', 'a.csv')
    """
    return store_of_record(Path(path)) or Path(path)


@dataclass(frozen=True)
class ResultPaths:
    """Files and folders of one run; stores are folders that end in `.zarr`.

    The rules ask for the same paths with the wildcards `{slide}` and `{method}` in place of an id
    and a name.

    Attributes
    ----------
    folder : folder of results, relative to the working directory

    >>> ResultPaths(Path("results")).tiles("a").as_posix()
    'results/tiles/a.zarr'
    >>> ResultPaths(Path("results")).compared("unet").maps("a").as_posix()
    'results/compare/unet/maps/a.zarr'
    """

    folder: Path

    def compared(self, method: str) -> "ResultPaths":
        """Paths of a method that is scored beside the main one: only maps, glands and metrics."""
        return ResultPaths(self.folder / "compare" / method)

    # One file or store for each slide.

    def tiles(self, slide: str) -> Path:
        """Store of the image pyramid, the tissue mask and the table of tiles."""
        return self.folder / "tiles" / f"{slide}.zarr"

    def labels(self, slide: str) -> Path:
        """Store of the outlines that a person drew, as a label image with weights."""
        return self.folder / "labels" / f"{slide}.zarr"

    def pseudo_labels(self, slide: str) -> Path:
        """Store of pseudo-labels for tiles of an unlabelled slide."""
        return self.folder / "pseudo_labels" / f"{slide}.zarr"

    def maps(self, slide: str) -> Path:
        """Store of the predicted maps."""
        return self.folder / "maps" / f"{slide}.zarr"

    def glands(self, slide: str) -> Path:
        """Store of the label image of glands."""
        return self.folder / "glands" / f"{slide}.zarr"

    def outlines(self, slide: str, *, compressed: bool) -> Path:
        """GeoJSON of the outlines of glands."""
        return self.folder / "glands" / f"{slide}.geojson{'.gz' if compressed else ''}"

    def gland_table(self, slide: str) -> Path:
        """Measurements, a row for each gland."""
        return self.folder / "glands" / f"{slide}.csv"

    def label_mask(self, slide: str) -> Path:
        """Label image of glands as a pyramidal OME-TIFF."""
        return self.folder / "glands" / f"{slide}.ome.tiff"

    def slide_summary(self, slide: str) -> Path:
        """JSON of what the preview shows of a slide."""
        return self.folder / "previews" / f"{slide}.json"

    def proposals(self, slide: str) -> Path:
        """GeoJSON of the regions that should be annotated next."""
        return self.folder / "proposals" / f"{slide}.geojson"

    def overview(self, slide: str) -> Path:
        """Picture of a slide with the outlines of its glands."""
        return self.folder / "overviews" / f"{slide}.png"

    def metrics(self, slide: str) -> Path:
        """Scores of one slide, a row for each annotated region and a pooled row."""
        return self.folder / "metrics" / f"{slide}.csv"

    # One file or folder for the run.

    def model(self, method: str) -> Path:
        """Folder of the model that this run trains with a method."""
        return self.folder / "models" / method

    def weights(self, method: str) -> Path:
        """Weights of a model that this run trains."""
        return self.model(method) / WEIGHTS

    def card(self, method: str) -> Path:
        """Card of a model that this run trains."""
        return self.model(method) / CARD

    def history(self, method: str) -> Path:
        """Log of a training, a row for each epoch."""
        return self.model(method) / HISTORY

    def warm_start(self, method: str) -> Path:
        """State of a training that another method continues."""
        return self.model(method) / WARM_START

    @property
    def metrics_table(self) -> Path:
        """Scores of all slides."""
        return self.folder / "metrics.csv"

    @property
    def cohort_table(self) -> Path:
        """Counts, areas and densities of all slides."""
        return self.folder / "cohort.csv"

    @property
    def preview_page(self) -> Path:
        """Contact sheet of all slides."""
        return self.folder / "preview.html"

    @property
    def preview_picture(self) -> Path:
        """Contact sheet of all slides as one picture."""
        return self.folder / "preview.png"

    @property
    def report(self) -> Path:
        """Report of the run."""
        return self.folder / "report.html"

    @property
    def qupath_import(self) -> Path:
        """QuPath script that imports all outlines."""
        return self.folder / "qupath" / "import_all.groovy"

    @property
    def qupath_export(self) -> Path:
        """QuPath script that exports the annotations of all slides."""
        return self.folder / "qupath" / "export_annotations.groovy"

    def record(self, rule: str, subject: str = "all") -> Path:
        """Job record of a job that writes no store."""
        return self.folder / "records" / rule / f"{subject}.json"

    @property
    def benchmark(self) -> Path:
        """Folder of a table of methods: cells, lists and tables."""
        return self.folder / "benchmark"

    def tiles_removed(self, slide: str) -> Path:
        """Note that the tiles of a slide were removed after the last job that read them."""
        return self.folder / "tiles" / f"{slide}.removed"

    @property
    def run_lock(self) -> Path:
        """What a run locks, so that a second one does not write the same results."""
        return self.folder / "run"

    @property
    def last_failure(self) -> Path:
        """What failed in the last run that failed; it exists only after a failure."""
        return self.folder / LAST_FAILURE

    @property
    def step_times(self) -> Path:
        """Measured times of training steps; they only save the time of another measurement."""
        return self.folder / "logs" / "step_times.json"

    def log(self, rule: str, subject: str = "all") -> Path:
        """Log of a job: of a rule, for a slide, for a model, or for all slides."""
        return self.folder / "logs" / rule / f"{subject}.log"
