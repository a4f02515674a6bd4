"""Comparing files of lm-eval's `--log_samples`, in the form that lm-eval 0.4.13 writes."""

import hashlib
import json
import subprocess
import sys

import pytest

from thinktuning.analysis import diff_samples, paired_difference
from thinktuning.analysis.sample_diff import compare_samples
from thinktuning.io.errors import StudyError

VERDICTS = {"a": [1, 1, 0, 0, 1, 0, 0, 0], "b": [1, 0, 1, 1, 1, 1, 1, 1]}


def generated(i, score, filter_name="strict-match", **changes):
    """A row of a task that generates text."""
    row = {"doc_id": i, "doc": {"question": f"{i}?"}, "target": str(i)}
    row |= {"arguments": {"gen_args_0": {"arg_0": f"Q: {i}?", "arg_1": {"do_sample": False}}}}
    row |= {"resps": [[f"answer {i}"]], "filtered_resps": [str(i)], "filter": filter_name}
    row |= {"metrics": ["exact_match"], "doc_hash": hashlib.sha256(b"%d" % i).hexdigest()}
    row |= {"prompt_hash": f"prompt {i}", "target_hash": f"target {i}", "exact_match": float(score)}
    return row | changes


def chosen(i, score, **changes):
    """A row of a multiple-choice task, scored by likelihood."""
    options = [[["-0.7", "False"]], [["-0.5", "False"]]]
    return generated(i, score, "none") | {
        **{"resps": options, "metrics": ["acc", "acc_norm"], "acc": score, "acc_norm": 1.0},
        **changes,
    }


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    """Two models' files, each under two filters."""
    return [
        write(
            tmp_path / f"samples_gsm8k_{name}.jsonl",
            [
                *(generated(i, score) for i, score in enumerate(verdicts)),
                *(generated(i, 1, "flexible-extract") for i in range(8)),
            ],
        )
        for name, verdicts in VERDICTS.items()
    ]


def test_two_models_are_paired_by_document(files, capsys):
    found = diff_samples(*files, filter_name="strict-match")
    a, b = ([[score] for score in VERDICTS[name]] for name in "ab")
    assert found.difference == paired_difference(b, a)
    assert (found.a.mean, found.b.mean) == (3 / 8, 7 / 8)
    assert found.flips["wrong to right"] == 5 / 8 and found.flips["right to wrong"] == 1 / 8
    assert list(found.gains)[:3] == ["0", "1", "2"] and found.gains["1"] == -1
    compare_samples(*files, filter_name="strict-match")
    out = capsys.readouterr().out
    assert "accuracy, %: 37.5 [8.5, 75.5]; 8 questions, exact_match, filter strict-match" in out
    # 0, -1, 1, 1, 0, 1, 1, 1 and two more, -1 and 1: mean 0.4, squares about it sum to 6.4, se =
    # sqrt(6.4 / 90) = 0.2667, t_7 = 2.365: 0.4 +- 0.631; t = 1.5
    assert "B minus A +50.0 [-23.1, +100.0] points, paired by question, p = 0.177" in out
    assert "wrong to right 62.5%, right to wrong 12.5%" in out
    assert "B gains   on 5 of 8 questions\n\nquestion  2, gold 2\nA         answer 2\n" in out


def test_a_choice_by_likelihood(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", [chosen(i, i % 2) for i in range(4)])
    b = write(tmp_path / "b.jsonl", [chosen(i, 1.0) for i in range(4)])
    found = diff_samples(a, b)
    assert (found.a.mean, found.b.mean, found.files[0].metric) == (0.5, 1, "acc, filter none")
    assert diff_samples(a, b, metric="acc_norm").difference.mean == 0
    compare_samples(a, b)
    assert "A         option 2 of 2, by likelihood\n" in capsys.readouterr().out


def test_shares_of_samples_are_scores(tmp_path):
    paths = [
        write(tmp_path / f"{name}.jsonl", [generated(i, score) for i in range(6)])
        for name, score in (("a", 0.25), ("b", 0.5))
    ]
    assert diff_samples(*paths).difference.mean == 0.25


def test_scores_that_are_no_verdicts_do_not_change_as_verdicts(tmp_path, capsys):
    rows = [generated(i, 0, metrics=["f1"], f1=0.5) for i in range(6)]
    a = write(tmp_path / "a.jsonl", rows)
    assert diff_samples(a, a).flips == {}  # not a quarter from wrong to right
    compare_samples(a, a)
    assert "verdicts" not in capsys.readouterr().out
    shares = write(tmp_path / "b.jsonl", [row | {"resps": [["yes", "no"]]} for row in rows])
    assert diff_samples(shares, shares).flips["wrong to right"] == 0.25  # of pairs of samples


def test_other_prompts_are_compared_if_that_is_meant(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", [generated(i, 0) for i in range(3)])
    b = write(tmp_path / "b.jsonl", [generated(i, 1, prompt_hash="chat") for i in range(3)])
    with pytest.raises(StudyError, match=r"different prompts on 3 of 3 .*--different-prompts"):
        diff_samples(a, b)
    compare_samples(a, b, different_prompts=True)
    assert "prompts   differ on 3 of 3 questions" in capsys.readouterr().out


ROWS = [generated(i, 1) for i in range(3)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([r | {"doc_hash": "other"} for r in ROWS], {}, "document 0 is another one in each"),
        ([r | {"target": "9"} for r in ROWS], {}, "'0' has different gold answers, '0' and '9'"),
        (ROWS[:2], {}, "1 of 3 are only in the first, e.g. '2'"),
        ([*ROWS, generated(3, 1)], {}, "1 of 4 are only in the first, e.g. '3'"),
        ([*ROWS, ROWS[0]], {}, "document 0 is there twice"),
        (ROWS[:1], {}, "has 1 documents; needs at least two"),
        ([r | {"filter": "other"} for r in ROWS], {}, "filter strict-match in the first"),
        ([*ROWS, generated(0, 1, "x")], {}, "has the filters strict-match, x; .* --filter"),
        (ROWS, {"filter_name": "none"}, "has no filter none, but strict-match"),
        (ROWS, {"metric": "acc"}, "has no metric acc, but exact_match"),
        ([r | {"metrics": ["f1", "em"]} for r in ROWS], {}, "has the metrics f1, em; .* --metric"),
        ([r | {"exact_match": [0, 1]} for r in ROWS], {}, r"exact_match is \[0, 1\], not a score"),
        ([r | {"exact_match": 7.5} for r in ROWS], {}, "exact_match is 7.5, not a score"),
        ([{"doc_id": 1}], {}, "sample 1 has no resps"),
        ([{"id": 1, "correct": True, "text": ""}] * 2, {}, "has 1 questions"),
        (
            [{"id": i, "correct": True, "text": ""} for i in range(3)],
            {},
            "exact_match, filter strict-match in the first, our own verdicts in the second",
        ),
    ],
)
def test_files_that_do_not_match_are_refused(tmp_path, rows, options, message):
    a, b = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", rows)
    with pytest.raises(StudyError, match=message):
        diff_samples(a, b, **options)


def test_documents_without_hashes_are_compared_by_content(tmp_path):
    old = [{k: v for k, v in row.items() if not k.endswith("_hash")} for row in ROWS]
    a = write(tmp_path / "a.jsonl", old)
    other = [row | {"doc": {"question": "another"}} for row in old]
    assert diff_samples(a, a).difference.p == 1
    with pytest.raises(StudyError, match="document 0 is another one"):
        diff_samples(a, write(tmp_path / "b.jsonl", other))


def test_the_command_line(files, tmp_path):
    command = [sys.executable, "-m", "thinktuning.commands.cli", "compare", *map(str, files)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode and "choose one with --filter" in refused.stderr
    command += ["--filter", "flexible-extract", "--metric", "exact_match"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "B minus A +0.0 [" in done.stdout and "p = 1.000" in done.stdout


def test_the_functions_need_no_torch():
    code = "import sys; from thinktuning.analysis import *; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def without(row, *ends):
    return {key: value for key, value in row.items() if not key.endswith(ends)}


def test_files_of_two_versions_are_paired_by_what_both_have(tmp_path):
    new = write(tmp_path / "new.jsonl", ROWS)
    listed = [
        without(row, "_hash") | {"arguments": [[f"Q: {i}?", {"do_sample": True}]]}
        for i, row in enumerate(ROWS)
    ]
    old = write(tmp_path / "old.jsonl", listed)
    assert diff_samples(old, new).difference.p == 1
    other = write(tmp_path / "other.jsonl", [row | {"doc": {"question": "?"}} for row in listed])
    with pytest.raises(StudyError, match="document 0 is another one"):
        diff_samples(other, new)
    asked = [row | {"arguments": [["Answer!", {"do_sample": True}]]} for row in listed]
    with pytest.raises(StudyError, match="different prompts on 3 of 3"):
        diff_samples(write(tmp_path / "asked.jsonl", asked), new)


def test_another_sampling_is_not_another_prompt(tmp_path):
    greedy, sampled = (
        write(
            tmp_path / f"{temperature}.jsonl",
            [
                without(row, "_hash") | {"arguments": [[f"Q: {i}?", {"temperature": temperature}]]}
                for i, row in enumerate(ROWS)
            ],
        )
        for temperature in (0, 1)
    )
    assert diff_samples(greedy, sampled).difference.p == 1


def test_metrics_that_an_earlier_version_does_not_list(tmp_path):
    rows = [without(chosen(i, i % 2), "metrics", "exact_match") | {"target": 3} for i in range(4)]
    a = write(tmp_path / "a.jsonl", rows)
    assert diff_samples(a, a).a.mean == 0.5
    assert diff_samples(a, a, metric="acc_norm").a.mean == 1
    b = write(
        tmp_path / "b.jsonl", [without(row, "acc", "acc_norm") | {"mc2": 0.25} for row in rows]
    )
    assert diff_samples(b, b).a.mean == 0.25


def test_shares_of_samples_have_the_interval_of_the_samples(tmp_path):
    """Our samples.jsonl has each of 16 answers, lm-eval's file of the same answers their share."""
    right = [16 * [i % 2] for i in range(8)] + [[1, 0] * 8] * 40
    ours = write(
        tmp_path / "ours.jsonl",
        [
            {"id": i, "sample": k, "correct": bool(verdict), "text": ""}
            for i, verdicts in enumerate(right)
            for k, verdict in enumerate(verdicts)
        ],
    )
    theirs = write(
        tmp_path / "theirs.jsonl",
        [generated(i, sum(v) / 16, resps=[[""] * 16]) for i, v in enumerate(right)],
    )
    assert diff_samples(theirs, theirs).a == diff_samples(ours, ours).a
