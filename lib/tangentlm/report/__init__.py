"""What a page shows that is no figure: tables, links, notes.

* ``tables``: tables as HTML;
* ``run_tables``: every run of a study, with links to rows and pages;
* ``notes``: what a page took.
"""
