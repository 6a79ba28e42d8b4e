"""From measurements to statements: intervals, verdicts, slopes.

* ``intervals``: an interval over splits, and the verdict that it allows;
* ``slopes``: how fast a measure changes with a model's width;
* ``ladder``: the measures of the models that differ in width alone.
"""
