# ---
# jupyter:
#   jupytext:
#     formats: py:percent,md:myst
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every run
#
# A number in this book comes from a run, and every run is in a table here: its parameters, what it
# scored, what it cost, and on which machine and versions. Click a header to sort, type to search. Scores are in
# percent on the test split, the best hyperparameters having been chosen on dev. Where the executed
# notebook of a run is part of the book, its name links to it.
#
# To see what a study would run, or to run it, type `make study STUDY=quick DRYRUN=1` or
# `make study STUDY=quick JOBS=2`.

# %% tags=["hide-input"]
from IPython.display import Markdown, display
from itables import init_notebook_mode

from tangentlm.params import list_studies
from tangentlm.report.run_tables import collected_studies, runs_table
from tangentlm.studies.progress import study_progress

init_notebook_mode(all_interactive=False)  # searchable tables, without a network
for study in list_studies():
    progress = study_progress([study])
    display(Markdown(f"## Study {study}"))
    if study not in collected_studies():
        display(Markdown(f"Not run: {progress['runs'].sum()} runs."))
        continue
    for row in progress.itertuples():
        display(
            Markdown(
                f"**{row.experiment}**: {row.done} of {row.runs} runs, "
                f"{row.hours:.1f} hours in all."
            )
        )
        if row.done:
            display(runs_table(study, row.experiment))

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
