import ast
import inspect
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import build_book
import jupytext
import pairs
import pytest
import yaml

from tangentlm import figures
from tangentlm.params import RUNS, Run, project_root
from tangentlm.studies.execution import template

ROOT = project_root()
PAGES = {str(page.relative_to(ROOT)): page for page in pairs.pages()}


@pytest.fixture(params=PAGES.values(), ids=PAGES.keys())
def page(request):
    return request.param


def toc_files():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    ]


def test_twin_has_the_same_cells(page):
    twin = page.with_suffix(".md")
    assert twin.is_file(), "type: make pairs"
    assert pairs.cells(twin) == pairs.cells(page), "type: make pairs"


def test_a_changed_cell_is_noticed(page, tmp_path):
    notebook = jupytext.read(page)
    notebook.cells[-1].source += "\n# changed"
    changed = tmp_path / page.name
    jupytext.write(notebook, changed, fmt="py:percent")
    assert pairs.cells(changed) != pairs.cells(page)


def test_every_page_is_in_the_table_of_contents_with_its_ending():
    assert all((ROOT / name).is_file() and name.endswith(".md") for name in toc_files())
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "book").rglob("*.md")}
    assert written == set(toc_files())


def drawing_functions():
    """The functions of ``tangentlm.figures`` that return a figure, by name."""
    found = {name: getattr(figures, name) for name in figures.__all__}
    return {
        name
        for name, function in found.items()
        if inspect.isfunction(function) and inspect.get_annotations(function)["return"] == "Figure"
    }


class Drawings(ast.NodeVisitor):
    """Which of a page's cells draw; it is shown them in order and learns names on its way."""

    def __init__(self):
        self.modules, self.names, self.found = set(), set(), False

    def draws(self, source):
        self.found = False
        self.visit(ast.parse(source))
        return self.found

    def visit_Import(self, node):
        for name in node.names:
            if name.name.split(".")[0] == "matplotlib" or name.name == "tangentlm.figures":
                self.modules.add(name.asname or name.name)

    def visit_ImportFrom(self, node):
        for name in node.names:
            used = name.asname or name.name
            if f"{node.module}.{name.name}" in ("tangentlm.figures", "matplotlib.pyplot"):
                self.modules.add(used)
            elif node.module == "tangentlm.figures" and name.name in drawing_functions():
                self.names.add(used)

    def visit_FunctionDef(self, node):
        """A helper of the page draws where it is called, not where it is defined."""
        before, self.found = self.found, False
        self.generic_visit(node)
        if self.found:
            self.names.add(node.name)
        self.found = before

    def visit_Call(self, node):
        place, _, name = ast.unparse(node.func).rpartition(".")
        if not place:
            self.found |= name in self.names
        elif place in self.modules:
            self.found |= name in drawing_functions() | {"subplots", "figure"}
        else:
            self.found |= name == "plot"
        self.generic_visit(node)


@pytest.mark.parametrize(
    ("before", "source"),
    [
        ("", "figures.lines(table, 'x', {})"),
        ("", "if len(table):\n    display(figures.lines(table, 'x', {}))"),
        ("", "for task in tasks:\n    figures.heat_map(table, task)"),
        ("from tangentlm.figures import lines as curves", "display(curves(table, 'x', {}))"),
        ("import tangentlm.figures as f", "f.lines(table, 'x', {})"),
        ("import matplotlib.pyplot as plt", "fig, axes = plt.subplots()"),
        ("", "table.plot(x='n')"),
        ("def shown(t):\n    return figures.lines(t, 'x', {})", "display(shown(table))"),
    ],
)
def test_a_drawing_is_found_wherever_it_stands(before, source):
    page = Drawings()
    assert not page.draws(f"from tangentlm import figures\n{before}")
    assert page.draws(source)
    assert not page.draws("figures.data_link(table, 'lines')\nfigures.use_style()")


def test_every_figure_has_a_caption_and_a_description(page):
    seen = Drawings()
    for cell in jupytext.read(page).cells:
        if cell.cell_type != "code":
            continue
        about = cell.metadata.get("mystnb", {})
        assert seen.draws(cell.source) == ("figure" in about), f"figure or caption: {cell.source}"
        if about:
            assert about["figure"]["caption"].endswith(".")
            assert len(about["image"]["alt"]) > 20


def given_in(cell):
    """The names that a parameters cell assigns, and their values."""
    assignments = ast.parse(cell.source).body
    return {a.targets[0].id: ast.literal_eval(a.value) for a in assignments}


def test_templates_have_a_parameters_cell_first():
    for experiment, model in RUNS.items():
        code = [c for c in jupytext.read(template(experiment)).cells if c.cell_type == "code"]
        assert code[0].metadata["tags"] == ["parameters"]
        assert f'run_from_notebook("{experiment}", globals())' in code[1].source
        assert set(given_in(code[0])) == set(model.model_fields)


@pytest.mark.parametrize("experiment", RUNS)
def test_a_template_has_the_defaults_of_its_parameters(experiment):
    code = next(c for c in jupytext.read(template(experiment)).cells if c.cell_type == "code")
    fields = RUNS[experiment].model_fields
    for name, value in given_in(code).items():
        assert fields[name].is_required() or value == fields[name].default, name


def test_templates_have_no_labels_that_would_stand_twice_in_the_book():
    for experiment in RUNS:
        text = template(experiment).read_text(encoding="utf-8")
        assert not re.search(r'"name":|^# \(.*\)=$|:label:', text, re.MULTILINE)


def test_labels_of_equations_stand_once_in_the_book():
    labels = Counter(
        label
        for page in (ROOT / "book").rglob("*.md")
        for label in re.findall(r"\$\$ *\((eq-[\w-]+)\)", page.read_text(encoding="utf-8"))
    )
    assert labels
    assert [label for label, count in labels.items() if count > 1] == []


def test_citations_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(), re.M))
    for path in (ROOT / "book").rglob("*.md"):
        cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", path.read_text(encoding="utf-8"))
        for key in (key.strip() for group in cited for key in group.split(",")):
            assert key in keys, f"{path.name} cites {key}"


def test_runs_become_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(build_book, "BUILD", tmp_path)
    runs = build_book.load_study("smoke")
    for run in runs:
        notebook = tmp_path / "runs" / run.experiment / run.name / "notebook.ipynb"
        notebook.parent.mkdir(parents=True)
        notebook.write_text(json.dumps({}))
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    (tmp_path / "_toc.yml").write_text((ROOT / "_toc.yml").read_text())
    monkeypatch.setattr(
        Run,
        "folder",
        lambda run, study: tmp_path / "runs" / run.experiment / run.name,
    )
    toc = yaml.safe_load(build_book.write_toc("smoke").read_text())
    part = next(part for part in toc["parts"] if part["caption"] == "Runs")
    assert len(part["chapters"][0]["sections"]) == len(runs)


def test_an_incomplete_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    (tmp_path / "_toc.yml").write_text((ROOT / "_toc.yml").read_text())
    with pytest.raises(build_book.InputError, match="study paper is not complete"):
        build_book.write_toc("paper")


def write_page(path, code):
    header = {
        "jupytext": {"text_representation": {"extension": ".md", "format_name": "myst"}},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
    }
    path.write_text(f"---\n{yaml.safe_dump(header)}---\n# Page\n\n```{{code-cell}}\n{code}\n```\n")


def test_pages_are_executed_once_and_a_failing_one_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "CACHE", tmp_path / "cache")
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    (tmp_path / "part").mkdir()
    write_page(tmp_path / "index.md", "open('here', 'a').write('x')")
    write_page(tmp_path / "part" / "bad.md", "1 / 0")
    (tmp_path / "plain.md").write_text("# No code\n")
    toc = tmp_path / "toc.yml"
    parts = [{"caption": "a", "chapters": [{"file": "part/bad.md"}, {"file": "plain.md"}]}]
    toc.write_text(yaml.safe_dump({"format": "jb-book", "root": "index.md", "parts": parts}))
    found = [str(page.relative_to(tmp_path)) for page in build_book.pages_with_code(toc)]
    assert found == ["index.md", "part/bad.md"]
    for _ in range(2):
        build_book.execute_pages(toc, jobs=2)
    assert (tmp_path / "here").read_text() == "x"
    kept = build_book.get_cache(tmp_path / "cache").list_cache_records()
    assert [Path(record.uri).name for record in kept] == ["index.md"]


def test_pages_are_forgotten_when_what_they_read_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(build_book, "CACHE", tmp_path / "_build" / ".jupyter_cache")
    for name in build_book.INPUTS:
        (tmp_path / name).mkdir()
    pages = ("theory/idea.md", "results/paper.md", "runs.md")
    for folder in ("book/theory", "book/results", "results/quick"):
        (tmp_path / folder).mkdir(parents=True)
    for name in pages:
        write_page(tmp_path / "book" / name, f"print({name!r})")
    toc = tmp_path / "toc.yml"
    chapters = [{"file": f"book/{name}"} for name in pages[1:]]
    toc.write_text(yaml.safe_dump({"root": f"book/{pages[0]}", "chapters": chapters}))
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())

    def kept():
        build_book.forget_stale_pages()
        records = build_book.get_cache(build_book.CACHE).list_cache_records()
        build_book.execute_pages(toc, jobs=2)
        return {str(Path(record.uri).relative_to(tmp_path / "book")) for record in records}

    assert kept() == set()
    assert kept() == set(pages)
    (tmp_path / "results" / "quick" / "kernel.csv").write_text("study,run\n")
    assert kept() == {"theory/idea.md"}
    assert kept() == set(pages)
    (tmp_path / "lib" / "module.py").write_text("")
    assert kept() == set()


def test_pages_read_results_only_where_the_cache_expects_it(page):
    code = "\n".join(c.source for c in jupytext.read(page).cells if c.cell_type == "code")
    reads = r"collected|results_folder|measurements|progress import|list_studies|read_csv|results/"
    if not build_book.shows_results(page.with_suffix(".md")):
        assert not re.search(reads, code)


@pytest.mark.slow
def test_a_page_that_fails_fails_the_build(tmp_path):
    """The shipped configuration turns a failing cell into a failing build."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["bibtex_bibfiles"] = ["references.bib"]
    (tmp_path / "references.bib").write_text("")
    config["sphinx"]["config"]["html_static_path"] = []
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: page.md\n")
    notebook = jupytext.reads("# %% [markdown]\n# # Page\n\n# %%\n1 / 0\n", fmt="py:percent")
    notebook.metadata["jupytext"] = {"formats": "py:percent,md:myst"}
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    jupytext.write(notebook, tmp_path / "page.md", fmt="md:myst")
    built = subprocess.run(
        [*build_book.JUPYTER_BOOK, "build", str(tmp_path), "-W", "-n", "--keep-going", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode != 0
    assert "ZeroDivisionError" in built.stdout + built.stderr
