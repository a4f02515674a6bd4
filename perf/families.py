"""Which sizes and how much pretraining give a toy model with two separate skills, by task family.

    python perf/families.py studies/families.yaml
    python perf/families.py studies/families.yaml --set max_steps=1700
    python perf/families.py studies/families.yaml --set 'families={products: {share: 1}}'

It trains the toy model of the study, with the keys of its section `model` that `--set` changes, and
measures each band of its families as a study's base is measured: on problems that no document asks,
one sampled terse answer each, and one greedy answer that was asked for a check. Shares are percent,
with exact 95% intervals over problems (Clopper and Pearson).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from parts.markdown import table

HEADER = ("band", "problems", "terse", "asked", "tutor", "feedback parsed", "reflects unasked")
SHARES = (
    "student_accuracy_sampled",
    "student_asked_to_check_accuracy",
    "tutor_accuracy",
    "tutor_parsed",
    "student_reflection_rate_sampled",
)


def estimate(share, n):
    """Write a share and its interval in percent."""
    from thinktuning.analysis.intervals import clopper_pearson

    low, high = clopper_pearson(round(share * n), n)
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main():
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", help="a study whose base is the toy model")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in YAML")
    parser.add_argument(
        "--problems", type=int, help="of each family; without, as for a study's base"
    )
    arguments = parser.parse_args()

    from thinktuning.evaluation import skills
    from thinktuning.models import organism
    from thinktuning.models.config import OrganismConfig
    from thinktuning.models.documents import NUM_HELD_OUT, held_out
    from thinktuning.study.reading import load_study
    from thinktuning.teachers.prompts import load

    if (arguments.problems or 0) > NUM_HELD_OUT:
        parser.error(f"--problems: documents leave out {NUM_HELD_OUT} of each family; take as many")
    changes = {
        key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in arguments.set)
    }
    model = load_study(arguments.study).model.model_dump() | changes
    spec, tutor = OrganismConfig.model_validate(model), load("organism").chat
    with tempfile.TemporaryDirectory() as directory:
        made = organism.build(spec, set(), tutor, Path(directory))
    probe = held_out(spec, spec.seed, arguments.problems) if arguments.problems else made.probe
    found = skills.measure(made.model, made.tokenizer, probe, tutor)
    num_weights = sum(weight.numel() for weight in made.model.parameters())
    print(f"{num_weights / 1e6:.2f}M weights, {len(made.tokenizer)} tokens, {changes}")
    bands = found.get("bands") or {"all": found}
    rows = [
        (name, n := of["num_problems"], *(estimate(of[share], n) for share in SHARES))
        for name, of in bands.items()
    ]
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
