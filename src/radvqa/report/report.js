// The page is whole without this: it only enlarges pictures and unfolds all warnings when the page is printed.
"use strict";
const zoom = document.getElementById("zoom");
const large = zoom.querySelector("img");
const said = zoom.querySelector("p");
document.documentElement.classList.add("js");
document.querySelectorAll("button.picture").forEach((button) => {
  button.disabled = false;
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    said.textContent = image.alt;
    zoom.showModal();
  });
});
zoom.addEventListener("click", () => zoom.close());
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".notice details:not([open])")];
  opened.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
