rule resolve_model:
    output:
        "results/models/{model}.json",
    log:
        "results/logs/model/{model}.resolve.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=lambda wildcards: resolved(ModelJob(model=MODELS[wildcards.model])),
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# The base model, and separate teacher and judge models. A toy model (`source: organism`) is trained
# on documents that must exclude the evaluation questions: it needs the data, and runs as a job.
rule organism:
    input:
        DATA,
        config=rules.resolve_model.output,
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/model/{model}.log",
    benchmark:
        "results/benchmarks/model/{model}.tsv"
    wildcard_constraints:
        model=one_of(ORGANISMS),
    conda:
        "../../environment.yml"
    threads: STUDY.resources.model.threads
    resources:
        **resources(STUDY.resources.model),
    shell:
        "export OMP_NUM_THREADS={threads}; "
        "thinktuning model --config {input.config} --data results/data --output {output}"
        " > {log} 2>&1"


# A local rule: any other model is fetched and converted, which may need the network.
use rule organism as model with:
    input:
        config=rules.resolve_model.output,
    wildcard_constraints:
        model=one_of(MODELS.keys() - ORGANISMS),
    localrule: True


# Only for a study with a section `warmup`, whose model is then called `raw`.
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
            resolved=lambda wildcards: resolved(STUDY.warmup_job()),
        shell:
            "printf %s {params.resolved:q} > {output} 2> {log}"

    # Worked answers are those to the training questions; the toy model's documents need only the
    # evaluation questions, which they exclude.
    rule warmup:
        input:
            EVALUATION_DATA if STUDY.warmup.documents else DATA[:1],
            config=rules.resolve_warmup.output,
            model="results/models/raw",
        output:
            directory("results/models/base"),
        log:
            "results/logs/warmup/warmup.log",
        benchmark:
            "results/benchmarks/warmup.tsv"
        conda:
            "../../environment.yml"
        threads: STUDY.resources.model.threads
        resources:
            **resources(STUDY.resources.model),
        shell:
            "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
            f"{ON_GPUS}"
            " thinktuning warmup --config {input.config} --model {input.model} --data results/data"
            " --output {output} > {log} 2>&1"
