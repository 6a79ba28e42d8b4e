"""A forecast that nobody computed, for tests of its page: every field has something in it."""

from __future__ import annotations

import numpy as np

from tangentlm.forecast.result import Data, Forecast, KernelPicture, Layer, ModelFacts, Settings
from tangentlm.forecast.rows import (
    Duplicates,
    Neighbour,
    Prediction,
    Predictions,
    Pull,
    Suspect,
    Suspects,
)
from tangentlm.forecast.ways import Cost, CurvePoint, Difference, Past, PastTask, Score

CLASSES = ("negative", "neutral", "positive")


def made_up_forecast(texts=None, classes=CLASSES, rows=60, predictions=True):
    """A forecast on texts of the caller's, used again and again where there are too few."""
    given = texts or [f"This is review number {row}, and it goes on a little." for row in range(7)]

    def text(row):
        return given[row % len(given)]

    def label(row):
        return classes[row * len(classes) // rows % len(classes)]

    draw = np.random.default_rng(0)
    features = draw.normal(size=(rows, 8)) + 1.2 * np.array(
        [[(row * len(classes) // rows == place) for place in range(8)] for row in range(rows)]
    )
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    near = tuple(Neighbour(row, text(row), label(row), 0.91 - row / 100) for row in (50, 51, 52))
    pull = tuple(Pull(row, text(row), label(row), 0.2 - row / 10) for row in range(3))
    sizes = (8, 16, 32, 60)
    methods = ("bag of words", "probe", "kernel regression")
    return Forecast(
        data=Data("reviews.csv", rows, classes, (rows // len(classes),) * len(classes), False,
                  ("The text is column 'text'.", "2 rows without a label were dropped.")),
        model=ModelFacts("pocket", "A small masked language model that comes with the book.",
                         4_120_000, "The mean of the last layer's hidden states.",
                         "The last three layers of the encoder, at the mean of the tokens.",
                         "{text_a} It was {mask} .", ("bad", "so", "good")),
        settings=Settings(13, 4, 5, 3, 1000, 10.0, 1.1, 2.4, 2.9,
                          ("Cross-validation is repeated 4 times instead of 10.",),
                          {"reading": 0.2, "kernel": 31.4}),
        scores=(
            Score("majority", 33.3, 28.0, 39.1, 16.7),
            Score("bag of words", 61.2, 54.0, 67.9, 60.0, 4, 5),
            Score("zero-shot", reason="no template was given"),
            Score("probe", 71.8, 65.2, 77.4, 71.0, 4, 5),
            Score("kernel regression", 74.4, 68.0, 80.1, 74.0, 4, 5),
        ),
        differences=(
            Difference("probe", "bag of words", 10.6, 3.9, 17.2),
            Difference("kernel regression", "probe", 2.6, -1.4, 6.3),
            Difference("kernel regression", "majority", 41.1, 33.0, 48.8),
        ),
        curve=tuple(
            CurvePoint(method, n, 80 - 60 / n**0.5 - 4 * place, 80 - 76 / n**0.5 - 4 * place,
                       80 - 40 / n**0.5 - 4 * place, n > 60)
            for place, method in enumerate(methods[::-1])
            for n in (*sizes, 120, 240)
        ),
        kernel=KernelPicture(
            tuple(tuple(map(float, row)) for row in features @ features.T), tuple(range(rows)),
            tuple(map(text, range(rows))), tuple(map(label, range(rows))),
            f"All {rows} rows, in the order of their classes.",
        ),
        suspects=Suspects(
            tuple(Suspect(row, text(row), label(row), classes[-1], 1.3 - row / 50, near)
                  for row in range(0, 60, 5)),
            74.0, 33.3,
        ),
        duplicates=(
            Duplicates((3, 9, 17), (text(3), text(9), text(17)), (label(3), label(9), label(17)),
                       0.93, True, (False, False, True)),
        ),
        layers=(
            Layer("embedding", 12.5, 0.041, 71.2),
            *(Layer(f"layer {n}", 20.0 + n, 0.05 + n / 50, 73.0 - n) for n in range(4)),
            Layer("head", 1.5, 0.31, 74.0),
        ),
        costs=(
            Cost("probe", None, 0, 0.01, None, 390, "Measured here."),
            Cost("kernel regression", None, 0, 0.9, 412.0, 60, "Measured here."),
            Cost("LoRA", 0.21, 600, 2.1, 730.0, 36_864, "Five timed steps, times the steps."),
            Cost("full fine-tuning", 0.52, 600, 5.2, 1820.0, 4_120_000,
                 "Five timed steps, times the steps."),
            Cost("SetFit", None, 0, None, None, 0, "Not measured: the package is not here."),
        ),
        past=Past(
            (
                PastTask("sst2", 5, 81.2, 79.0, 86.3),
                PastTask("trec", 5, 72.5, None, 88.1),
                PastTask("cola", 5, 69.4, 68.8, 69.0),
                PastTask("mnli", 5, None, 40.0, 44.0),
            ),
            {"10": -0.4, "50": 3.1, "90": 14.6},
            "From the study pocket: 16 rows a class, the model pocket.",
        ),
        predictions=None if not predictions else Predictions(
            "new.csv",
            tuple(Prediction(row, text(row), label(row) if row else None, classes[0],
                             (0.61, 0.2, 0.19), 0.41 - row / 30, 0.33, pull, pull[::-1], 0.07)
                  for row in range(6)),
            83.3, 61.0, 95.0, ("Row 2 is also in the training file.",),
        ),
        answer=(
            "On rows it has not seen, kernel regression gets 74.4 % right (95 %: 68.0 to 80.1).",
            "It is not told apart from a probe (+2.6 points, −1.4 to 6.3).",
            "On past tasks fine-tuning came out 3.1 points above it (10 to 90 %: −0.4 to 14.6).",
        ),
        cannot=("What accuracy fine-tuning reaches on this task.", "How it does elsewhere."),
    )  # fmt: skip
