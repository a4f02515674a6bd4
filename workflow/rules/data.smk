rule resolve_data:
    output:
        "results/data/config.json",
    log:
        "results/logs/data/resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=resolved(STUDY.data_job()),
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


# The teachers' prompts are no part of the data: a new one trains only the methods that use it.
rule resolve_exemplars:
    output:
        "results/data/exemplars.config.json",
    log:
        "results/logs/data/exemplars.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=resolved(STUDY.exemplars_job()),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule exemplars:
    input:
        DATA,
        config=rules.resolve_exemplars.output,
    output:
        "results/data/exemplars.json",
    log:
        "results/logs/data/exemplars.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: STUDY.resources.data.threads
    resources:
        **resources(STUDY.resources.data),
    shell:
        "thinktuning exemplars --config {input.config} --data results/data --output {output}"
        " > {log} 2>&1"
