// The start: data of the page, the viewer where there is WebGL, and films that play when asked.
import { REVISION } from "three";
import { Viewer } from "./viewer.js";

window.weightwalk = { three: REVISION };

function start() {
  for (const film of document.querySelectorAll("button[data-film]")) {
    const picture = document.getElementById(film.dataset.picture);
    const still = picture.getAttribute("src");
    film.hidden = false;
    film.addEventListener("click", () => {
      const plays = film.getAttribute("aria-pressed") === "true";
      picture.src = plays ? still : film.dataset.film;
      film.setAttribute("aria-pressed", String(!plays));
    });
  }
  const root = document.getElementById("viewer");
  if (!root) return;
  const parts = JSON.parse(document.getElementById("data").textContent);
  root.hidden = false;
  try {
    const viewer = new Viewer(document, parts);
    window.weightwalk.viewer = viewer;
    viewer.open();
  } catch {
    root.classList.add("without");
    document.getElementById("message").hidden = false;
    document.getElementById("message").textContent =
      "This browser shows no 3-D pictures (no WebGL). The numbers, the pictures and the files are below.";
  }
}

start();
