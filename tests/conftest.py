"""Every test runs offline, on one thread and without a data folder or corpus of the user's."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("TANGENTLM_DATA", None)
os.environ.pop("TANGENTLM_CORPUS", None)

import torch

torch.set_num_threads(1)
