# Only for a study with a section `sweep`: what its points show together.
if STUDY.sweep:

    rule resolve_sweep:
        input:
            unless_foreign(
                "results/tables/config.json", configuration_of_sweep, "results/tables/sweep.csv"
            ),
        output:
            "results/tables/config.json",
        log:
            "results/logs/sweep/resolve.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            resolved=configuration_of_sweep,
        shell:
            "printf %s {params.resolved:q} > {output} 2> {log}"

    # The comparisons check that the results of each point belong together.
    rule sweep:
        input:
            expand(at("tables/comparison.csv"), point=POINTS),
            config=rules.resolve_sweep.output,
        output:
            report(
                "results/tables/sweep.csv",
                category="Sweep",
                labels={"table": "sweep", "format": "csv"},
                caption="../report/sweep.rst",
            ),
            report(
                "results/tables/sweep_fit.csv",
                category="Sweep",
                labels={"table": "fitted lines", "format": "csv"},
                caption="../report/sweep.rst",
            ),
            report(
                "results/tables/sweep.md",
                category="Sweep",
                labels={"table": "sweep", "format": "Markdown"},
                caption="../report/sweep.rst",
            ),
            report(
                "results/plots/sweep.svg",
                category="Sweep",
                labels={"plot": "sweep"},
                caption="../report/sweep.rst",
            ),
            page="results/report/index.html",
        log:
            "results/logs/sweep/sweep.log",
        benchmark:
            "results/benchmarks/sweep.tsv"
        conda:
            "../../environment.yml"
        threads: STUDY.resources.compare.threads
        resources:
            **resources(STUDY.resources.compare),
        params:
            confidence=f"{STUDY.comparison.confidence:.0%}",
        shell:
            "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
            "thinktuning sweep --config {input.config} --results results"
            " --tables results/tables --plots results/plots"
            " --output {output.page} > {log} 2>&1"
