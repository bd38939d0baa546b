"""What the rules share: where things are."""


def files_of(slide):
    row = SHEET[slide]
    given = {"slide": row.path, "tissue": row.tissue, "roi": row.roi}
    return {name: path for name, path in given.items() if path}


def stores(kind, slides):
    return expand(f"{RESULTS}/{kind}/{{slide}}.zarr", slide=slides)


# Each model depends on the slides it learns from, and on nothing else: one slide more to predict must not retrain.
LEARNT = {
    "tiles": stores("tiles", SHEET.ids("labelled")),
    "labels": stores("labels", SHEET.ids("labelled")),
    "validation_tiles": stores("tiles", SHEET.ids("validation")),
    "validation_labels": stores("labels", SHEET.ids("validation")),
}
LEARNING = {
    key: config[key] for key in ("tiles", "network", "training", "seed", "start_from")
}


def truth_of(slide):
    """Labels of annotated slides, to draw regions and to keep proposals away from them."""
    return (
        {"labels": f"{RESULTS}/labels/{slide}.zarr"} if SHEET[slide].annotation else {}
    )
