"use strict";
// What every page lays its data out with. Text only ever becomes text: nothing of the data is parsed as HTML.
const at = (id) => document.getElementById(id);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const seconds = (value) => `${value.toFixed(value < 10 ? 2 : 1)} s`;

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}


// Shows what the first values of the filters choose. A form's own event comes before its fields have them; here all is done once
// the click is.
function onClear(show) {
  at("filter-reset").addEventListener("click", (event) => {
    event.preventDefault();
    at("filters").reset();
    show();
  });
}
