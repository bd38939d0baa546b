rule summarise:
    input:
        check_record("summarise"),
        metrics=expand(PATHS.metrics("{slide}"), slide=SHEET.evaluated()),
        compared=expand(
            PATHS.compared("{method}").metrics("{slide}"),
            method=list(COMPARED),
            slide=SHEET.annotated("validation", "test"),
        ),
        glands=expand(PATHS.gland_table("{slide}"), slide=SHEET.ids()),
        summaries=expand(PATHS.slide_summary("{slide}"), slide=SHEET.ids()),
    output:
        metrics=PATHS.metrics_table,
        cohort=PATHS.cohort_table,
        record=PATHS.record("summarise"),
    log:
        PATHS.log("summarise"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        repeated=SHEET.repeated_columns(),
        main_method=METHOD,
        made_from=made_from,
        code_version=4,
    script:
        "../scripts/summarise.py"


# Keys of the configuration that say where files are: they change no result.
PATH_KEYS = {"slides", "results", "model", "start_from", "scratch"}


rule report:
    input:
        check_record("report"),
        metrics=PATHS.metrics_table,
        cohort=PATHS.cohort_table,
        card=MODEL_FILES["card"],
        overviews=expand(PATHS.overview("{slide}"), slide=SHEET.ids()),
        geojson=expand(OUTLINES, slide=SHEET.ids()),
        proposals=expand(PATHS.proposals("{slide}"), slide=SHEET.ids()),
    output:
        html=PATHS.report,
        record=PATHS.record("report"),
    log:
        PATHS.log("report"),
    conda:
        "../../environment.yml"
    resources:
        # The page holds a picture of each slide.
        mem_mb=1000 + 4 * len(SHEET.rows),
    params:
        slides=SHEET.ids(),
        config=CONFIGURATION.model_dump(exclude=PATH_KEYS | {"benchmark"}),
        paths=CONFIGURATION.model_dump(include=PATH_KEYS),
        made_from=made_from,
        code_version=4,
    script:
        "../scripts/report.py"


# Tiles of slides that are only predicted are removed after the last job that reads them. A later
# run that needs them makes them again.
rule remove_tiles:
    input:
        unpack(lambda wildcards: readers_of_tiles(wildcards.slide)),
    output:
        note=PATHS.tiles_removed("{slide}"),
    log:
        PATHS.log("remove_tiles", "{slide}"),
    priority: REMOVAL_FIRST
    conda:
        "../../environment.yml"
    resources:
        mem_mb=500,
    params:
        tiles=lambda wildcards: str(PATHS.tiles(wildcards.slide)),
    script:
        "../scripts/remove_tiles.py"
