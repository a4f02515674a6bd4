"""The sentences of the page: they repeat the comparison's numbers, and claim no more than these."""

import json
import re
from pathlib import Path

from answered_study import ONE_SEED, run_compare
from hypothesis import example, given
from hypothesis import strategies as st

from thinktuning.analysis.findings import findings, sweep_findings
from thinktuning.analysis.report.page import read_table
from thinktuning.commands.report import report
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob, SweepJob

JOB = CompareJob(
    study="tiny",
    methods={"base": "zero-shot", "grpo": "GRPO", "tt": "ThinkTuning"},
    seeds={"base": [], "grpo": [0, 1, 2], "tt": [0, 1, 2]},
    evaluated_seeds={"base": [0], "grpo": [0, 1, 2], "tt": [0, 1, 2]},
    tasks=["sums", "products"],
    comparison=ComparisonConfig(baselines=["base", "grpo"]),
)
GAIN, LOSS = (0.4164, 0.37, 0.458), (-0.2, -0.3, -0.1)
OPEN = (0.04, -0.066, 0.146)
NONE = (None, None, None)


def row(method, task, to_base, to_grpo, p=0.01, p_holm=0.02, **changes):
    """Return a row of comparison.csv; differences as (value, low, high)."""
    made = {"method": method, "label": JOB.methods[method], "task": task, "n": 300.0, "k": 4.0}
    made |= {"mean": 0.5, "truncation_rate": 0.0, "error_rate": 0.0, "no_answer_rate": 0.0}
    made |= {"reflection_rate": 0.25, "reflection_ci_low": 0.2, "reflection_ci_high": 0.3}
    for name, ends in (("base", to_base), ("grpo", to_grpo)):
        keys = (f"diff_{name}", f"diff_{name}_ci_low", f"diff_{name}_ci_high")
        made |= dict(zip(keys, ends, strict=True))
        made |= {f"diff_{name}_p": p, f"diff_{name}_p_holm": p_holm, f"mde_{name}": 0.204}
        made[f"diff_{name}_seed_values"] = "0.1 -0.2"
    return made | changes


def rows(sums, products, mean, **changes):
    """Return comparison.csv, given the difference of `tt` to `grpo` in each scope."""
    scopes = {"sums": sums, "products": products, "mean of tasks": mean}
    found = []
    for task, ends in scopes.items():
        found += [row("base", task, NONE, LOSS), row("grpo", task, GAIN, NONE)]
        found += [row("tt", task, GAIN, ends, **changes)]
    return found


def texts(sentences):
    return [f"{sentence.claim} {sentence.rest}" for sentence in sentences]


def test_who_is_ahead_of_whom_by_how_much():
    found = findings(JOB, rows(GAIN, OPEN, GAIN), {})
    first, *others = texts(found.settled)
    assert first == (
        "ThinkTuning (50.0%) is ahead of GRPO (50.0%) by 41.6 points [37.0, 45.8] (mean of 2 tasks,"
        " 300 questions with 4 answers each, 3 training seeds); ahead on sums; not settled on"
        " products."
    )
    assert [re.sub(" \\(5.*?\\)", "", text)[:33] for text in others] == [
        "GRPO is ahead of zero-shot by 41.",  # once, though both are baselines
        "ThinkTuning is ahead of zero-shot",
    ]
    assert all(text.endswith("; ahead on each task.") for text in others)
    assert texts(found.unsettled) == [
        "ThinkTuning and GRPO on products (300 questions with 4 answers each, 3 training seeds):"
        " the difference is +4.0 [-6.6, +14.6] points; p 0.010, 0.020 after correction; 20.4 points"
        " or more would be found four times in five."
    ]
    assert found.marked == []


def test_a_method_that_is_behind_is_told_from_the_other_side():
    first = texts(findings(JOB, rows(LOSS, GAIN, LOSS), {}).settled)[0]
    assert first.startswith(
        "GRPO (50.0%) is ahead of ThinkTuning (50.0%) by 20.0 points [10.0, 30.0]"
    )
    assert first.endswith("; ahead on sums; behind on products.")


def test_what_the_correction_does_not_confirm_is_not_settled():
    found = findings(JOB, rows(GAIN, GAIN, GAIN, p_holm=0.07), {})
    assert all("ThinkTuning" not in text for text in texts(found.settled))
    assert all("which does not confirm the interval" in text for text in texts(found.unsettled))
    assert len(found.unsettled) == 6  # two pairs in three scopes


def test_without_an_interval_the_seeds_are_told():
    seeds = {name: [0, 1] if found else [] for name, found in JOB.seeds.items()}
    job = JOB.model_copy(update={"seeds": seeds})
    found = findings(job, rows(*[(0.1, None, None)] * 3), {})
    limit, first, *_ = texts(found.unsettled)
    assert limit.startswith("Two training seeds :")
    assert "+10.0 (seeds +10.0, -20.0) points; its seeds allow no interval" in first


def test_what_is_marked():
    given = rows(GAIN, GAIN, GAIN, truncation_rate=0.0725, error_rate=0.02)
    told = "- **ThinkTuning on sums: 91.8% is outside the expected 1 to 2%.** Likely causes: a; b."
    found = findings(JOB, given, {"grpo": ["no signal in 3 of 4 batches"], "tt": []}, told)
    assert texts(found.marked) == [
        "GRPO is marked : the notes on training say what that means.",
        "ThinkTuning : 7.2% of its answers reached the token limit and count as wrong.",
        "ThinkTuning : the grader failed on 2.0% of its answers, which count as wrong.",
        "ThinkTuning on sums: 91.8% is outside the expected 1 to 2%. Likely causes: a; b.",
    ]


def test_a_study_without_another_baseline_compares_nothing():
    job = JOB.model_copy(update={"comparison": ComparisonConfig(baselines=[])})
    found = findings(job, rows(GAIN, GAIN, GAIN), {})
    assert found.settled == []
    assert found.unsettled[0].claim == "No methods are compared"


share = st.floats(-1, 1, allow_nan=False)


@given(st.tuples(share, share, share), st.none() | st.floats(0, 1), st.booleans())
@example((1.0, 1.0, 1.0), 0.05, True)  # and 1 - 0.95 is a little more than 0.05
def test_nobody_is_ahead_beyond_the_interval(values, p_holm, has_interval):
    low, value, high = sorted(values)
    ends = (value, low, high) if has_interval else (value, None, None)
    found = findings(JOB, rows(ends, ends, ends, p_holm=p_holm), {})
    claims = [text for text in texts(found.settled) if {"GRPO", "ThinkTuning"} <= {*text.split()}]
    settled = has_interval and not low <= 0 <= high and (p_holm is None or p_holm < 0.05)
    assert len(claims) == settled
    for claim in claims:
        ahead = "ThinkTuning" if value > 0 else "GRPO"
        assert claim.startswith(ahead)
        shown = re.search(r"by ([\d.]+) points \[([\d.]+), ([\d.]+)\]", claim)
        assert [float(text) for text in shown.groups()] == [
            round(100 * abs(end), 1)
            for end in ((value, low, high) if value > 0 else (value, high, low))
        ]


def test_the_page_opens_with_them(tmp_path: Path):
    job = JOB.model_copy(
        update={
            "methods": {"base": "zero-shot", "method": "a|b"},
            "seeds": {"base": [], "method": [0]},
            "evaluated_seeds": {"base": [0], "method": [0]},
            "tasks": ["sums"],
            "comparison": ComparisonConfig(baselines=["base"]),
        }
    )
    run_compare(tmp_path, job, ONE_SEED)
    run = tmp_path / "runs/method/seed0"
    (run / "rollouts.jsonl").write_text("")
    made = json.loads((run / "provenance.json").read_text()) | {"commit": "c0ffee0"}
    (run / "provenance.json").write_text(json.dumps(made))
    run.joinpath("config.json").write_text('{"algorithm": {"type": "rft"}}')
    report(job, tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    opening = page[page.index("<main>") : page.index('<section id="headline">')]
    assert "What was found" in opening and "One training seed" in opening
    found = findings(job, read_table(tmp_path / "tables/comparison.csv", []), {})
    assert len(found.unsettled) == 2 and found.unsettled[1].rest in opening
    assert "RFT: imitation of right completions" in opening
    assert '<rect width="12" height="12" rx="2" fill="#' in opening


def test_a_sweep_says_at_which_points():
    job = SweepJob(
        study="law",
        points={"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}},
        elsewhere={"a": {}, "b": {}, "c": {}},
        comparison=JOB,
        gap=None,
        x=None,
        baseline="grpo",
        methods=["tt"],
    )
    each = {"a": LOSS, "b": OPEN, "c": LOSS}
    given = [row("tt", "sums", GAIN, ends) | {"point": point} for point, ends in each.items()]
    told = texts(sweep_findings(job, given))
    assert told[0] == (
        "GRPO is ahead of ThinkTuning at 2 of 3 points : a by 20.0 points [10.0, 30.0] and c by"
        " 20.0 points [10.0, 30.0]; not settled at b."
    )
    assert told[2].startswith("ThinkTuning is ahead of zero-shot at 3 of 3 points")
    for each in given:  # as on the page of the point
        each |= {f"diff_{name}_p_holm": 0.06 for name in ("base", "grpo")}
    assert not [told for told in texts(sweep_findings(job, given)) if "is ahead" in told]


def test_seeds_that_succeed_or_fail_are_counted():
    split = {"seeds_above": 2.0, "seeds_above_ci_low": 0.094, "seeds_above_ci_high": 0.992}
    split |= {"seeds_threshold": 0.5, "seed_values": "0.1 0.8 0.9"}
    found = findings(JOB, rows(NONE, OPEN, NONE, **split), {})
    told = [text for text in texts(found.marked) if "succeed or fail" in text]
    assert told[0] == (
        "Seeds of ThinkTuning succeed or fail  in accuracy on sums, so their mean's interval does"
        " not hold: 2 of 3 seeds above 50% [9, 99]."
    )
    all_above = split | {"seeds_above": 3.0}  # another method's seeds split, not these
    marked = findings(JOB, rows(NONE, OPEN, NONE, **all_above), {}).marked
    assert not [text for text in texts(marked) if "succeed or fail" in text]
