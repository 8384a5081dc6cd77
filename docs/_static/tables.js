// Long tables: a field that filters rows, and headings that sort them.
"use strict";

const LONG = 15;

function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // empty cells last
  return a < b ? -1 : a > b ? 1 : 0;
}

function sort(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => sign * compare(key(a, column), key(b, column)));
  table.tBodies[0].append(...rows);
}

function filter(table, words) {
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils")) {
    if (!table.tHead || table.tBodies[0].rows.length < LONG) continue;
    table.classList.add("long");
    const texts = [...table.tBodies[0].rows].map((row) => row.cells[row.cells.length - 1].textContent);
    if (texts.some((text) => text.length > 40)) table.classList.add("wordy"); // the last column
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "Filter rows";
    field.setAttribute("aria-label", "Filter the rows of the table below");
    field.className = "table-filter";
    field.addEventListener("input", () => {
      filter(table, field.value.toLowerCase().split(/\s+/).filter(Boolean));
    });
    (table.closest(".table-wrapper") || table).before(field);
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.classList.add("sortable");
      cell.tabIndex = 0;
      cell.addEventListener("click", () => sort(table, column));
      cell.addEventListener("keydown", (event) => {
        if (event.key === "Enter") sort(table, column);
      });
    });
  }
});
