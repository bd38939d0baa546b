rule tile_slide:
    input:
        unpack(lambda wildcards: files_of(wildcards.slide)),
    output:
        tiles=directory(f"{RESULTS}/tiles/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/tile_slide/{{slide}}.log",
    wildcard_constraints:
        slide=any_of(set(SHEET.ids()) - PASSING),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        tiles=config["tiles"],
        mpp=lambda wildcards: SHEET[wildcards.slide].mpp,
        # Only outlines drawn in a viewer count from its crop.
        origin=lambda wildcards: (
            config["export"]["origin"] if drawn_on(wildcards.slide) else "slide"
        ),
        # A recorded failure is an output like any other: a copy put in the broken file's place is seen even when it is older.
        files=lambda wildcards: stamps(files_of(wildcards.slide)),
        code_version=4,
    script:
        "../scripts/tile_slide.py"


# Slides that are only predicted give their tiles back once nothing waits for them; a run that needs them later makes them again.
use rule tile_slide as tile_slide_for_once with:
    output:
        tiles=temp(directory(f"{RESULTS}/tiles/{{slide}}.zarr")),
    log:
        f"{RESULTS}/logs/tile_slide/{{slide}}.log",
    wildcard_constraints:
        slide=any_of(PASSING),


rule label_slide:
    input:
        annotation=lambda wildcards: SHEET[wildcards.slide].annotation,
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
    output:
        labels=directory(f"{RESULTS}/labels/{{slide}}.zarr"),
    log:
        f"{RESULTS}/logs/label_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        annotated=lambda wildcards: SHEET[wildcards.slide].annotated,
        origin=config["export"]["origin"],
        gland_class=config["export"]["gland_class"],
        code_version=2,
    script:
        "../scripts/label_slide.py"


rule preview_slide:
    input:
        tiles=f"{RESULTS}/tiles/{{slide}}.zarr",
    output:
        card=f"{RESULTS}/previews/{{slide}}.json",
    log:
        f"{RESULTS}/logs/preview_slide/{{slide}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        code_version=1,
    script:
        "../scripts/preview_slide.py"


rule preview:
    input:
        cards=expand(f"{RESULTS}/previews/{{slide}}.json", slide=SHEET.ids()),
        last_failure=last_failure,
    output:
        html=f"{RESULTS}/preview.html",
        png=f"{RESULTS}/preview.png",
    log:
        f"{RESULTS}/logs/preview/all.log",
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        mem_mb=2000,
    params:
        network=config["network"],
        tile_px=config["tiles"]["tile_px"],
        model=config["model"],
        prediction={key: config["prediction"][key] for key in ("precision", "flips")},
        code_version=2,
    script:
        "../scripts/preview.py"
