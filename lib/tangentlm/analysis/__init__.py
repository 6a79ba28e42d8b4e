"""From measurements to statements.

* ``intervals``: 95 % intervals of means, shares, differences and correlations;
* ``estimates``: means with the sources of their uncertainty, tests, and what it takes to decide;
* ``sampling``: what other test rows would have done;
* ``several``: many statements judged together;
* ``learning``: whether a task was learned, judged on dev;
* ``verdicts``: what an interval allows to say, and the words for it;
* ``rank_correlation``: whether two measures go together within groups;
* ``strata``, ``bootstrap``, ``permutations``: the same for many measures at once, within strata of
  each group, with an interval over groups and seeds, and two tests;
* ``choosing``: what it costs to choose by a measure, and what noise leaves to know;
* ``slopes``: how fast a measure changes with a model's width;
* ``ladder``: the measures of the models that differ in width alone.
"""
