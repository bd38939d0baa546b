rule stitch_slide:
    input:
        check_record("stitch_slide"),
        maps=record_of_store(PATHS.maps("{slide}")),
    output:
        record=record_of_store(PATHS.glands("{slide}")),
    log:
        PATHS.log("stitch_slide", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        glands=CONFIGURATION.glands.to_dict(),
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/stitch_slide.py"


rule export_slide:
    input:
        check_record("export_slide"),
        glands=record_of_store(PATHS.glands("{slide}")),
        maps=record_of_store(PATHS.maps("{slide}")),
    output:
        geojson=OUTLINES,
        csv=PATHS.gland_table("{slide}"),
        record=PATHS.record("export_slide", "{slide}"),
    log:
        PATHS.log("export_slide", "{slide}"),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        # A change of `label_mask` does not change the outlines.
        export=CONFIGURATION.export.model_dump(exclude={"label_mask"}),
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/export_slide.py"


rule mask_slide:
    input:
        check_record("mask_slide"),
        glands=record_of_store(PATHS.glands("{slide}")),
    output:
        mask=PATHS.label_mask("{slide}"),
        record=PATHS.record("mask_slide", "{slide}"),
    log:
        PATHS.log("mask_slide", "{slide}"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        made_from=made_from,
        code_version=2,
    script:
        "../scripts/mask_slide.py"


rule propose_regions:
    input:
        check_record("propose_regions"),
        unpack(lambda wildcards: drawn_labels(wildcards.slide)),
        glands=record_of_store(PATHS.glands("{slide}")),
        maps=record_of_store(PATHS.maps("{slide}")),
        tiles=record_of_store(PATHS.tiles("{slide}")),
    output:
        geojson=PATHS.proposals("{slide}"),
        record=PATHS.record("propose_regions", "{slide}"),
    log:
        PATHS.log("propose_regions", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        proposals=CONFIGURATION.proposals.to_dict(),
        origin=CONFIGURATION.export.origin,
        gland_class=verbatim(CONFIGURATION.export.gland_class),
        made_from=made_from,
        code_version=2,
    script:
        "../scripts/propose_regions.py"


rule qupath_scripts:
    input:
        check_record("qupath_scripts"),
    output:
        import_all=PATHS.qupath_import,
        export_annotations=PATHS.qupath_export,
        record=PATHS.record("qupath_scripts"),
    log:
        PATHS.log("qupath_scripts"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=500,
    params:
        # QuPath identifies slides by their file names; folders do not matter.
        slides=[(row.slide, Path(row.path).name) for row in SHEET.rows],
        gland_class=verbatim(CONFIGURATION.export.gland_class),
        ending=CONFIGURATION.geojson_suffix,
        made_from=made_from,
        code_version=1,
    script:
        "../scripts/qupath_scripts.py"


rule overview_slide:
    input:
        check_record("overview_slide"),
        unpack(lambda wildcards: drawn_labels(wildcards.slide)),
        glands=record_of_store(PATHS.glands("{slide}")),
        maps=record_of_store(PATHS.maps("{slide}")),
        tiles=record_of_store(PATHS.tiles("{slide}")),
    output:
        png=PATHS.overview("{slide}"),
        record=PATHS.record("overview_slide", "{slide}"),
    log:
        PATHS.log("overview_slide", "{slide}"),
    priority: BEFORE_TILING
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        title=lambda wildcards: f"{wildcards.slide} ({SHEET[wildcards.slide].split})",
        made_from=made_from,
        code_version=8,
    script:
        "../scripts/overview_slide.py"


rule evaluate_slide:
    input:
        check_record("evaluate_slide"),
        glands=record_of_store(PATHS.glands("{slide}")),
        labels=record_of_store(PATHS.labels("{slide}")),
    output:
        metrics=PATHS.metrics("{slide}"),
        record=PATHS.record("evaluate_slide", "{slide}"),
    log:
        PATHS.log("evaluate_slide", "{slide}"),
    conda:
        "../../environment.yml"
    resources:
        # About 35 bytes per pixel of the annotated regions: 4000 for 100 megapixels, the next
        # attempt for 400.
        mem_mb=lambda wildcards, attempt: 4000 * 4 ** (attempt - 1),
    params:
        split=lambda wildcards: SHEET[wildcards.slide].split,
        method=METHOD,
        min_area_um2=CONFIGURATION.glands.min_area_um2,
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/evaluate_slide.py"


use rule stitch_slide as stitch_slide_compared with:
    input:
        check_record("stitch_slide_compared"),
        maps=record_of_store(PATHS.compared("{method}").maps("{slide}")),
    output:
        record=record_of_store(PATHS.compared("{method}").glands("{slide}")),
    log:
        PATHS.log("stitch_slide_compared", "{method}/{slide}"),


use rule evaluate_slide as evaluate_slide_compared with:
    input:
        check_record("evaluate_slide_compared"),
        glands=record_of_store(PATHS.compared("{method}").glands("{slide}")),
        labels=record_of_store(PATHS.labels("{slide}")),
    output:
        metrics=PATHS.compared("{method}").metrics("{slide}"),
        record=PATHS.compared("{method}").record("evaluate_slide", "{slide}"),
    log:
        PATHS.log("evaluate_slide_compared", "{method}/{slide}"),
    params:
        split=lambda wildcards: SHEET[wildcards.slide].split,
        method=lambda wildcards: wildcards.method,
        min_area_um2=CONFIGURATION.glands.min_area_um2,
        made_from=made_from,
        code_version=3,
