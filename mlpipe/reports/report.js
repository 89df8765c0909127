// What the page does beyond showing: tables sort, curves are hidden and shown, mistakes are filtered, confusions open their
// pictures. It reads what stands in the page and writes text alone.
"use strict";

const made = (tag, text, properties = {}) => Object.assign(document.createElement(tag), { textContent: text }, properties);

// Tables sort by a column: numbers by their value, everything else by its letters, and what is empty last.
const number = (text) => {
  const found = text.replace(/,/g, "").match(/^[^\d-]{0,2}(-?\d+(\.\d+)?(e[-+]?\d+)?)/i);
  return found ? parseFloat(found[1]) : NaN;
};

const sort = (head) => {
  const body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const texts = new Map([...body.rows].map((row) => [row, row.cells[head.cellIndex].textContent.trim()]));
  const filled = [...texts.values()].filter((text) => text);
  const numeric = filled.length > 0 && filled.every((text) => !isNaN(number(text)));
  const compare = (a, b) => (numeric ? number(a) - number(b) : a.localeCompare(b, undefined, { numeric: true }));
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [texts.get(one), texts.get(other)];
    return !a || !b ? !a - !b : up ? compare(a, b) : compare(b, a);
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
};

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = made("button", head.textContent, { type: "button", className: "sort", title: "Sort" });
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(head));
  }
}

// Curves of a drawing, such as those of folds, are hidden and shown by their names.
for (const figure of document.querySelectorAll("figure")) {
  const pieces = [...figure.querySelectorAll("[data-series]")];
  const names = [...new Set(pieces.map((piece) => piece.dataset.series))];
  if (names.length < 2) continue;
  const bar = made("div", "", { className: "switches" });
  for (const name of names) {
    const button = made("button", name, { type: "button" });
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const piece of pieces) if (piece.dataset.series === name) piece.classList.toggle("away", !shown);
    });
    bar.append(button);
  }
  figure.insertBefore(bar, figure.querySelector("figcaption"));
}

// What a piece of a drawing is called is shown where there is no pointer that could rest on it.
const note = made("p", "", { className: "note", hidden: true });
note.setAttribute("role", "status");
document.body.append(note);
let waiting = 0;
document.addEventListener("click", (event) => {
  const title = event.target.closest?.(".tip")?.querySelector("title");
  note.hidden = !title;
  clearTimeout(waiting);
  if (!title) return;
  note.textContent = title.textContent;
  waiting = setTimeout(() => (note.hidden = true), 6000);
});

// Pictures of mistakes are filtered by their classes and by how sure the prediction was.
const choice = (label, names) => {
  const select = made("select", "");
  select.append(made("option", "all", { value: "" }));
  for (const [value, name] of names) select.append(made("option", name, { value }));
  const around = made("label", label + " ");
  around.append(select);
  return [around, select];
};

const filters = new Map();
for (const gallery of document.querySelectorAll(".pictures[data-filter]")) {
  const figures = [...gallery.children];
  const names = (key) => new Map(figures.map((one) => [one.dataset[key], one.dataset[key + "Name"]]).sort((a, b) => a[0] - b[0]));
  const [trueLabel, trueSelect] = choice("true", names("true"));
  const [takenLabel, takenSelect] = choice("predicted", names("taken"));
  const sure = made("input", "", { type: "range", min: 0, max: 100, step: 1, value: 0 });
  const sureLabel = made("label", "certainty at least ");
  const many = made("output", "");
  sureLabel.append(sure);
  const show = () => {
    let shown = 0;
    for (const one of figures) {
      const fits =
        (!trueSelect.value || one.dataset.true === trueSelect.value) &&
        (!takenSelect.value || one.dataset.taken === takenSelect.value) &&
        parseFloat(one.dataset.sure) * 100 >= parseFloat(sure.value);
      one.hidden = !fits;
      shown += fits;
    }
    many.textContent = `${sure.value} %: ${shown} of ${figures.length} pictures`;
    gallery.dispatchEvent(new Event("filtered"));
  };
  for (const input of [trueSelect, takenSelect, sure]) input.addEventListener("input", show);
  const bar = made("div", "", { className: "filters" });
  bar.append(trueLabel, takenLabel, sureLabel, many);
  gallery.before(bar);
  show();
  filters.set(gallery, (of, taken) => {
    [trueSelect.value, takenSelect.value, sure.value] = [of, taken, 0];
    show();
    bar.scrollIntoView({ block: "center" });
  });
}

for (const piece of document.querySelectorAll("[data-pair]")) {
  const gallery = piece.closest("article")?.querySelector(".pictures[data-filter]");
  const [of, taken] = piece.dataset.pair.split("-");
  if (!gallery || ![...gallery.children].some((one) => one.dataset.true === of && one.dataset.taken === taken)) continue;
  piece.classList.add("opens");
  piece.setAttribute("tabindex", "0");
  piece.setAttribute("role", "button");
  const open = () => filters.get(gallery)(of, taken);
  piece.addEventListener("click", open);
  piece.addEventListener("keydown", (event) => event.key === "Enter" && open());
}

// A picture is enlarged by a click or by Enter, and by another one, or Escape, as small as before. A gallery is one stop of the
// tabulator: arrows go from picture to picture.
const enlarge = (figure, large) => {
  figure.classList.toggle("enlarged", large);
  const is = figure.classList.contains("enlarged");
  figure.querySelector("img").setAttribute("aria-expanded", String(is));
  if (is) figure.scrollIntoView({ block: "nearest" });
};

for (const gallery of document.querySelectorAll(".pictures")) {
  const figures = [...gallery.querySelectorAll("figure")].filter((one) => one.querySelector("img"));
  const keys = figures.map((figure) => figure.querySelector("img"));
  keys.forEach((image, place) => {
    image.tabIndex = place ? -1 : 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-expanded", "false");
  });
  // It is one itself where no script runs, to be scrolled by arrows.
  if (keys.length) gallery.removeAttribute("tabindex");
  gallery.addEventListener("click", (event) => {
    if (!event.target.matches("img")) return;
    move(event.target, false);
    enlarge(event.target.closest("figure"));
  });
  gallery.addEventListener("keydown", (event) => {
    const image = event.target.closest("figure")?.querySelector("img");
    if (!image || event.target !== image) return;
    const figure = image.closest("figure");
    const shown = keys.filter((one) => !one.closest("[hidden]"));
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") enlarge(figure);
    else if (event.key === "Escape" && figure.classList.contains("enlarged")) enlarge(figure, false);
    else if (step) move(shown[shown.indexOf(image) + step]);
    else return;
    event.preventDefault();
  });
  gallery.addEventListener("filtered", () => {
    const shown = keys.filter((one) => !one.closest("[hidden]"));
    if (!shown.some((one) => one.tabIndex === 0)) move(shown[0], false);
  });
  const move = (to, focused = true) => {
    if (!to) return;
    for (const one of keys) one.tabIndex = -1;
    to.tabIndex = 0;
    if (focused) to.focus();
  };
}

// In a notebook's frame a link to a place of this page would lead to that place of the notebook.
if (location.protocol === "about:") {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    document.getElementById(link.hash.slice(1))?.scrollIntoView();
  });
}

// The contents are folded where they would fill a small screen, and say where one is.
const contents = document.querySelector("nav.contents details");
if (contents && matchMedia("(max-width: 69.99rem)").matches) contents.open = false;
const links = new Map([...document.querySelectorAll("nav.contents a")].map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
});
for (const section of document.querySelectorAll("section[id]")) watch.observe(section);
