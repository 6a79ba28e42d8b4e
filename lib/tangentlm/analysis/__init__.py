"""From measurements to statements.

* ``intervals``: an estimate with its 95 % interval, and the verdict that it allows;
* ``verdicts``: the words of the verdicts;
* ``slopes``: how fast a measure changes with a model's width;
* ``ladder``: the measures of the models that differ in width alone.
"""
