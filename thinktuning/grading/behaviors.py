r"""Detect ThinkTuning's four reflective behaviors, and name what reflection did to the answer.

Behaviors (those of the paper's exemplars):
    self_conflict      doubts what it has just written: "Wait, let me check."
    self_critique      names a flaw in its own work: "I skipped the steps, so let me redo it."
    self_agreement     goes over its work again to confirm it: "Let me go through it again."
    self_consultation  imagines what someone else would say: "My teacher would ask for each step."

The detector is lexical: it finds reflective phrases, not reflection, and an opening "Wait" or "Hmm"
counts as a conflict even if a confirmation follows. It matches whole words and, where the word
alone is common in problems ("wait 5 minutes", "checks out books"), the phrase around it. It matches
nothing in the 8,792 questions and worked solutions of GSM8K or the 500 of MATH-500: no false
positives on text that does not reflect.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from thinktuning.grading.answers import committed

Behavior = Literal["self_conflict", "self_critique", "self_agreement", "self_consultation"]
Process = Literal["verification", "backtracking", "subgoals"]

_WORK = (
    r"(?:answers?|results?|reasoning|work|working|calculations?|computations?|solution|steps?"
    r"|logic|math|arithmetic|approach|problem|question|equations?|numbers?)"
)
_MY_WORK = (  # "verify that it holds" is not reflection
    rf"(?:it|this|these|them|everything|that(?! \w)|(?:my|our|this|that|the) (?:\w+ )?{_WORK})\b"
)
_SOMEONE = (
    r"(?:a|an|my|some) (?:\w+ ){0,3}(?:teacher|tutor|professor|mentor|coach|friend|colleague"
    r"|classmate|expert|mathematician|instructor)s?\b"
)
_LET_ME = (
    r"\b(?:let me|let's|let us|I'll|I will|I should|I need to)(?: (?:just|now|quickly|actually))?"
)
_STOP = r" ?(?:[.,:;!?\-\u2013\u2014\u2026]|$)"  # punctuation or the end of the line
_CHECK = r"(?: (?:so )?let me (?:\w+ )?(?:check|verify|see|think|look|re-?\w+|go back)\b)?"

# Every pattern starts at a word or a line: searching only there finds the same matches, faster.
_BEGIN = r"(?:\b(?=[^\W\d_])|^)"

# A space matches any whitespace, an apostrophe either kind; case matters only inside (?-i:...).
# Matches do not overlap: the earliest start wins, then the earlier pattern, so "Wait, let me check"
# is only a conflict.
PATTERNS: dict[Behavior, list[str]] = {
    "self_conflict": [
        rf"\b(?-i:Wait|WAIT)\b(?: a (?:minute|second|moment)\b)?{_STOP}{_CHECK}",
        r"\b(?-i:Wait|WAIT) (?:no|but|I|that|this|let|maybe|what|actually)\b",
        rf"\b(?:but|oh|no|hmm+),? wait\b{_STOP}{_CHECK}",
        r"\bwait\b ?(?:,|-|\u2014|\u2026|\.{3}) ?(?:no|let me|actually|maybe)\b",
        rf"\bhold on\b{_STOP}{_CHECK}",
        r"\bhmm+\b",
        r"\b(?-i:Actually), (?:no|that|I|let|this|it)\b",
        r"\b(?:that|this|it) (?:can't|cannot|can not|couldn't) be (?:right|correct|true)\b",
        r"\b(?:does not|doesn't|didn't) (?:seem|look|sound|feel|sit) (?:right|correct)\b",
        r"\b(?:that|this|it) (?:does not|doesn't) (?:add up|make sense)\b",
        r"\b(?:that|this|it|something) (?:seems|looks|sounds|feels|is|'s) (?:off|fishy)\b",
        r"\bthat (?:is|'s) not what (?:the (?:problem|question)|I|it)\b",
        r"\bI(?:'m| am) not (?:so |quite |entirely )?(?:sure|certain|convinced)\b",
        r"\bis (?:that|this|it) (?:really |actually )?(?:right|correct)\?",
    ],
    "self_critique": [
        r"\bI(?: have|'ve)?(?: (?:may|might|must) have)? made (?:an?|another|some) "
        r"(?:\w+ ){0,2}(?:mistakes?|errors?|slips?)\b",
        r"\bmy (?:mistake|error|bad)\b",
        rf"\bmy (?:\w+ )?{_WORK} (?:is|are|was|were|seems?|has) "
        r"(?:wrong|incorrect|flawed|off|incomplete|mistaken)\b",
        r"\bI (?:skipped|rushed|overlooked|miscalculated|miscounted|misread|misinterpreted)\b",
        r"\bI (?:misunderstood|mixed up|(?:just )?(?:kind of |sort of )?jumped (?:straight )?to)\b",
        r"\bI (?:forgot|failed|neglected) to\b",
        r"\bI (?:should have|should've|shouldn't have|should not have)\b",
        rf"{_LET_ME} (?:re-?do|re-?calculate|re-?compute|re-?work|correct|fix) {_MY_WORK}",
        r"\b(?:flaw|mistake|error|problem|weakness|gap) (?:in|with) my\b",
        rf"{_LET_ME} (?:check|do|work) (?:it|this|that) (?:properly|more carefully)\b",
    ],
    "self_agreement": [
        rf"{_LET_ME} (?:double|triple)[- ]?check",
        rf"{_LET_ME} (?:verify|confirm|re-?check|re-?verify|re-?examine|re-?visit|re-?consider"
        rf"|re-?read|review)(?: (?:if|whether|by|with)\b| {_MY_WORK}|{_STOP})",
        rf"\blet me check (?:again|{_MY_WORK})(?: again)?{_STOP}",
        rf"\b(?:go|going|run|look|walk|work|trace) (?:back )?(?:through|over) {_MY_WORK} "
        r"(?:again|once more|one more time)\b",
        rf"\b(?:look|looking|go|going|think|thinking) back (?:at|over|on|through) {_MY_WORK}",
        rf"\b(?:confirms|agrees with|matches) my (?:\w+ )?{_WORK}\b",
        rf"\bmy (?:\w+ )?{_WORK} (?:is|are|was|were|seems?|looks?|holds?|checks?) "
        r"(?:indeed |still )?(?:right|correct|sound|valid|consistent|up|out)\b",
        r"\b(?:it|this|that|everything|all|logic|math|answer) (?:checks out|lines up|holds up)\b",
        r"\bI (?:still )?(?:stand by|agree with) my\b",
    ],
    "self_consultation": [
        rf"\b{_SOMEONE},? (?:would|might|used to|always|often|told|taught|says|said|asks)\b",
        rf"\b(?:imagine|suppose|picture|what if)(?: that)? {_SOMEONE} (?:ask|read|look|say|said"
        r"|point|check|were|was|is|saw)",
        rf"\b(?:what|how) would {_SOMEONE} \w+",
        rf"\bif {_SOMEONE},? (?:were|was|asked|saw|looked|read)\b",
        r"\b(?:someone|somebody) (?:else )?(?:might|could|would) (?:ask|object|point out|say)\b",
        r"\bif I (?:had to|were to|was to) explain (?:this|it|that|my)\b",
        r"\bI (?:ask|asked|remind|reminded|tell|told) myself\b",
    ],
}

# Reasoning processes studied by Gandhi et al. 2025 (arXiv 2503.01307), in addition to the paper's
# four behaviors: a solution may set subgoals without reflecting. They overlap with the behaviors
# and with each other, and are counted separately.
PROCESSES: dict[Process, list[str]] = {
    "verification": [
        rf"\b(?:double|cross)[- ]?check(?:s|ed|ing)?\b|{_LET_ME} (?:check|verify|confirm|test)\b",
        rf"\b(?:checking|verifying|to (?:check|verify|confirm)) {_MY_WORK}",
        r"\b(?:plug(?:ging)?|substitut(?:e|ing)|put(?:ting)?) (?:\S+ ){1,4}back\b",
        r"(?m:^)\W{0,4}(?:check|verification|sanity check) ?:",
    ],
    "backtracking": [
        rf"\b(?-i:Wait|WAIT)\b{_STOP}|\b(?-i:Actually), ",
        r"\blet(?:'s| me| us) (?:start (?:over|again)|try (?:again|another|a different)|go back)\b",
        r"\b(?:that|this)(?:'s| is) (?:wrong|incorrect|not right|a mistake)\b",
        r"\bon second thought\b|\bscratch that\b",
        r"\b(?:this|that) (?:approach|way|method) (?:won't|will not|doesn't|does not|can't) work\b",
    ],
    "subgoals": [
        r"(?m:^)\W{0,4}step (?:\d+|one|two|three)\b",
        r"\b(?:first|next|then|now|finally),? (?:I|we|let's|let us|let me)\b(?! know)",
        r"\b(?:to (?:solve|find|answer) \w+ ?\w*,? )?(?:I|we) (?:first )?need to "
        r"(?:find|compute|calculate|determine|figure out|know|work out)\b",
        r"\blet(?:'s| us| me) break (?:it|this|that|the \w+) (?:down|into)\b",
        r"\bthe (?:first|second|third|next|last|final) (?:step|thing|task) is\b",
    ],
}


def _compile(patterns: Mapping[Behavior, list[str]]) -> re.Pattern[str]:
    groups = (f"(?P<{name}>{'|'.join(alternatives)})" for name, alternatives in patterns.items())
    return _any("|".join(groups))


def _any(source: str) -> re.Pattern[str]:
    source = source.replace(" ?", r"\s*").replace(" ", r"\s+").replace("'", "['\u2019]")
    return re.compile(f"{_BEGIN}(?:{source})", re.IGNORECASE | re.MULTILINE)


_REFLECTION = _compile(PATTERNS)
_PROCESSES = {name: _any("|".join(alternatives)) for name, alternatives in PROCESSES.items()}

FLIPS = {
    (False, True): "wrong_to_right",
    (True, False): "right_to_wrong",
    (True, True): "right_to_right",
    (False, False): "wrong_to_wrong",
}


def detect(text: str) -> set[str]:
    """Return the behaviors that occur in the text."""
    return set(_count(text))


def reflects(text: str) -> bool:
    """Return whether any of the four behaviors occurs in the text."""
    return _REFLECTION.search(text) is not None


def count(text: str) -> dict[str, int]:
    """Count the occurrences of each behavior, and of each process, in the text."""
    found = _count(text)
    behaviors = {name: found[name] for name in PATTERNS}
    return behaviors | {
        name: sum(1 for _ in pattern.finditer(text)) for name, pattern in _PROCESSES.items()
    }


def first_boxed(text: str) -> str | None:
    r"""Return the first committed answer: that of the first closed `\boxed{...}` with one."""
    return next(iter(committed(text)), None)


def _count(text: str) -> Counter[str]:
    return Counter(str(match.lastgroup) for match in _REFLECTION.finditer(text))
