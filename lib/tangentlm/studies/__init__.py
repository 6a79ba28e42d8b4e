"""Studies: sets of runs, what is done of them, and what they left behind.

* ``identity``: what decides a run's result;
* ``done``: whether a run is done, and why not;
* ``checks``: what refuses runs before any of them starts;
* ``execution``: executes one run, through papermill;
* ``launch``: executes what a study lacks, through Snakemake;
* ``published``: our solvers on the kernels that the authors published;
* ``repeat``: executes a collected run again and compares every number;
* ``listing``: what has a name;
* ``records``: what a run leaves behind;
* ``collect``: the records of a study as tables, which are committed;
* ``progress``: how far a study is.
"""
