rule resolve_base:
    output:
        "results/models/{model}.json",
    log:
        "results/logs/base/{model}.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=lambda wildcards: to_json(ModelRun(model=MODELS[wildcards.model])),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# The base model, the teachers and the judge that are other models. An organism is trained, on
# documents that must not meet the evaluation: it takes the data, and a node of its own.
rule organism:
    input:
        DATA,
        config=rules.resolve_base.output,
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/base/{model}.log",
    benchmark:
        "results/benchmarks/base/{model}.tsv"
    wildcard_constraints:
        model=one_of(ORGANISMS),
    conda:
        "../../environment.yml"
    threads: STUDY.resources.base.threads
    resources:
        **resources(STUDY.resources.base),
    shell:
        "export OMP_NUM_THREADS={threads}; "
        "thinktuning base --config {input.config} --data results/data --output {output}"
        " > {log} 2>&1"


# Any other model is fetched and converted, which may need the network: local.
use rule organism as base with:
    input:
        config=rules.resolve_base.output,
    wildcard_constraints:
        model=one_of(MODELS.keys() - ORGANISMS),
    localrule: True


# For a study with a section `warmup`; its model is `raw` then.
if STUDY.warmup:

    rule resolve_warmup:
        output:
            "results/models/warmup.json",
        log:
            "results/logs/warmup/resolve.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            resolved=lambda wildcards: to_json(STUDY.warmup_config()),
        shell:
            "printf %s {params.resolved:q} > {output} 2> {log}"

    rule warmup:
        input:
            config=rules.resolve_warmup.output,
            model="results/models/raw",
            data="results/data/train.jsonl",
        output:
            directory("results/models/base"),
        log:
            "results/logs/warmup/warmup.log",
        benchmark:
            "results/benchmarks/warmup.tsv"
        conda:
            "../../environment.yml"
        threads: STUDY.resources.base.threads
        resources:
            **resources(STUDY.resources.base),
        shell:
            "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
            f"{ON_GPUS}"
            " thinktuning warmup --config {input.config} --model {input.model} --data {input.data}"
            " --output {output} > {log} 2>&1"
