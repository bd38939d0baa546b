rule stitch_slide:
    input:
        maps=f"{RESULTS}/maps/{{slide}}.zarr",
    output:
        glands=directory(f"{RESULTS}/glands/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/stitch_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        glands=config["glands"],
        code_version=1,
    script:
        "../scripts/stitch_slide.py"


rule export_slide:
    input:
        glands=f"{RESULTS}/glands/{{slide}}.zarr",
        maps=f"{RESULTS}/maps/{{slide}}.zarr",
    output:
        geojson=f"{RESULTS}/glands/{{slide}}.{GEOJSON}",
        csv=f"{RESULTS}/glands/{{slide}}.csv",
    log:
        f"{RESULTS}/logs/export_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        # A label mask asked for is no reason to write all outlines again.
        export={
            key: value
            for key, value in config["export"].items()
            if key != "label_mask"
        },
        code_version=2,
    script:
        "../scripts/export_slide.py"


rule mask_slide:
    input:
        glands=f"{RESULTS}/glands/{{slide}}.zarr",
    output:
        mask=f"{RESULTS}/glands/{{slide}}.ome.tiff",
    log:
        f"{RESULTS}/logs/mask_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        code_version=2,
    script:
        "../scripts/mask_slide.py"


rule propose_regions:
    input:
        unpack(lambda wildcards: truth_of(wildcards.slide)),
        glands=f"{RESULTS}/glands/{{slide}}.zarr",
        maps=f"{RESULTS}/maps/{{slide}}.zarr",
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
    output:
        geojson=f"{RESULTS}/proposals/{{slide}}.geojson",
    log:
        f"{RESULTS}/logs/propose_regions/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        proposals=config["proposals"],
        origin=config["export"]["origin"],
        gland_class=config["export"]["gland_class"],
        code_version=2,
    script:
        "../scripts/propose_regions.py"


rule qupath_scripts:
    output:
        import_all=f"{RESULTS}/qupath/import_all.groovy",
        export_annotations=f"{RESULTS}/qupath/export_annotations.groovy",
    log:
        f"{RESULTS}/logs/qupath_scripts/all.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=500,
    params:
        # Where the slides lie does not matter to QuPath.
        slides=[(row.slide, Path(row.path).name) for row in SHEET.rows],
        gland_class=config["export"]["gland_class"],
        ending=GEOJSON,
        code_version=1,
    script:
        "../scripts/qupath_scripts.py"


rule overview_slide:
    input:
        unpack(lambda wildcards: truth_of(wildcards.slide)),
        glands=f"{RESULTS}/glands/{{slide}}.zarr",
        maps=f"{RESULTS}/maps/{{slide}}.zarr",
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
    output:
        png=f"{RESULTS}/overviews/{{slide}}.png",
    log:
        f"{RESULTS}/logs/overview_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        title=lambda wildcards: f"{wildcards.slide} ({SHEET[wildcards.slide].split})",
        code_version=3,
    script:
        "../scripts/overview_slide.py"


rule evaluate_slide:
    input:
        glands=f"{RESULTS}/glands/{{slide}}.zarr",
        labels=f"{RESULTS}/labels/{{slide}}.zarr",
    output:
        metrics=f"{RESULTS}/metrics/{{slide}}.csv",
    log:
        f"{RESULTS}/logs/evaluate_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
    params:
        split=lambda wildcards: SHEET[wildcards.slide].split,
        method=METHOD,
        min_area_um2=config["glands"]["min_area_um2"],
        code_version=2,
    script:
        "../scripts/evaluate_slide.py"


use rule stitch_slide as stitch_slide_compared with:
    input:
        maps=f"{RESULTS}/compare/{{method}}/maps/{{slide}}.zarr",
    output:
        glands=directory(f"{RESULTS}/compare/{{method}}/glands/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/stitch_slide_compared/{{method}}/{{slide}}.log",


use rule evaluate_slide as evaluate_slide_compared with:
    input:
        glands=f"{RESULTS}/compare/{{method}}/glands/{{slide}}.zarr",
        labels=f"{RESULTS}/labels/{{slide}}.zarr",
    output:
        metrics=f"{RESULTS}/compare/{{method}}/metrics/{{slide}}.csv",
    log:
        f"{RESULTS}/logs/evaluate_slide_compared/{{method}}/{{slide}}.log",
    params:
        split=lambda wildcards: SHEET[wildcards.slide].split,
        method=lambda wildcards: wildcards.method,
        min_area_um2=config["glands"]["min_area_um2"],
        code_version=2,
