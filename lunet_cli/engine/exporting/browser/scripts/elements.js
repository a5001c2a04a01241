// What all scripts of the page stand on: its elements and what it was told.

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const scriptOf = (parts) => URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));

function made(name, parent, text = "") {
  const element = document.createElement(name);
  element.textContent = text;
  parent.append(element);
  return element;
}
