"""What the rules share: where things are."""


def files_of(slide):
    row = SHEET[slide]
    given = {"slide": row.path, "tissue": row.tissue, "roi": row.roi}
    return {name: path for name, path in given.items() if path}


def any_of(slides):
    """Pattern of these ids; of none it matches nothing."""
    return "|".join(sorted(map(re.escape, slides))) or "(?!)"


PASSING = set() if "tiles" in config["keep"] else set(SHEET.ids("predict"))


def drawn_on(slide):
    return SHEET[slide].tissue or SHEET[slide].roi


def stamps(files):
    """Size and time of files that the user brings; those that a rule makes are Snakemake's matter."""
    given = {
        name: Path(path) for name, path in files.items() if not path.startswith(MADE)
    }
    found = {name: path.stat() for name, path in given.items() if path.exists()}
    return {name: (stat.st_size, int(stat.st_mtime)) for name, stat in found.items()}


def stores(kind, slides):
    return expand(f"{RESULTS}/{kind}/{{slide}}.zarr", slide=slides)


# Each model depends on the slides it learns from, and on nothing else: one slide more to predict must not retrain.
LEARNT = {
    "tiles": stores("tiles", SHEET.ids("labelled")),
    "labels": stores("labels", SHEET.ids("labelled")),
    "validation_tiles": stores("tiles", SHEET.ids("validation")),
    "validation_labels": stores("labels", SHEET.ids("validation")),
}
if config["start_from"]:
    LEARNT["start_from"] = [
        f"{config['start_from']}/{name}" for name in ("model.safetensors", "model.json")
    ]


def last_failure(wildcards):
    """The record of the last run that failed: newer than the tables and pages which that run left, so that they are made anew."""
    record = Path(RESULTS) / LAST_FAILURE
    return [str(record)] if record.exists() else []


def truth_of(slide):
    """Labels of annotated slides, to draw regions and to keep proposals away from them."""
    return (
        {"labels": f"{RESULTS}/labels/{slide}.zarr"} if SHEET[slide].annotation else {}
    )
