"""Small models whose theorems can be checked exactly.

* ``linear_networks``: deep linear networks of any width, for the theorem on natural tasks;
* ``ridge_risk``: the training risk of kernel ridge regression, and its bounds.
"""
