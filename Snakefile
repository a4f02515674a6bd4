# From a study file to comparison tables: `snakemake --cores all [--configfile studies/NAME.yaml]`.
from snakemake.utils import min_version

min_version("9.0")


# A study given with --configfile, complete or with `extends`, replaces the default one and is never
# merged with it. A second file is merged over the first, e.g. what `thinktuning plan --write` wrote.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/sweep.smk"


rule all:
    default_target: True
    input:
        expand([*rules.compare.output, *rules.report.output], point=POINTS),
        rules.sweep.output if STUDY.sweep else [],
