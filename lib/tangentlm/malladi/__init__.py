"""Malladi et al. (2023), "A Kernel-Based View of Language Model Fine-Tuning".

* ``measurements``: our runs in the words of the paper's tables;
* ``ledger``: every number of the paper beside ours;
* ``claims``: what the paper claims, as statements that numbers can contradict;
* ``estimating``: the numbers that they are about, of our runs and of the paper, with uncertainty;
* ``learned``: on which tasks fine-tuning learns anything;
* ``judging``: verdicts, with their power;
* ``properties``: Table 1, kernel behaviour by task and split;
* ``behavior``: the same by means, and both rules tried on the paper;
* ``taylor``: what became of every gain of fine-tuning in the Taylor model;
* ``steps``: Definition D.3 along the way;
* ``baselines``: the kernel beside what knows less;
* ``solving``: what is left open about the solver, in points;
* ``overview``, ``words``: the result at one sight, and in words;
* ``tables``, ``figures``: the paper's own layout, with ours beside it;
* ``setup``: tasks, prompts and grids.
"""
