"""Functions and inputs that several rules use."""


def of_user(path):
    """A file of the user: its content counts, not its time."""
    return path if is_demo_file(path) else ancient(path)


def slide_files(slide):
    """The files of a slide that tile_slide reads: the slide, and tissue and roi if given."""
    row = SHEET[slide]
    files = {"slide": row.path, "tissue": row.tissue, "roi": row.roi}
    return {name: of_user(path) for name, path in files.items() if path}


def verbatim(text):
    """A text of the user as a parameter: Snakemake replaces `{word}` in plain texts only."""
    return lambda wildcards: text


# Slides whose tiles are removed after the last job that reads them.
SLIDES_WITH_REMOVED_TILES = (
    set() if "tiles" in CONFIGURATION.keep else set(SHEET.ids("predict"))
)


# Slides whose tiles are removed are predicted before the next ones are tiled. So the jobs between
# tiles and their removal have a higher priority than tile_slide. That alone is not enough: a
# prediction waits until all the cores that it needs are free, and jobs that need fewer cores would
# take each core that becomes free. So tile_slide then needs as many cores as predict_slide. This
# costs cores that are idle while one slide is stitched and drawn. Tiles that stay are therefore
# made with few threads, several slides at a time.
THREADS_OF_PREDICTION = 8
BEFORE_TILING = 1
REMOVAL_FIRST = 2
# Users wait for the preview, and it takes seconds: before trainings and predictions.
PREVIEW_FIRST = 2


def threads_of_tiling(wildcards):
    """Threads with which the slide of a job is tiled."""
    return THREADS_OF_PREDICTION if wildcards.slide in SLIDES_WITH_REMOVED_TILES else 2


def slides_follow_each_other():
    """Whether a slide whose tiles are removed is predicted before the next one is tiled.

    On a cluster, or with cores that are free beside a tiling, other slides are tiled ahead.
    """
    return workflow.local_exec and all(
        job.threads >= workflow.cores
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == "tile_slide"
        and job.wildcards.slide in SLIDES_WITH_REMOVED_TILES
    )


def readers_of_tiles(slide):
    """Records of the jobs of this run that read the tiles of a slide."""
    summary = {"summary": PATHS.record("preview_slide", slide)}
    if INPUTS.asks_for_preview:
        return summary
    return {
        **summary,
        **drawn_labels(slide),
        "maps": record_of_store(PATHS.maps(slide)),
        "overview": PATHS.record("overview_slide", slide),
        "proposals": PATHS.record("propose_regions", slide),
    }


MODEL_FILES = {"model": f"{MODEL}/{WEIGHTS}", "card": f"{MODEL}/{CARD}"}
if CONFIGURATION.model:
    MODEL_FILES = {name: ancient(path) for name, path in MODEL_FILES.items()}


def given_model_files(wildcards):
    """The files of a given model; none if this run trains its model."""
    return MODEL_FILES if CONFIGURATION.model else {}


def compared_file(method, name):
    """A file of a compared model, which this run trains or starts from."""
    path = str(COMPARED[method] / name)
    return ancient(path) if method == START_MODEL else path


def has_drawn_files(slide):
    """Whether a person drew tissue or region of interest of a slide in a viewer."""
    return SHEET[slide].tissue or SHEET[slide].roi


def stores(kind, slides):
    """The records of the stores of one kind, one for each slide."""
    return expand(record_of_store(getattr(PATHS, kind)("{slide}")), slide=slides)


# A model depends on the slides that it is trained on and on nothing else: another slide to predict
# must not start the training again. Nor must another order of the rows: the slides are sorted.
TRAINING_INPUTS = {
    "tiles": stores("tiles", sorted(SHEET.ids("labelled"))),
    "labels": stores("labels", sorted(SHEET.ids("labelled"))),
    "validation_tiles": stores("tiles", sorted(SHEET.ids("validation"))),
    "validation_labels": stores("labels", sorted(SHEET.ids("validation"))),
}
if CONFIGURATION.start_from:
    TRAINING_INPUTS["start_from"] = [
        ancient(f"{CONFIGURATION.start_from}/{name}") for name in (WEIGHTS, CARD)
    ]


def annotation_file(slide):
    """The annotation of a slide, if it has one."""
    path = SHEET[slide].annotation
    return {"annotation": of_user(path)} if path else {}


def reading_rules(slide):
    """How the annotation of a slide is read."""
    return {
        "annotated": SHEET[slide].annotated,
        "origin": CONFIGURATION.export.origin,
        "gland_class": CONFIGURATION.export.gland_class,
    }


def drawn_labels(slide):
    """Labels of an annotated slide: pictures show their regions, proposals avoid them."""
    if not SHEET[slide].annotation:
        return {}
    return {"labels": record_of_store(PATHS.labels(slide))}


def training_inputs(method):
    """Stores and files that the training of a method reads."""
    files = dict(TRAINING_INPUTS)
    if method.uses_unlabelled:
        unlabelled = sorted(SHEET.ids("unlabelled"))
        files["unlabelled_tiles"] = stores("tiles", unlabelled)
        files["unlabelled_labels"] = ancient(
            stores("labels", sorted(SHEET.annotated("unlabelled")))
        )
        files["pseudo"] = stores("pseudo_labels", unlabelled)
    if method.starts_from:
        files["warm_start"] = PATHS.warm_start(method.starts_from)
    return files


def training_outputs(method):
    """Files that the training of a method writes."""
    files = {
        "model": PATHS.weights(method.name),
        "history": PATHS.history(method.name),
        "card": PATHS.card(method.name),
        "record": PATHS.record(training_rule_name(method), method.name),
    }
    if any(other.starts_from == method.name for other in METHODS.values()):
        files["warm_start"] = PATHS.warm_start(method.name)
    return files


def training_rule_name(method):
    """`train` for the method that predicts, `train_{method}` for the others."""
    if method is MAIN_METHOD:
        return "train"
    return f"train_{method.name.replace('-', '_')}"


def planned_trainings(dag):
    """Jobs of the plan that train, by method."""
    rules = {training_rule_name(METHODS[name]): name for name in METHODS}
    return {
        rules[job.rule.name]: job
        for job in dag.needrun_jobs()
        if job.rule.name in rules
    }


@cache
def training_sizes():
    """Expected size of each training, by method; the files of the labelled slides are read once."""
    return {time.method: time for time in training_times(METHODS, CONFIGURATION, SHEET)}


def training_limit_min(name):
    """Function: how many minutes a training of a method may take on a cluster."""

    def limit(wildcards, attempt):
        settings = method_settings(CONFIGURATION, name)
        return cluster_limit_min(training_sizes()[name], settings, attempt=attempt)

    return limit
