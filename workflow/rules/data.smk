rule resolve_data:
    input:
        unless_foreign(at("data/config.json"), configuration_of_data, at("data/train.jsonl")),
    output:
        at("data/config.json"),
    log:
        at("logs/data/resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_data,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# A local rule: its sources may need a network, which a cluster's nodes may not have.
rule data:
    input:
        config=rules.resolve_data.output,
    output:
        at("data/train.jsonl"),
        [at(f"data/{path}") for path in EVALUATION_DATA],
        decontamination=at("data/decontamination.json"),
    log:
        at("logs/data/data.log"),
    benchmark:
        at("benchmarks/data.tsv")
    localrule: True
    conda:
        "../../environment.yml"
    threads: STUDY.resources.data.threads
    resources:
        **resources(STUDY.resources.data),
    shell:
        "thinktuning data --config {input.config} --output " f"{HERE}/data" " > {log} 2>&1"


# The teachers' prompts are no part of the data: a new one trains only the methods that use it.
rule resolve_exemplars:
    input:
        unless_foreign(
            at("data/exemplars.config.json"), configuration_of_exemplars, at("data/exemplars.json")
        ),
    output:
        at("data/exemplars.config.json"),
    log:
        at("logs/data/exemplars.resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_exemplars,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


rule exemplars:
    input:
        prepared,
        config=rules.resolve_exemplars.output,
    output:
        at("data/exemplars.json"),
    log:
        at("logs/data/exemplars.log"),
    localrule: True
    conda:
        "../../environment.yml"
    threads: STUDY.resources.data.threads
    resources:
        **resources(STUDY.resources.data),
    params:
        data=questions,
    shell:
        "thinktuning exemplars --config {input.config} --data "
        f"{QUESTIONS}"
        " --output {output} > {log} 2>&1"
