"""Answer extraction and verification, the reward, and reflective behaviors.

A response becomes a verdict in these steps:

    answers       finds the last box with an answer, and names the kinds of answer
    choices       letters and yes/no
    normalize     numbers and LaTeX in one plain form; `numerals`, `units` and `vocabulary.yaml`
    policy        what may equal what
      structure     lists, pairs, intervals, chains, units and bases, as `nodes`; `names`
      scalars       values: plain numbers, and what math-verify reads (`expressions`, `dialect`,
                    `applied`)
      solutions     equations, inequalities and sets of numbers
    grader        the same in other processes, within limits

To change what counts as the same answer, read `normalize` and `policy`; the others say how.
`whole_text` verifies as the paper's released code does. `reward` and `once` are the reward,
`behaviors` detects reflection.
"""
