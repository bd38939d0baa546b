rule tile_slide:
    input:
        unpack(lambda wildcards: slide_files(wildcards.slide)),
    output:
        tiles=directory(PATHS.tiles("{slide}")),
    log:
        PATHS.log("tile_slide", "{slide}"),
    wildcard_constraints:
        slide=id_pattern(set(SHEET.ids()) - TEMPORARY),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        tiles=CONFIGURATION.tiles.to_dict(),
        mpp=lambda wildcards: SHEET[wildcards.slide].mpp,
        # Only files that were drawn in a viewer have the coordinates of its crop.
        origin=lambda wildcards: (
            CONFIGURATION.export.origin
            if has_drawn_files(wildcards.slide)
            else "slide"
        ),
        # The store of an unreadable slide is an output like any other. If an older file replaces
        # the unreadable one, its time alone does not start the job again.
        files=lambda wildcards: sizes_and_times(slide_files(wildcards.slide)),
        code_version=6,
    script:
        "../scripts/tile_slide.py"


# Tiles of slides that are only predicted are deleted after the last job that reads them. A later
# run that needs them makes them again.
use rule tile_slide as tile_slide_for_once with:
    output:
        tiles=temp(directory(PATHS.tiles("{slide}"))),
    log:
        PATHS.log("tile_slide", "{slide}"),
    wildcard_constraints:
        slide=id_pattern(TEMPORARY),


rule label_slide:
    input:
        annotation=lambda wildcards: SHEET[wildcards.slide].annotation,
        tiles=PATHS.tiles("{slide}"),
    output:
        labels=directory(PATHS.labels("{slide}")),
    log:
        PATHS.log("label_slide", "{slide}"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        rules=lambda wildcards: reading_rules(wildcards.slide),
        required=lambda wildcards: needs_outlines(SHEET[wildcards.slide], CONFIGURATION),
        code_version=4,
    script:
        "../scripts/label_slide.py"


rule preview_slide:
    input:
        # The preview shows outlines also if they cannot be used, so that it reads the file itself.
        unpack(lambda wildcards: annotation_file(wildcards.slide)),
        tiles=PATHS.tiles("{slide}"),
    output:
        summary=PATHS.slide_summary("{slide}"),
    log:
        PATHS.log("preview_slide", "{slide}"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        rules=lambda wildcards: reading_rules(wildcards.slide),
        code_version=2,
    script:
        "../scripts/preview_slide.py"


rule preview:
    input:
        summaries=expand(PATHS.slide_summary("{slide}"), slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        html=PATHS.preview_page,
        png=PATHS.preview_picture,
    log:
        PATHS.log("preview"),
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        mem_mb=2000,
    params:
        model=verbatim(CONFIGURATION.model),
        prediction=CONFIGURATION.prediction.model_dump(include={"precision", "flips"}),
        planned=planned_values(CONFIGURATION, SHEET),
        code_version=4,
    script:
        "../scripts/preview.py"
