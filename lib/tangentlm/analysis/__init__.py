"""From measurements to statements.

* ``intervals``: 95 % intervals of means, shares, differences and correlations;
* ``verdicts``: what an interval allows to say, and the words for it;
* ``rank_correlation``: whether two measures go together within groups;
* ``slopes``: how fast a measure changes with a model's width;
* ``ladder``: the measures of the models that differ in width alone.
"""
