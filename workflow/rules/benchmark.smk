"""A table of methods on a folder of images: a job for each cell, and one for the table."""

import re

from semimoe.benchmark.table_differences import DIFFERENCES
from semimoe.benchmark.table_files import CSV, MARKDOWN, PLOT
from workflow.stages.method_table import benchmark_values, cell_files, table_cells

try:
    CELLS = {cell.name: cell for cell in table_cells(CONFIGURATION)}
except ValueError as error:
    sys.exit(problems_text([f"config benchmark: {error}"]))


def teacher_files(wildcards):
    """Files of the cell whose model makes the pseudo-labels of a cell."""
    teacher = CELLS[wildcards.cell].teacher
    return cell_files(teacher) if teacher else []


rule benchmark_cell:
    input:
        teacher_files,
    output:
        cell_files(next(iter(CELLS.values())), name="{cell}"),
    log:
        PATHS.log("benchmark_cell", "{cell}"),
    wildcard_constraints:
        cell="|".join(re.escape(name) for name in CELLS),
    conda:
        "../../environment.yml"
    threads: CONFIGURATION.benchmark.threads
    resources:
        gpu=1,
        mem_mb=6000,
        # A training that reaches its limit continues from its last epoch when it is tried again.
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=lambda wildcards: CELLS[wildcards.cell].described({}),
        configuration=verbatim(benchmark_values(CONFIGURATION)),
        code_version=1,
    script:
        "../scripts/benchmark_cell.py"


rule benchmark:
    input:
        check_record("benchmark"),
        cells=[file for cell in CELLS.values() for file in cell_files(cell)],
    output:
        markdown=PATHS.benchmark / MARKDOWN,
        csv=PATHS.benchmark / CSV,
        differences=PATHS.benchmark / DIFFERENCES,
        plot=PATHS.benchmark / PLOT,
        record=PATHS.record("benchmark"),
    log:
        PATHS.log("benchmark"),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        configuration=verbatim(benchmark_values(CONFIGURATION)),
        made_from=made_from,
        code_version=3,
    script:
        "../scripts/benchmark.py"
