// The lists beside the view: layers to jump to, the surfaces of one, and a surface's numbers.

export const TOUCHED = matchMedia("(pointer: coarse)").matches;

export class Panel {
  // `act` has `layer(layer)` and `item(item)`: what a click does.
  constructor(root, act) {
    this.act = act;
    this.layers = root.querySelector("#layers");
    this.surfaces = root.querySelector("#surfaces");
    this.heading = root.querySelector("#surfaces-of");
    this.listed = [this.heading.parentNode, this.surfaces];
    this.stats = root.querySelector("#stats");
    this.name = root.querySelector("#stats-of");
    this.readout = root.querySelector("#readout");
  }

  // Take over another world; a surface whose numbers are seen is the same one in it, if it is there.
  set(world, told) {
    const before = this.item?.key;
    this.told = told;
    this.step = 0;
    this.item = world.items.find(({ key }) => key === before) ?? null;
    this.layers.replaceChildren(...world.layers.map((layer) => {
      layer.button = button(layer.label, () => this.act.layer(layer));
      return layer.button.parentNode;
    }));
    this.layer = undefined;
    this.showLayer(null);
    this.index = new Map(world.items.map((item, i) => [item, i]));
  }

  // Mark the layer that is looked at and list its surfaces; of all layers (null) none.
  showLayer(layer) {
    if (this.layer === layer) return;
    this.layer?.button.removeAttribute("aria-current");
    this.layer = layer;
    for (const one of this.listed) one.hidden = !layer;
    if (!layer) return;
    layer.button.setAttribute("aria-current", "true");
    within(this.layers, layer.button);
    this.heading.textContent = layer.label;
    this.surfaces.replaceChildren(...layer.items.map((item) => {
      item.button = button(item.role || item.name, () => this.act.item(item));
      const shape = document.createElement("small");
      shape.textContent = item.shape;
      item.button.append(" ", shape);
      return item.button.parentNode;
    }));
    this.mark();
  }

  // Show a surface's numbers, or those of none.
  showItem(item) {
    if (this.item === item) return;
    this.item = item;
    this.mark();
    this.tell();
  }

  // Take the numbers of another step.
  at(step) {
    this.step = step;
    this.tell();
  }

  mark() {
    for (const item of this.layer?.items ?? []) {
      if (item === this.item) item.button.setAttribute("aria-current", "true");
      else item.button.removeAttribute("aria-current");
    }
  }

  tell() {
    this.name.textContent = this.item ? placeOf(this.item)
      : `${TOUCHED ? "Tap" : "Point at"} a plate`;
    if (!this.item) return this.stats.replaceChildren(paragraph("Its numbers stand here."));
    const mine = (this.told.stats[this.step] ?? []).filter(([i]) => i === this.index.get(this.item));
    const lists = mine.map(([, cells], n) => {
      const list = document.createElement("dl");
      cells.forEach((cell, i) => {
        if (!cell || (n && cell === mine[0][1][i])) return; // said above
        const [term, value] = [document.createElement("dt"), document.createElement("dd")];
        [term.textContent, value.textContent] = [this.told.columns[i], cell];
        list.append(term, value);
      });
      return list;
    });
    if (!lists.length) {
      lists.push(paragraph(this.told.steps.length ? "no surface at this step" : "no numbers"));
    }
    this.stats.replaceChildren(paragraph(this.item.name), ...lists);
  }

  // Say where one is, to eyes at once and to a screen reader when it has been so for a moment.
  say(text) {
    if (text === this.said) return;
    this.said = text;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.readout.textContent = text; }, 120);
  }
}

// Where a surface stands, in words: with its layer, for that need not be the one that is listed.
export function placeOf({ layer, role, name }) {
  return [layer?.label, role || name].filter(Boolean).join(": ");
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

function button(text, click) {
  const made = document.createElement("button");
  made.type = "button";
  const name = document.createElement("span");
  name.textContent = text;
  made.append(name);
  made.addEventListener("click", click);
  document.createElement("li").append(made);
  return made;
}

// Scroll a list, and nothing else, so that a part of it is seen.
function within(list, part) {
  const [outer, inner] = [list.getBoundingClientRect(), part.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) list.scrollTop += inner.top - outer.top - 40;
  if (inner.left < outer.left || inner.right > outer.right) list.scrollLeft += inner.left - outer.left - 40;
}
