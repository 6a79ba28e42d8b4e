"""Small models whose theorems can be checked exactly, and what a theorem says of a real model.

* ``linear_networks``: deep linear networks of any width, for the theorem on natural tasks;
* ``ridge_risk``: the training risk of kernel ridge regression, and its bounds.

Of linear probing, then fine-tuning (Tomihari and Sato):

* ``first_step``: one step of fine-tuning, predicted for the logits and for the features;
* ``head_growth``: why the norm of a linear head grows;
* ``lora_share``: LoRA's part of the kernel of a linear model, and bounds on it;
* ``probe_stationarity``: what linear probing leaves to the head.
"""
