// The picture of a result: slices, zoom, classes, opacity. Everything here is of one result at a time.
function percent(part) { return part > 0 && part < 0.1 ? "< 0.1 %" : part.toFixed(1) + " %"; }
function figure(number) { return number.toLocaleString("en-US"); }
function volume(millilitres) { return millilitres < 10 ? millilitres.toPrecision(3) : figure(Math.round(millilitres)); }
function listed(numbers) { return numbers.slice().reverse().map((each) => Number(each.toPrecision(3))).join(" \u00d7 "); }
// What a key does to the view: [what, by how much], or null.
function keyAction(key, zoomed, slices) {
  const zoom = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0 }[key];
  const move = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[key];
  const step = { PageUp: 1, PageDown: -1, ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[key];
  if (zoom !== undefined) { return ["zoom", zoom]; }
  if (zoomed && move) { return ["move", move]; }
  return step && slices > 1 ? ["step", step] : null;
}
// Where the letters of the patient's sides stand: [id, part of the box across, part of it down].
const EDGES = [["edge-left", 0.03, 0.5], ["edge-right", 0.97, 0.5], ["edge-top", 0.5, 0.04], ["edge-bottom", 0.5, 0.96]];
const SLICES_KEPT = 100;

function makeViewer(ask, onError) {
  const get = (id) => document.getElementById(id);
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const show = (element, shown) => { if (element) { element.toggleAttribute("hidden", !shown); } };
  const checked = (input) => Boolean(input && input.checked);
  const picture = get("picture"), viewer = get("viewer"), slider = get("slice"), view = get("view"), opacity = get("opacity");
  const toggles = all(".class-toggle"), outlines = get("outlines"), uncertainty = get("uncertainty"), objectColours = get("object-colours");
  const rowOf = (value) => document.querySelector('tr[data-value="' + value + '"]');
  const colourOf = (value) => rowOf(value).querySelector(".class-toggle").dataset.colour;
  let job = null, result = null, drawn = null, cache = new Map(), box = null, size = [1, 1], drag = null, lastOpacity = 35;

  // ---- slices
  const pathOf = (index) => "/api/jobs/" + job + "/slices/" + index + "?view=" + (view.value || "0") + (checked(objectColours) && result.objects ? "&show=objects" : "");
  function fetched(index) {
    const path = pathOf(index);
    if (!cache.has(path)) {
      if (cache.size >= SLICES_KEPT) { cache.delete(cache.keys().next().value); }
      const slice = ask(path);
      slice.catch(() => cache.delete(path));
      cache.set(path, slice);
    }
    return cache.get(path);
  }
  function load() {
    const index = Number(slider.value), wanted = pathOf(index);
    get("slice-text").textContent = (index + 1) + " of " + result.slices;
    slider.setAttribute("aria-valuetext", "slice " + (index + 1) + " of " + result.slices);
    const current = () => job !== null && pathOf(Number(slider.value)) === wanted;
    fetched(index).then((slice) => {
      if (!current()) { return; }
      draw(slice);
      [index + 1, index - 1].filter((each) => each >= 0 && each < result.slices).forEach((each) => fetched(each).catch(() => {}));
    }).catch((error) => { if (current()) { onError(error); } });
  }
  function svg(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    element.append(...children);
    return element;
  }
  function place(image, href) {
    Object.entries({ width: size[0], height: size[1], href }).forEach(([key, value]) => image.setAttribute(key, value));
  }
  function draw(slice) {
    const before = size, width = result.width;
    drawn = slice;
    size = [slice.width, slice.height * slice.aspect];
    place(get("image"), slice.picture);
    if (slice.uncertainty) { place(get("heat"), slice.uncertainty); }
    if (slice.objects) { place(get("object-fill"), slice.objects.fill); }
    picture.style.setProperty("--ratio", String(size[0] / size[1]));
    get("layers").setAttribute("transform", "scale(1 " + slice.aspect + ")");
    get("layers").replaceChildren(...slice.layers.map((layer) => svg("g", { class: "label", "data-value": layer.value },
      svg("path", { class: "fill", fill: colourOf(layer.value), d: layer.fill }),
      svg("path", { class: "halo", d: layer.outline }),
      svg("path", { class: "outline", stroke: colourOf(layer.value), d: layer.outline }))));
    if (slice.objects) {
      get("layers").append(svg("g", {}, svg("path", { class: "halo object-halo", d: slice.objects.outline }), svg("path", { class: "outline object-outline", d: slice.objects.outline })));
    }
    show(get("scaled"), slice.width < width);
    get("scaled").textContent = "shown at " + (100 * slice.width / width).toFixed(0) + " % of its size; the mask has all of it";
    // Slices with ragged outlines come smaller than others; what is zoomed stays where it is.
    setBox(box ? box.map((value, place) => value * size[place % 2] / before[place % 2]) : [0, 0, ...size]);
    restyle();
  }
  function restyle() {
    const shown = toggles.filter(checked).map((each) => each.dataset.value);
    const objects = Boolean(drawn && drawn.objects);
    all(".label", get("layers")).forEach((each) => show(each, shown.includes(each.dataset.value)));
    show(get("object-fill"), objects);
    toggles.forEach((each) => { each.disabled = objects; });
    all(".halo, .outline", get("layers")).forEach((each) => show(each, outlines.checked));
    picture.style.setProperty("--opacity", String(opacity.value / 100));
    get("opacity-text").textContent = opacity.value + " %";
    const heat = checked(uncertainty) && Boolean(drawn && drawn.uncertainty);
    picture.classList.toggle("uncertain", heat);
    show(get("heat"), heat);
    show(get("heat-note"), heat);
    const names = drawn ? drawn.layers.filter((each) => shown.includes(String(each.value))).map((each) => rowOf(each.value).dataset.name) : [];
    const what = objects ? "objects, each in its own colour" : names.join(", ");
    get("picture-text").textContent = (what ? "Showing " + what : "No class to show") + (result && result.slices > 1 ? " in slice " + (Number(slider.value) + 1) : "");
  }

  // ---- zoom
  const isZoomed = () => viewer.classList.contains("zoomed");
  function setBox(wanted) {
    box = keptInside(wanted, size[0], size[1]);
    picture.setAttribute("viewBox", box.join(" "));
    viewer.classList.toggle("zoomed", box[2] < size[0] || box[3] < size[1]);
    const letter = 0.05 * Math.min(box[2], box[3]);
    EDGES.forEach(([id, across, down], number) => {
      const text = get(id);
      text.textContent = result.edges[number] || "";
      Object.entries({ x: box[0] + across * box[2], y: box[1] + down * box[3], "font-size": letter, "stroke-width": letter / 6 })
        .forEach(([key, value]) => text.setAttribute(key, value));
    });
  }
  const zoom = (factor, px, py) => setBox(zoomedBox(box, factor, px, py, size[0], size[1]));
  const move = (dx, dy) => setBox(movedBox(box, dx, dy, size[0], size[1]));
  const step = (by) => { slider.value = String(Number(slider.value) + by); load(); };
  // Where a pointer is, as parts of the box.
  function position(event) {
    const area = picture.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  }

  // ---- what people do
  const flip = (input, after) => { if (input && !input.disabled) { input.checked = !input.checked; (after || restyle)(); } };
  function toggleFill() {
    const now = Number(opacity.value);
    opacity.value = String(now ? 0 : lastOpacity);
    lastOpacity = now || lastOpacity;
    restyle();
  }
  function onKey(event) {
    if (!drawn || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), select, details")) { return; }
    const action = keyAction(event.key, isZoomed(), result.slices);
    if (action && action[0] === "zoom") { zoom(action[1], 0.5, 0.5); }
    // Elsewhere, arrow keys and Page Up scroll the page.
    else if (action && viewer.contains(event.target)) { if (action[0] === "move") { move(...action[1]); } else { step(action[1]); } }
    else if (/^[1-9]$/.test(event.key)) { flip(toggles[Number(event.key) - 1]); }
    else if (event.key === "f") { toggleFill(); }
    else if (event.key === "o") { flip(outlines); }
    else if (event.key === "u") { flip(uncertainty); }
    else if (event.key === "c" && result.objects) { flip(objectColours, load); }
    else { return; }
    event.preventDefault();
  }
  function onWheel(event) {
    const out = event.deltaY > 0;
    if (!drawn || (result.slices === 1 && out && !isZoomed() && !event.ctrlKey)) { return; }
    event.preventDefault();
    if (result.slices > 1 && !event.ctrlKey) { step(out ? -1 : 1); } else { zoom(out ? 1 / 1.2 : 1.2, ...position(event)); }
  }
  toggles.concat(outlines, uncertainty || []).forEach((each) => each.addEventListener("change", restyle));
  if (objectColours) { objectColours.addEventListener("change", load); }
  opacity.addEventListener("input", restyle);
  slider.addEventListener("input", load);
  view.addEventListener("change", load);
  all(".zoom").forEach((button) => button.addEventListener("click", () => zoom(Number(button.dataset.factor), 0.5, 0.5)));
  document.addEventListener("keydown", onKey);
  picture.addEventListener("wheel", onWheel, { passive: false });
  picture.addEventListener("pointerdown", (event) => {
    if (!isZoomed()) { return; }
    drag = position(event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) { return; }
    const now = position(event);
    move(drag[0] - now[0], drag[1] - now[1]);
    drag = now;
  });
  ["pointerup", "pointercancel"].forEach((name) => picture.addEventListener(name, () => { drag = null; }));

  // ---- the figures beside the picture
  function fillTable(flat) {
    const inMl = result.classes.some((each) => each.millilitres !== null);
    get("unit").textContent = inMl ? "ml" : flat ? "Pixels" : "Voxels";
    result.classes.forEach((each) => {
      const row = rowOf(each.value), amount = row.querySelector(".voxels"), dice = row.querySelector(".dice");
      row.classList.toggle("absent", each.voxels === 0);
      amount.textContent = each.voxels === 0 ? "none" : inMl ? volume(each.millilitres) : figure(each.voxels);
      amount.title = figure(each.voxels) + (flat ? " pixels" : " voxels");
      row.querySelector(".part").textContent = each.voxels === 0 ? "" : percent(each.percent);
      row.querySelector(".objects").textContent = each.objects === null ? "" : figure(each.objects);
      if (dice) { dice.textContent = each.quality === null ? "-" : each.quality.toFixed(2); }
    });
  }
  function open(id, opened) {
    close();
    job = id;
    result = opened;
    const flat = result.shape.length === 2, volumes = result.slices > 1;
    fillTable(flat);
    document.querySelector(".classes").classList.toggle("with-objects", result.objects !== null);
    ["found", "object-setting", "object-keys"].forEach((part) => show(get(part), result.objects !== null));
    if (result.objects) { get("object-count").textContent = figure(result.objects.count); }
    get("facts").textContent = listed(result.shape) + (flat ? " pixels" : " voxels") + (result.spacing ? ", " + listed(result.spacing) + " mm" : "") + (result.plane ? ", " + result.plane : flat ? "" : ", no orientation in the file") + "; segmented in " + result.seconds.toFixed(1) + " s";
    show(get("quality"), result.quality !== null);
    if (result.quality !== null) { get("quality-figure").textContent = result.quality.toFixed(2); }
    show(get("uncalibrated"), result.calibrated === false);
    show(get("quality-uncalibrated"), result.quality_calibrated === false);
    view.replaceChildren(...result.views.map((name, number) => new Option(name, String(number))));
    show(get("views"), result.views.length > 1);
    ["slices", "slice-keys"].forEach((part) => show(get(part), volumes));
    get("wheel-keys").textContent = volumes ? "changes the slice, with Ctrl it zooms" : "zooms";
    slider.max = String(result.slices - 1);
    slider.value = String(result.start);
    load();
  }
  function close() {
    job = null; result = null; drawn = null; box = null; cache = new Map();
    get("layers").replaceChildren();
    ["image", "heat", "object-fill"].forEach((part) => get(part).removeAttribute("href"));
  }
  return { open, close };
}
