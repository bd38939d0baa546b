rule tile_slide:
    input:
        check_record("tile_slide"),
        unpack(lambda wildcards: slide_files(wildcards.slide)),
    output:
        record=record_of_store(PATHS.tiles("{slide}")),
    log:
        PATHS.log("tile_slide", "{slide}"),
    conda:
        "../../environment.yml"
    threads: threads_of_tiling
    resources:
        # Each thread holds a few shards of 4096 x 4096 pixels.
        mem_mb=lambda wildcards, threads: 1000 + 500 * threads,
    params:
        tiles=CONFIGURATION.tiles.to_dict(),
        mpp=lambda wildcards: SHEET[wildcards.slide].mpp,
        # Only files that were drawn in a viewer have the coordinates of its crop.
        origin=lambda wildcards: (
            CONFIGURATION.export.origin
            if has_drawn_files(wildcards.slide)
            else "slide"
        ),
        made_from=made_from,
        code_version=7,
    script:
        "../scripts/tile_slide.py"


rule label_slide:
    input:
        check_record("label_slide"),
        annotation=lambda wildcards: of_user(SHEET[wildcards.slide].annotation),
        tiles=record_of_store(PATHS.tiles("{slide}")),
    output:
        record=record_of_store(PATHS.labels("{slide}")),
    log:
        PATHS.log("label_slide", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        rules=lambda wildcards: reading_rules(wildcards.slide),
        required=lambda wildcards: needs_outlines(SHEET[wildcards.slide], CONFIGURATION),
        made_from=made_from,
        code_version=5,
    script:
        "../scripts/label_slide.py"


rule preview_slide:
    input:
        check_record("preview_slide"),
        # The preview shows outlines also if they cannot be used, so that it reads the file itself.
        unpack(lambda wildcards: annotation_file(wildcards.slide)),
        tiles=record_of_store(PATHS.tiles("{slide}")),
    output:
        summary=PATHS.slide_summary("{slide}"),
        record=PATHS.record("preview_slide", "{slide}"),
    log:
        PATHS.log("preview_slide", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        rules=lambda wildcards: reading_rules(wildcards.slide),
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/preview_slide.py"


rule preview:
    input:
        check_record("preview"),
        unpack(given_model_files),
        summaries=expand(PATHS.slide_summary("{slide}"), slide=SHEET.ids()),
        tiles_removed=expand(
            PATHS.tiles_removed("{slide}"),
            slide=SLIDES_WITH_REMOVED_TILES if INPUTS.asks_for_preview else [],
        ),
    output:
        html=PATHS.preview_page,
        png=PATHS.preview_picture,
        record=PATHS.record("preview"),
    log:
        PATHS.log("preview"),
    priority: PREVIEW_FIRST
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        mem_mb=2000,
    params:
        # The expected times depend on these values; where the files are changes nothing.
        training=CONFIGURATION.model_dump(
            include={"tiles", "network", "training", "seed", "compare"}
        ),
        trained_slides=SHEET.ids("labelled", "unlabelled"),
        is_fine_tuning=CONFIGURATION.start_from is not None,
        paths=dict(
            model=CONFIGURATION.model, planned=planned_values(CONFIGURATION, SHEET)
        ),
        prediction=CONFIGURATION.prediction.model_dump(
            include={"precision", "flips", "runtime"}
        ),
        made_from=made_from,
        code_version=5,
    script:
        "../scripts/preview.py"
