"""Answers in the styles of many models: the last box of a response, and its verdict."""

import pytest

from thinktuning.grading.answers import extract_boxed, verify

# Responses with the verdict that a careful reader would give.
STYLES = {
    "number 42": {
        True: [
            r"6 times 7 is \boxed{42}.",
            r"**Final answer:** $\boxed{42}$",
            r"First I had \boxed{40}, but that forgets two: \boxed{42}",
            r"\[\boxed{42}\] Let me know if \boxed needs explaining!",
            r"\boxed{42.00}",
            r"\boxed{+42}",
            r"\boxed{\$42}",
            r"\boxed{€42}",
            r"\boxed{42\%}",
            r"\boxed{42 \text{ m/s}}",
            r"\boxed{42 \, \mathrm{cm}^2}",
            r"\boxed{42 apples}",
            r"\boxed{\text{42}}",
            r"\boxed{\mathbf{42}}",
            r"\boxed{**42**}",
            r"\boxed{x = 42}",
            r"\boxed{42^\circ}",
            r"\boxed{\frac{84}{2}}",
            r"\boxed{4.2 \times 10^1}",
            "答案是 \\boxed{42}。",
            "\\boxed{٤٢}",
            "\\boxed{४२}",
            "\\boxed{\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}}",
        ],
        False: [
            "The answer is 42.",
            "#### 42",
            r"\boxed{42} ... no: \boxed{43}",
            r"\boxed{42 or 43}",
            r"\boxed{42, 43}",
            r"\boxed{-42}",
            r"\boxed{4 2}",
            r"\boxed{42 million}",
            r"\boxed{about 42}",
            r"\boxed{}",
            r"\boxed{42",
            r"\boxed{四十二}",
            r"\boxed{\text{The answer is } 42 \text{ or so}}",
        ],
    },
    "number 1234": {
        True: [r"\boxed{1,234}", r"\boxed{1{,}234}", r"\boxed{1\,234}", r"\boxed{1 234}"],
        False: [r"\boxed{12,34}", r"\boxed{1.234}", r"\boxed{1,234,000}"],
    },
    r"latex \frac{1}{2}": {
        True: [
            r"\boxed{\frac{1}{2}}",
            r"\boxed{\dfrac12}",
            r"\boxed{1/2}",
            r"\boxed{0.5}",
            r"\boxed{50\%}",
            r"\boxed{\frac{\sqrt{4}}{4}}",
            r"\boxed{\left(\frac{1}{2}\right)}",
            r"$x$ is \boxed{x=\frac{1}{2}}",
        ],
        False: [
            r"\boxed{\frac{2}{1}}",
            r"\boxed{\frac{1}{2}x}",
            r"\boxed{12}",
            r"\boxed{\frac{1}}",
        ],
    },
    "letter B": {
        True: [
            r"\boxed{B}",
            r"\boxed{b}",
            r"\boxed{(B)}",
            r"\boxed{B.}",
            r"\boxed{\text{B}}",
            r"\boxed{\textbf{(B)}~Paris}",
            r"\boxed{B. Paris}",
            r"\boxed{B: Paris}",
            r"\boxed{Option B}",
            "\\boxed{\N{FULLWIDTH LATIN CAPITAL LETTER B}}",
        ],
        False: [
            r"\boxed{Paris}",
            r"\boxed{A, B}",
            r"\boxed{A or B}",
            r"\boxed{B and C}",
            r"\boxed{Bee}",
            r"(B)",
            "\\boxed{\N{CYRILLIC CAPITAL LETTER VE}}",
        ],
    },
    "yes_no yes": {
        True: [r"\boxed{yes}", r"\boxed{\text{Yes.}}", r"\boxed{True}", r"\boxed{Yes, it did}"],
        False: [r"\boxed{no}", r"\boxed{yes and no}", r"\boxed{Yes; no}", r"Yes.", r"\boxed{oui}"],
    },
}


@pytest.mark.parametrize(
    ("response", "kind", "gold", "expected"),
    [
        (response, *case.split(" ", 1), expected)
        for case, verdicts in STYLES.items()
        for expected, responses in verdicts.items()
        for response in responses
    ],
)
def test_answers_in_many_styles(response, kind, gold, expected):
    assert verify(extract_boxed(response), gold, kind) is expected
