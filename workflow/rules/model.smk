rule resolve_base:
    output:
        "results/models/config.json",
    log:
        "results/logs/base/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=to_json(ModelRun(model=STUDY.model)),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# An organism is trained, on documents that must not meet the evaluation: it takes the data, and a
# node of its own. Any other model is fetched and converted, which may need the network: local.
rule base:
    input:
        DATA if STUDY.model.source == "organism" else [],
        config=rules.resolve_base.output,
    output:
        directory("results/models/base"),
    log:
        "results/logs/base/base.log",
    benchmark:
        "results/benchmarks/base.tsv"
    localrule: STUDY.model.source != "organism"
    conda:
        "../../environment.yml"
    threads: STUDY.resources.base.threads
    resources:
        mem_mb=STUDY.resources.base.mem_mb,
        runtime=STUDY.resources.base.runtime,
    shell:
        "export OMP_NUM_THREADS={threads}; "
        "thinktuning base --config {input.config} --data results/data --output {output}"
        " > {log} 2>&1"
