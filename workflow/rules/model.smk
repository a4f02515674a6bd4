rule resolve_model:
    input:
        unless_foreign(at("models/{model}.json"), configuration_of_model, at("models/{model}")),
    output:
        at("models/{model}.json"),
    log:
        at("logs/model/{model}.resolve.log"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        resolved=configuration_of_model,
    shell:
        "printf %s {params.resolved:q} > {output} 2> {log}"


# The base model, and separate teacher and judge models. A toy model (`source: organism`) is trained
# on documents that must exclude the evaluation questions: it needs the data, and runs as a job.
rule organism:
    input:
        prepared,
        config=rules.resolve_model.output,
    output:
        directory(at("models/{model}")),
    log:
        at("logs/model/{model}.log"),
    benchmark:
        at("benchmarks/model/{model}.tsv")
    wildcard_constraints:
        **at_models(is_organism),
    conda:
        "../../environment.yml"
    threads: STUDY.resources.model.threads
    resources:
        **resources(STUDY.resources.model),
    params:
        data=questions,
    shell:
        "export OMP_NUM_THREADS={threads}; "
        "thinktuning model --config {input.config} --data "
        f"{QUESTIONS}"
        " --output {output} > {log} 2>&1"


# A local rule: any other model is fetched and converted, which may need the network.
use rule organism as model with:
    input:
        config=rules.resolve_model.output,
    wildcard_constraints:
        **at_models(lambda study, model: not is_organism(study, model)),
    localrule: True


# Only for a study with a section `warmup`, whose model is then called `raw`.
if any(study.warmup for study in POINTS.values()):

    rule resolve_warmup:
        input:
            unless_foreign(at("models/warmup.json"), configuration_of_warmup, at("models/base")),
        output:
            at("models/warmup.json"),
        log:
            at("logs/warmup/resolve.log"),
        localrule: True
        conda:
            "../../environment.yml"
        params:
            resolved=configuration_of_warmup,
        shell:
            "printf %s {params.resolved:q} > {output} 2> {log}"

    rule warmup:
        input:
            warmup_data,
            config=rules.resolve_warmup.output,
            model=lambda wildcards: made(wildcards, "models/raw"),
        output:
            directory(at("models/base")),
        log:
            at("logs/warmup/warmup.log"),
        benchmark:
            at("benchmarks/warmup.tsv")
        wildcard_constraints:
            point=one_of(re.escape(point) for point, study in POINTS.items() if study.warmup),
        conda:
            "../../environment.yml"
        threads: STUDY.resources.model.threads
        resources:
            **resources(STUDY.resources.model),
        params:
            data=questions,
        shell:
            "export OMP_NUM_THREADS={threads} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1; "
            f"{ON_GPUS}"
            " thinktuning warmup --config {input.config} --model {input.model} --data "
            f"{QUESTIONS}"
            " --output {output} > {log} 2>&1"
