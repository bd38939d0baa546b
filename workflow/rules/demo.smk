rule make_demo_slide:
    output:
        slide="data/demo/{slide}.tiff",
        annotation="data/demo/{slide}.geojson",
        truth="data/demo/{slide}.truth.tiff",
    log:
        f"{RESULTS}/logs/make_demo_slide/{{slide}}.log",
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
