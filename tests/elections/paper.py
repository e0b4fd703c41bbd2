"""What the paper's cluster did: figure 16 of the Raft paper, 9.2 of Ongaro's dissertation.

The text tells five numbers: 150-155 ms had a median of 287 ms, the worst of 150-200 ms was 513 ms,
12-24 ms took 35 ms in the mean and 152 ms at worst, and without randomness it was more than 10 s.
All others are read off the curves in the dissertation's figure, which are vectors; so read, those
five come out the same.
"""

from tests.elections.figures import Figures

TOP = ((150, 150), (150, 151), (150, 155), (150, 175), (150, 200), (150, 300))
BOTTOM = ((12, 24), (25, 50), (50, 100), (100, 200), (150, 300))
RANGES = (*TOP, *BOTTOM[:-1])

# Least, median, mean, 99th percentile, worst. 150-150 were 100 trials, all others 1,000.
PAPER = {
    (150, 150): Figures(9866, 41_110, 54_563, 528_055, 528_055),
    (150, 151): Figures(87, 1199, 1538, 6013, 8233),
    (150, 155): Figures(87, 287, 346, 1242, 2143),
    (150, 175): Figures(87, 141, 164, 467, 610),
    (150, 200): Figures(91, 146, 156, 352, 513),
    (150, 300): Figures(93, 171, 181, 415, 603),
    (12, 24): Figures(15, 30, 35, 87, 152),
    (25, 50): Figures(24, 43, 48, 119, 276),
    (50, 100): Figures(37, 67, 71, 169, 253),
    (100, 200): Figures(67, 120, 126, 277, 335),
}
