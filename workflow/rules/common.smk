"""Functions and inputs that several rules use."""


def slide_files(slide):
    """The files of a slide that tile_slide reads: the slide, and tissue and roi if given."""
    row = SHEET[slide]
    files = {"slide": row.path, "tissue": row.tissue, "roi": row.roi}
    return {name: path for name, path in files.items() if path}


def verbatim(text):
    """A text of the user as a parameter: Snakemake replaces `{word}` in plain texts only."""
    return lambda wildcards: text


def id_pattern(slides):
    """Pattern that matches these ids only; it matches nothing if there are none."""
    return "|".join(sorted(map(re.escape, slides))) or "(?!)"


# Slides whose tiles are deleted after the last job that reads them.
TEMPORARY = set() if "tiles" in CONFIGURATION.keep else set(SHEET.ids("predict"))


def has_drawn_files(slide):
    """Whether a person drew tissue or region of interest of a slide in a viewer."""
    return SHEET[slide].tissue or SHEET[slide].roi


def sizes_and_times(files):
    """Size and modification time of each file of the user; files of rules are left out."""
    paths = [
        (name, Path(path)) for name, path in files.items() if not is_demo_file(path)
    ]
    stats = [(name, path.stat()) for name, path in paths if path.exists()]
    return {name: (stat.st_size, int(stat.st_mtime)) for name, stat in stats}


def stores(kind, slides):
    """The stores of one kind, one for each slide."""
    return expand(getattr(PATHS, kind)("{slide}"), slide=slides)


# A model depends on the slides that it is trained on and on nothing else: another slide to predict
# must not start the training again.
LEARNT = {
    "tiles": stores("tiles", SHEET.ids("labelled")),
    "labels": stores("labels", SHEET.ids("labelled")),
    "validation_tiles": stores("tiles", SHEET.ids("validation")),
    "validation_labels": stores("labels", SHEET.ids("validation")),
}
if CONFIGURATION.start_from:
    LEARNT["start_from"] = [
        f"{CONFIGURATION.start_from}/{name}"
        for name in ("model.safetensors", "model.json")
    ]


def last_failure(wildcards):
    """The record of the last run that failed, if there is one.

    It is newer than the tables and pages that the failed run wrote, so that they are made again.
    """
    return [PATHS.last_failure] if PATHS.last_failure.exists() else []


def annotation_file(slide):
    """The annotation of a slide, if it has one."""
    path = SHEET[slide].annotation
    return {"annotation": path} if path else {}


def reading_rules(slide):
    """How the annotation of a slide is read."""
    return {
        "annotated": SHEET[slide].annotated,
        "origin": CONFIGURATION.export.origin,
        "gland_class": CONFIGURATION.export.gland_class,
    }


def drawn_labels(slide):
    """Labels of an annotated slide: pictures show their regions, proposals avoid them."""
    return {"labels": PATHS.labels(slide)} if SHEET[slide].annotation else {}


def training_inputs(method):
    """Stores and files that the training of a method reads."""
    files = dict(LEARNT)
    if method.uses_unlabelled:
        files["unlabelled_tiles"] = stores("tiles", SHEET.ids("unlabelled"))
        # Outlines of unlabelled slides are only compared with the pseudo-labels: a correction of
        # them does not train again (the first outlines do).
        files["unlabelled_labels"] = ancient(
            stores("labels", SHEET.annotated("unlabelled"))
        )
        files["pseudo"] = stores("pseudo_labels", SHEET.ids("unlabelled"))
    if method.starts_from:
        files["warm_start"] = PATHS.warm_start(method.starts_from)
    return files


def training_outputs(method):
    """Files that the training of a method writes."""
    files = {
        "model": PATHS.weights(method.name),
        "history": PATHS.history(method.name),
        "card": PATHS.card(method.name),
    }
    if any(other.starts_from == method.name for other in METHODS.values()):
        files["warm_start"] = PATHS.warm_start(method.name)
    return files


def training_rule_name(method):
    """`train` for the method that predicts, `train_{method}` for the others."""
    if method is MAIN_METHOD:
        return "train"
    return f"train_{method.name.replace('-', '_')}"
