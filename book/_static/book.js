// Make every table of runs sortable by a click on its header.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.sortable").forEach((table) => new Tablesort(table));
});
