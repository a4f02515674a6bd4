"""The paper behind each algorithm, for model cards: TRL's `_name` and `_paper` of a trainer."""

from typing import TypedDict


class Paper(TypedDict, total=False):
    """A paper as TRL's trainers have it: title, arXiv id, BibTeX entry."""

    title: str
    id: str
    citation: str


THINKTUNING = Paper(
    title="ThinkTuning: Instilling Cognitive Reflections without Distillation",
    id="2508.07616",
    citation="""@inproceedings{rrv2025thinktuning,
    title     = {{ThinkTuning: Instilling Cognitive Reflections without Distillation}},
    author    = {RRV, Aswin and Dineen, Jacob and Handa, Divij and Uddin, Md Nayem and Parmar, Mihir and
                 Baral, Chitta and Zhou, Ben},
    booktitle = {Proceedings of the 2025 Conference on Empirical Methods in Natural Language Processing},
    year      = {2025},
    pages     = {31236--31250},
    url       = {https://aclanthology.org/2025.emnlp-main.1592/}
}""",  # noqa: E501
)

# algorithm.type -> its name and paper; None: TRL's own of GRPO, {}: a control without a paper
PAPERS: dict[str, tuple[str, Paper] | None] = {
    "thinktuning": ("ThinkTuning", THINKTUNING),
    "grpo": None,
    "sft": ("SFT on spliced rollouts", Paper()),
    "rft": (
        "RFT",
        Paper(
            title="Scaling Relationship on Learning Mathematical Reasoning with Large Language"
            " Models",
            id="2308.01825",
        ),
    ),
    "luffy": (
        "LUFFY",
        Paper(title="Learning to Reason under Off-Policy Guidance", id="2504.14945"),
    ),
    "critique_grpo": (
        "Critique-GRPO",
        Paper(
            title="Critique-GRPO: Advancing LLM Reasoning with Natural Language and Numerical"
            " Feedback",
            id="2506.03106",
        ),
    ),
    "dpo": (
        "DPO on corrected answers",
        Paper(
            title="Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
            id="2305.18290",
        ),
    ),
    "sdpo": ("SDPO", Paper(id="2601.20802", title="Reinforcement Learning via Self-Distillation")),
}


def paper_of(kind: str) -> tuple[str, Paper] | None:
    """Return an algorithm's name and paper; None where TRL's own trainer has them.

    One that is not listed has its `algorithm.type` as its name, and no paper.
    """
    return PAPERS[kind] if kind in PAPERS else (kind, Paper())
