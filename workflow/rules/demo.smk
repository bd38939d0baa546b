rule make_demo_slide:
    output:
        slide=f"{DEMO_FOLDER}{{slide}}.tiff",
        annotation=f"{DEMO_FOLDER}{{slide}}.geojson",
        truth=f"{DEMO_FOLDER}{{slide}}.truth.tiff",
    log:
        PATHS.log("make_demo_slide", "{slide}"),
    wildcard_constraints:
        slide="demo-[a-z]+-[0-9]+",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
    params:
        code_version=1,
    script:
        "../scripts/make_demo_slide.py"
