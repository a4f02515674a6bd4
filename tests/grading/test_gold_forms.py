"""What a gold answer's letters, names and relations ask for: the verdicts on answers, by gold."""

import pytest

from thinktuning.grading.answers import parse_gold, verify

# A letter in italics at the end of a gold answer is a variable, and no unit.
VARIABLES = {
    r"\frac{\sqrt{3}}{4} s^2": {
        True: [r"\frac{\sqrt{3}}{4}s^2", r"\frac{s^2\sqrt{3}}{4}", r"A=\frac{\sqrt{3}}{4} s^2"],
        False: [r"\frac{\sqrt{3}}{4}", r"\frac{\sqrt{3}}{4}s"],
    },
    "4 L^2": {True: ["4L^2", r"4 \cdot L^2"], False: ["4", "4 L", "4L^3"]},
    "12 m^{3}": {
        True: ["12m^3", "12 m^3", r"12\text{ m}^3"],
        False: ["12", "12 cm^3", r"12\text{ cm}^3"],
    },
    r"A=\frac{1}{3} h^3": {True: [r"\frac{h^3}{3}"], False: [r"\frac13", r"A=\frac13"]},
    "4 L^2, 5 L^2": {True: ["5L^2, 4L^2"], False: ["4, 5"]},
    "(4 L^2, 5)": {True: ["(4L^2, 5)"], False: ["(4, 5)"]},
    "3 m g^2": {True: ["3mg^2"], False: ["3"]},
    "5 m": {True: ["5m", r"5\text{ m}"], False: ["5"]},
    "5 m/s^2": {True: ["5", r"5\text{ m/s}^2"], False: ["5 m/s"]},
    r"5\text{ m}^2": {True: ["5", "5 m^2"], False: [r"5\text{ m}"]},
    "12 cm^2": {True: ["12", r"12\text{ cm}^2"], False: ["12 cm"]},
    "12": {True: ["12 m^3", "12 m", r"12\text{ m}^3"]},
}
# A sum or product of variables is no name of its value, but an equation; what follows is one.
EQUATIONS = {
    "y''+y=0": {False: ["0"]},
    "X+Y=4": {True: ["Y+X=4", "Y=4-X"], False: ["4"]},
    "m_1m_2=-1": {True: ["m_2m_1=-1"], False: ["-1"]},
    "xyz=8": {True: ["yzx=8", "x y z = 8"], False: ["8"]},
    "abc=8": {False: ["8"]},
    r"\alpha+\beta=\pi": {True: [r"\beta+\alpha=\pi", r"\alpha=\pi-\beta"], False: [r"\pi"]},
    "u_{xx}+u_{yy}=0": {True: ["u_{xx} + u_{yy} = 0"], False: ["0"]},
    "x_1+x_2=4": {True: ["x_2+x_1=4"], False: ["4"]},
    "f'(x)+f(x)=0": {False: ["0"]},
    r"\cos x=0": {False: ["0"]},
    r"A+B+C=180^\circ": {True: [r"B+A+C=180^\circ"], False: ["180", r"180^\circ"]},
    r"\frac{x}{y}=2": {True: ["x=2y"], False: ["2"]},
    r"a \cdot b=6": {True: ["ab=6"], False: ["6"]},
    "|x-y|=2": {False: ["2"]},
    r"\cos\alpha\cos\beta=0": {False: ["0"]},
    r"\alpha\beta\gamma+\alpha\beta+\gamma\delta=6": {False: ["6"]},
    "3": {True: ["x+y=3", "xyz=3", r"\cos x=3"]},
}
NAMES = {
    f"{name}=3": {True: ["3"], False: ["4"]}
    for name in (
        "x", "x_1", "f(x)", "f'(2)", "f(x+1)", "x_{n+1}", "f^{-1}(2)", "AB", r"\overline{AB}",
        "A'B'", "|AB|", "ABC", "[ABC]", r"\angle ABC", r"m\angle A", r"\triangle ABC", r"\Delta x",
        r"\frac{dy}{dx}", r"\frac{AB}{CD}", r"\sin A", r"\cos\theta", "P(A)", "v_{max}", "Base",
        "radius", "lcm", "totalCost", "books sold", r"\text{Area}",
    )
}  # fmt: skip
PAIRS = {
    "2<x<4": {True: ["(2,4)"], False: ["x_1=2, x_2=4", "a=2, b=4", "x=2, y=4"]},
    "x>3": {True: [r"(3,\infty)"], False: [r"a=3, b=\infty"]},
    r"(3,\infty)": {True: ["x>3"], False: [r"a=3, b=\infty"]},
    "x_1=2, x_2=4": {
        True: ["4, 2", "2, 4", "x_2=4, x_1=2", r"\{2,4\}"],
        False: ["2<x<4", "(2,4)", "2, 5", "x_1=2"],
    },
    "x=2, y=4": {
        True: ["2, 4", "(2,4)", "y=4, x=2", "(x,y)=(2,4)", "(y=4, x=2)"],
        False: ["4, 2", "2<x<4", "(4,2)", "(y,x)=(2,4)", "(a=2, b=4)", "a=2, b=4"],
    },
    "x+y=3, x-y=1": {True: ["x-y=1, x+y=3"], False: ["(3,1)", "3, 1"]},
    "(2,4)": {
        True: [
            "2<x<4", "x=2, y=4", "y=4, x=2", "(x=2, y=4)", "(y=4, x=2)", "(x,y)=(2,4)",
            "(y,x)=(4,2)", "(x_1,x_2)=(2,4)", "(s,k)=(2,4)", r"(r,\theta)=(2,4)", "A=(2,4)",
        ],
        False: [
            "x_1=2, x_2=4", "a=4, b=2", "(y=2, x=4)", "(y,x)=(2,4)", "(x_2,x_1)=(2,4)",
            "(x=2, x=4)", "(x=4, y=2)",
        ],
    },
    "(x,y)=(2,4)": {True: ["(2,4)", "(y,x)=(4,2)"], False: ["(y,x)=(2,4)", "(a,b)=(2,4)"]},
    "(x=2, y=4)": {
        True: ["(2,4)", "x=2, y=4", "(y=4, x=2)"],
        False: ["(a=2, b=4)", "(4,2)", "(y=2, x=4)", "a=2, b=4"],
    },
    "(3,2,1)": {
        True: ["(x,y,z)=(3,2,1)", "(z,y,x)=(1,2,3)"],
        False: ["(z,y,x)=(3,2,1)", "(x,z,y)=(3,2,1)"],
    },
}  # fmt: skip
# The equation of a question is not its solution.
SOLUTIONS = {
    "x=5": {
        True: ["5", "5=x", "x=2+3=5"],
        False: [
            "2x+3=13", "2^x=32", r"\sqrt{x-1}=2", "x=10-x", "x-5=0", "5-x=0", "x+x=10", "y=5",
        ],
    },
    "x_1=5": {True: ["x_{1}=5"], False: ["2x_1=10"]},
    "5": {True: ["x=5"], False: ["2x+3=13", "x=10-x"]},
    "y=2x+3": {True: ["2x-y+3=0", "2x+3", "y-3=2x"]},
    r"x=\frac{b}{a}": {True: ["ax=b", r"\frac{b}{a}"]},
    "x=1, x=2": {True: ["2, 1"], False: ["(x-1)(x-2)=0"]},
    r"x=\pm 3": {True: ["3, -3"], False: ["x^2=9"]},
}  # fmt: skip
# A name that contradicts its value is none, and an interval keeps its variable.
CONTRADICTED = {
    "5": {
        True: [
            r"\text{the number of boys}=5", "P(A or B)=5", r"\text{nonzero root}=5",
            r"\text{non-zero root}=5",
        ],
        False: [
            r"\text{anything but}=5", r"\text{isn't }=5", "\\text{isn\u2019t}=5", "nonx=5",
            "non-x=5", r"\text{never}=5", r"\text{the opposite}=5", r"\text{anything except}=5",
        ],
    },
    r"\text{even}": {True: [r"f \in \text{even}"], False: [r"\text{odd}\in\text{even}"]},
}  # fmt: skip
INTERVALS = {
    r"x \in [-2,7]": {
        True: ["[-2,7]", r"-2\le x\le 7"],
        False: [r"y \in [-2,7]", r"-2\le y\le 7", r"x \in [-2,7)"],
    },
    "[-2,7]": {True: [r"x \in [-2,7]", r"y \in [-2,7]"]},
    r"x \in (-\infty,2)\cup(3,\infty)": {
        True: [r"(-\infty,2)\cup(3,\infty)", "x<2 or x>3"],
        False: [r"y \in (-\infty,2)\cup(3,\infty)", "y<2 or y>3"],
    },
    "x>2": {True: [r"x \in (2,\infty)"], False: [r"y \in (2,\infty)"]},
    r"\{2,3\}": {True: [r"x \in \{2,3\}"]},
    r"\{(1,2),(3,4)\}": {True: [r"(x,y) \in \{(1,2),(3,4)\}"]},
    "(2,4)": {True: [r"\{x\mid x\in(2,4)\}"]},
}
WRITTEN = {
    "5": {
        True: ["5=2+3", "x=5=2+3", "2+3=5"],
        False: ["5=2+4", "x=5=6", "4=5", "5=x+y=6"],
    },
    "S=2+3=5": {False: ["2+3"]},
    r"(-\infty,2) \cup (3,\infty)": {
        True: [r"(-\infty,2) U (3,\infty)", r"(-\infty,2)U(3,\infty)"],
        False: [r"(-\infty,2) U (3,4)"],
    },
}
GOLDS = VARIABLES, EQUATIONS, NAMES, PAIRS, SOLUTIONS, CONTRADICTED, INTERVALS, WRITTEN


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (gold, answer, expected)
        for golds in GOLDS
        for gold, verdicts in golds.items()
        for expected in (True, False)
        for answer in (*verdicts.get(expected, []), *([gold] if expected else []))
    ],
)
def test_what_a_gold_answer_asks_for(gold, answer, expected):
    assert verify(answer, parse_gold(gold, "latex"), "latex") is expected
