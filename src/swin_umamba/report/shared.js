// Functions that all pages of the house share.
function clamp(value, low, high) { return Math.min(Math.max(value, low), high); }
// A box is [x, y, width, height]; it never leaves the picture and is never larger.
function keptInside(box, width, height) {
  const w = clamp(box[2], width / 16, width), h = clamp(box[3], height / 16, height);
  return [clamp(box[0], 0, width - w), clamp(box[1], 0, height - h), w, h];
}
// Zoom about a point given as parts of the box; a factor of 0 shows everything.
function zoomedBox(box, factor, px, py, width, height) {
  if (factor === 0) { return [0, 0, width, height]; }
  const w = clamp(box[2] / factor, width / 16, width), h = clamp(box[3] / factor, height / 16, height);
  return keptInside([box[0] + (box[2] - w) * px, box[1] + (box[3] - h) * py, w, h], width, height);
}
function movedBox(box, dx, dy, width, height) {
  return keptInside([box[0] + dx * box[2], box[1] + dy * box[3], box[2], box[3]], width, height);
}
function nextTheme(theme) { return { system: "light", light: "dark", dark: "system" }[theme]; }
// The button goes through the themes; the first is the system's.
function startTheme(button) {
  const root = document.documentElement;
  let current = "system";
  button.addEventListener("click", () => {
    current = nextTheme(current);
    button.textContent = "Theme: " + current;
    if (current === "system") { delete root.dataset.theme; } else { root.dataset.theme = current; }
  });
}
// Numbers by size, then texts, then what is empty.
function compareCells(one, other) {
  const kind = (text) => text === "" ? 2 : isNaN(text) ? 1 : 0;
  if (kind(one) !== kind(other)) { return kind(one) - kind(other); }
  return kind(one) === 0 ? one - other : one < other ? -1 : one > other ? 1 : 0;
}
// A heading sorts, the text of the search leaves rows out, and rows that are clicked are chosen.
function startTable(table, search, output) {
  const body = table.tBodies[0], headings = Array.from(table.tHead.rows[0].cells);
  const rows = Array.from(body.rows), texts = new Map(rows.map((row) => [row, Array.from(row.cells, (cell) => cell.textContent)]));
  function tell() {
    const chosen = rows.filter((row) => row.classList.contains("chosen"));
    const mean = chosen.reduce((sum, row) => sum + Number(texts.get(row)[table.dataset.size]), 0) / chosen.length;
    output.textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length + " rows" +
      (chosen.length ? "; " + chosen.length + " chosen, on average " + Number(mean.toPrecision(5)) + " " + table.dataset.unit : "");
  }
  headings.forEach((heading, column) => heading.querySelector(".sort").addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((one, other) => (down ? -1 : 1) * compareCells(texts.get(one)[column], texts.get(other)[column]));
    body.append(...rows);
  }));
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    rows.forEach((row) => row.toggleAttribute("hidden", !texts.get(row).some((text) => text.toLowerCase().includes(wanted))));
    tell();
  });
  rows.forEach((row) => row.tabIndex = 0);
  const choose = (row) => { if (row) { row.setAttribute("aria-selected", String(row.classList.toggle("chosen"))); tell(); } };
  body.addEventListener("click", (event) => choose(event.target.closest("tr")));
  body.addEventListener("keydown", (event) => { if (event.key === " ") { event.preventDefault(); choose(event.target.closest("tr")); } });
  tell();
}
