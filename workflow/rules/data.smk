rule resolve_data:
    output:
        "results/data/config.json",
    log:
        "results/logs/data/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=to_json(STUDY.data_job()),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# A local rule: its sources may need a network, which a cluster's nodes may not have.
rule data:
    input:
        config=rules.resolve_data.output,
    output:
        DATA,
        decontamination="results/data/decontamination.json",
    log:
        "results/logs/data/data.log",
    benchmark:
        "results/benchmarks/data.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: STUDY.resources.data.threads
    resources:
        **resources(STUDY.resources.data),
    shell:
        "thinktuning data --config {input.config} --output results/data > {log} 2>&1"
