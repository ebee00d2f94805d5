// The page: choosing files, sending them, waiting, and then the viewer; an error brings back the beginning.
// What a person should know of files before they are sent; the server checks everything again.
function refusal(files, channels, formats, largest) {
  const series = areDicom(files);
  const wrong = !series && files.find((file) => !formats.some((ending) => file.name.toLowerCase().endsWith(ending)));
  if (wrong) { return { what: "the format of this file is not known", where: wrong.name, hint: "convert it to one of " + formats.join(", ") }; }
  if (files.length !== 1 && files.length !== channels && !series) {
    return { what: files.length + " files were chosen, but one image is segmented at a time", where: null, hint: channels > 1 ? "choose one file with all channels, or " + channels + " files, one for each channel" : "choose one file" };
  }
  if (files.reduce((sum, file) => sum + file.size, 0) > largest) {
    return { what: "the upload would be larger than " + Math.round(largest / 1048576) + " MiB", where: files[0].name, hint: "crop the image or compress it (.nii.gz), or start the server with a larger --max-upload" };
  }
  return null;
}
// Whether the files may be those of a DICOM folder: many of them end in nothing, or in a part of a UID.
function areDicom(files) {
  return files.length > 0 && files.every((file) => /\.(dcm|dicom|ima)$/i.test(file.name) || !/\.[a-z]\w*$/i.test(file.name));
}
// The series or volumes that an error lists to choose from: [what to send, text].
function choices(what) {
  return Array.from(what.matchAll(/^ {2}- (.*), UID (.+)$/gm), (found) => [found[2], found[1]]);
}
// What the page says of a job: [title, text, part of the bar or null where nobody knows].
function stage(status) {
  if (status.state === "queued") {
    const others = status.position + (status.position > 1 ? " images are" : " image is") + " before yours in the queue";
    return ["Waiting", status.position ? others : "Your image is next", null];
  }
  if (status.progress === 0) { return ["Reading and preparing", status.name, null]; }
  return [status.progress < 1 ? "Segmenting" : "Finishing", status.name, status.progress];
}
const NO_ANSWER = { what: "the server does not answer", where: null, hint: "look whether swin-umamba serve still runs" };
const MILLISECONDS_BETWEEN_LOOKS = 300;

function start() {
  const get = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const show = (element, shown) => element.toggleAttribute("hidden", !shown);
  const { field, formats, channels, uploadBytes } = document.body.dataset;
  const selects = all(".channel");
  let chosen = [], request = null, job = null, timer = 0;
  const viewer = makeViewer(ask, fail);

  async function ask(path) {
    const answer = await fetch(path).catch(() => { throw NO_ANSWER; });
    const content = await answer.json().catch(() => null);
    if (!answer.ok) { throw problem(content, answer.status); }
    return content;
  }
  function problem(content, status) {
    return (content && content.error) || { what: "the server answered with status " + status, where: null, hint: "try again" };
  }

  // ---- start, work or result is shown, and an error above
  function display(part, focus) {
    ["start", "work", "result"].forEach((id) => show(get(id), id === part));
    focus.focus();
  }
  function begin() {
    forget();
    show(get("failed"), false);
    show(get("order"), false);
    show(get("drop"), true);
  }
  function reset() {
    begin();
    get("status").textContent = "";
    display("start", get("files"));
  }
  function fail(error) {
    begin();
    const offered = chosen.length ? choices(error.what) : [];
    const what = offered.length ? error.what.split("\n")[0] : error.what;
    const title = what.charAt(0).toUpperCase() + what.slice(1);
    get("series").replaceChildren(...offered.map(([value, text]) => new Option(text + " (" + value + ")", value)));
    show(get("series-form"), offered.length > 0);
    get("failed-what").textContent = title;
    get("failed-where").textContent = error.where || "";
    get("failed-hint").textContent = error.hint && !offered.length ? "What to do: " + error.hint : "";
    get("status").textContent = "";
    show(get("failed"), true);
    display("start", get("failed-what"));
  }
  // Deletes what the server has of this page, also while the page is being left.
  function forget() {
    clearTimeout(timer);
    if (request) { request.abort(); }
    if (job) { fetch("/api/jobs/" + job, { method: "DELETE", keepalive: true }).catch(() => {}); }
    request = null;
    job = null;
    viewer.close();
  }

  // ---- choosing
  function choose(files) {
    chosen = Array.from(files).sort((a, b) => a.name < b.name ? -1 : 1);
    get("files").value = get("folder").value = "";
    if (!chosen.length) { return; }
    begin();
    const wrong = refusal(chosen, Number(channels), formats.split(" "), Number(uploadBytes));
    if (wrong) { fail(wrong); } else if (chosen.length === 1 || areDicom(chosen)) { send(chosen); } else { askOrder(); }
  }
  function askOrder() {
    selects.forEach((select, place) => select.replaceChildren(
      ...chosen.map((file, number) => new Option(file.name, String(number), number === place, number === place))));
    get("order-wrong").textContent = "";
    show(get("drop"), false);
    show(get("order"), true);
    display("start", selects[0]);
  }
  function sendInOrder(event) {
    event.preventDefault();
    const places = selects.map((select) => Number(select.value));
    if (new Set(places).size === places.length) { send(places.map((place) => chosen[place])); }
    else { get("order-wrong").textContent = "A file can be one channel only."; }
  }

  // ---- sending and waiting
  function working(title, text, part) {
    if (get("work-title").textContent !== title) { get("status").textContent = title; }
    get("work-title").textContent = title;
    get("work-text").textContent = text;
    if (part === null) { get("bar").removeAttribute("value"); } else { get("bar").value = part; }
  }
  function send(files, series) {
    const form = new FormData();
    files.forEach((file) => form.append(field, file, file.name));
    // fetch does not tell how much of an upload is done.
    const upload = new XMLHttpRequest();
    request = upload;
    upload.open("POST", "/api/jobs?" + new URLSearchParams({ ...(get("instances") && { instances: get("instances").checked }), ...(series && { series }) }));
    upload.responseType = "json";
    upload.upload.addEventListener("progress", (event) => { if (event.lengthComputable) { get("bar").value = event.loaded / event.total; } });
    upload.addEventListener("load", () => {
      request = null;
      if (upload.status !== 202) { fail({ where: files[0].name, ...problem(upload.response, upload.status) }); return; }
      job = upload.response.id;
      follow(upload.response);
    });
    upload.addEventListener("error", () => {
      request = null;
      fail({ what: "the connection ended before the upload was complete", where: files[0].name, hint: "try again; if it stays, the file is too large or swin-umamba serve has ended" });
    });
    working("Uploading", files.slice(0, 3).map((file) => file.name).join(", ") + (files.length > 3 ? " and " + (files.length - 3) + " more" : ""), 0);
    display("work", get("work-title"));
    upload.send(form);
  }
  function follow(status) {
    if (status.id !== job) { return; }
    if (status.state === "failed") { fail(status.error); return; }
    if (status.state === "done") { finish(status); return; }
    working(...stage(status));
    timer = setTimeout(() => ask("/api/jobs/" + status.id).then(follow, (error) => { if (job === status.id) { fail(error); } }), MILLISECONDS_BETWEEN_LOOKS);
  }
  function offer(id, job, file, name) {
    get(id).href = "/api/jobs/" + job + "/" + file;
    get(id).download = name || "";
    show(get(id), name !== null);
  }
  function finish(status) {
    get("status").textContent = "The image is segmented.";
    get("result-title").textContent = status.name;
    const { objects, download } = status.result;
    offer("download", status.id, "labels", download);
    if (objects) {
      offer("object-table", status.id, "objects.csv", objects.table);
      offer("object-map", status.id, "instances", objects.instances);
      offer("object-outlines", status.id, "objects.geojson", objects.outlines);
    }
    viewer.open(status.id, status.result);
    display("result", get("result-title"));
  }

  startTheme(get("theme"));
  all(".origin").forEach((each) => { each.textContent = location.origin; });
  get("cancel").addEventListener("click", reset);
  all(".again").forEach((button) => button.addEventListener("click", reset));
  get("order").addEventListener("submit", sendInOrder);
  get("series-form").addEventListener("submit", (event) => { event.preventDefault(); begin(); send(chosen, get("series").value); });
  get("folder").addEventListener("change", (event) => choose(Array.from(event.target.files).filter((file) => !file.name.startsWith(".") && areDicom([file]))));
  get("files").addEventListener("change", (event) => choose(event.target.files));
  // Dropped anywhere, a file must not replace the page.
  ["dragover", "drop"].forEach((name) => document.addEventListener(name, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", name === "dragover");
  }));
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) { get("drop").classList.remove("over"); } });
  document.addEventListener("drop", (event) => choose(event.dataTransfer.files));
  addEventListener("pagehide", forget);
  addEventListener("pageshow", (event) => { if (event.persisted) { reset(); } });
}
