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
