// The viewer: a stage with a world in it, seen by orbiting or walking, and the page around it.
import * as THREE from "three";
import * as address from "./address.js";
import { load } from "./load.js";
import { Orbit } from "./orbit.js";
import { Panel, TOUCHED } from "./panel.js";
import { Pointing, saying } from "./pointing.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { onScreenControls } from "./touch.js";
import { Walk } from "./walk.js";
import { World } from "./world.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
// Keys that are meant for the view also where nothing has the focus; others scroll the page.
const ANYWHERE = ["KeyW", "PageDown", "PageUp", "Home"];

export class Viewer {
  constructor(root, parts) {
    this.root = root;
    this.parts = parts;
    this.radios = [...root.querySelectorAll("input[name=part]")];
    this.first = Math.max(this.radios.findIndex((radio) => radio.checked), 0);
    this.only = false;
    this.element = root.querySelector("#stage");
    this.message = root.querySelector("#message");
    this.stage = new Stage(this.element);
    this.orbit = new Orbit(this.stage);
    this.walk = new Walk(this.stage, () => this.setWalking(false));
    this.panel = new Panel(root, {
      layer: (layer) => this.goTo(layer),
      item: (item) => this.goToItem(item),
    });
    this.timeline = new Timeline(this.stage, root.querySelector("#timeline"),
      (step) => this.panel.at(step));
    this.pointing = new Pointing(this);
    this.listen();
    onScreenControls(root, this.walk);
    this.stage.each(() => this.pointing.ahead());
  }

  listen() {
    const { element, root } = this;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.setWalking(false);
      else if (this.hears(event)) this.key(event);
    });
    document.addEventListener("keyup", (event) => this.walk.on && this.walk.key(event, false));
    window.addEventListener("hashchange", () => this.follow());
    element.addEventListener("blur", () => this.walk.held.clear());
    const on = (id, act) => root.querySelector(id).addEventListener("click", act);
    on("#overview", () => this.overview());
    on("#walk", () => this.setWalking(!this.walk.on));
    on("#only", () => this.setOnly(!this.only));
    on("#previous", () => this.hop(-1));
    on("#next", () => this.hop(1));
    on("#retry", () => this.show(this.part));
    const canvas = this.stage.renderer.domElement;
    canvas.addEventListener("webglcontextlost", () => {
      this.tell("The graphics card has dropped the picture. It comes back, or else load the page anew.");
      root.querySelector("#retry").hidden = true;
    });
    canvas.addEventListener("webglcontextrestored", () => this.tell(null));
    for (const radio of this.radios) {
      radio.addEventListener("change", () => this.show(Number(radio.value)));
    }
  }

  // Whether a key is for the view: it has the focus, or nothing has and the view is what is seen.
  hears(event) {
    const { activeElement: at, body } = document;
    if (this.element.contains(at)) return true;
    if (at && at !== body) return false;
    const { top, bottom } = this.element.getBoundingClientRect();
    const middle = (top + bottom) / 2;
    return this.walk.on || (ANYWHERE.includes(event.code) && middle > 0 && middle < innerHeight);
  }

  // Begin with what the address asks for, or else with the part that is marked in the page.
  open() {
    this.wanted = address.read().layer;
    this.show(this.partAsked());
  }

  partAsked() {
    const { part } = address.read();
    const found = part ? this.parts.findIndex(({ folder }) => folder.at(-1) === part) : -1;
    return found < 0 ? this.first : found;
  }

  // Go where an address leads that was put into the page's own.
  follow() {
    this.wanted = address.read().layer;
    if (this.partAsked() !== this.part || !this.world) this.show(this.partAsked());
    else if (!this.goToWanted()) this.overview();
  }

  goToWanted() {
    const { layers } = this.world;
    const layer = layers.find((one) => address.addressOf(one, layers) === this.wanted);
    this.wanted = "";
    if (layer) this.goTo(layer);
    return Boolean(layer);
  }

  // Let the page's address lead to what is seen now.
  handOut() {
    const layer = this.current ? address.addressOf(this.current, this.world.layers) : "";
    address.write(layer, this.part === this.first ? "" : this.parts[this.part].folder.at(-1));
  }

  // Load a part and show it; what was there stays until then.
  async show(part) {
    this.part = part;
    if (this.radios.length) this.radios[part].checked = true;
    const told = this.parts[part];
    if (!this.world) this.showWords(part);
    this.tell("Loading", 0);
    try {
      const url = ["..", ...told.folder, told.file].map(encodeURIComponent).join("/");
      const gltf = await load(url, told.bytes,
        (share) => this.part === part && this.tell("Loading", share));
      if (this.part !== part) return;
      this.place(new World(gltf, told), told);
      this.showWords(part);
      this.tell(null);
    } catch (error) {
      if (this.part === part) this.tell(`The shapes could not be loaded: ${error.message}.`);
    }
  }

  // Show the colours, facts and files of a part, and not those of the others.
  showWords(part) {
    for (const one of this.root.querySelectorAll("[data-part]")) {
      one.hidden = Number(one.dataset.part) !== part;
    }
  }

  place(world, told) {
    const before = this.world;
    const at = before?.layers.indexOf(this.current) ?? -1;
    this.world = world;
    if (before) {
      this.stage.scene.remove(before.root);
      before.dispose();
    }
    this.pointing.clear();
    this.stage.scene.add(world.root);
    this.panel.set(world, told);
    this.timeline.set(world, told);
    this.panel.at(Math.max(told.steps.length - 1, 0));
    this.current = null;
    if (!before) this.overview(true);
    else if (at >= 0) this.mark(world.layers[Math.min(at, world.layers.length - 1)]);
    if (this.wanted) this.goToWanted();
    this.handOut();
    this.stage.wake();
  }

  // A line over the view: what happens, how far it is, or what went wrong.
  tell(text, share) {
    this.message.hidden = text === null;
    this.element.setAttribute("aria-busy", String(share !== undefined));
    const [words, bar, retry] = this.message.children;
    words.textContent = share === undefined ? text ?? "" : `${text}…`;
    bar.hidden = share === undefined;
    bar.value = share ?? 0;
    retry.hidden = text === null || share !== undefined;
  }

  overview(at_once = false) {
    if (!this.world) return;
    this.setWalking(false);
    this.showOnly(false);
    this.mark(null);
    this.orbit.show(this.world.overview(), { at_once });
    if (!this.wanted) this.handOut();
    this.panel.say(`All layers. Drag to turn, ${TOUCHED ? "pinch to come nearer" : "W walks"}.`);
  }

  goTo(layer) {
    this.mark(layer);
    if (this.walk.on) this.walk.put(this.world.door(layer));
    else this.orbit.show(layer.box, { from: [[0, this.world.pitch(layer)]] });
    this.handOut();
    this.panel.say(layer.label);
  }

  // Show the layer that is looked at without the others; where it is none, the first.
  setOnly(on) {
    if (!this.world) return;
    this.showOnly(on);
    if (on && !this.current) this.goTo(this.world.layers[0]);
    else this.setOff();
  }

  showOnly(on) {
    this.only = on;
    this.root.querySelector("#only").setAttribute("aria-pressed", String(on));
  }

  // Set the layer that is looked at off from the others; one who walks sees them as they are.
  setOff() {
    const layer = this.walk.on && !this.only ? null : this.current;
    this.world.standOut(layer, { alone: this.only });
    const { item } = this.pointing.frames[1]; // no frame around what is not there
    if (this.only && item && item.layer !== this.current) this.pointing.outline(1, null);
    this.stage.wake();
  }

  goToItem(item) {
    this.choose(item);
    const center = item.box.getCenter(new THREE.Vector3());
    if (this.walk.on) this.walk.put(center.setZ(item.box.max.z + 4.5).setY(1.7));
    else this.orbit.show(item.box.clone().expandByScalar(0.6), { from: [[-0.15, 0.2]] });
  }

  hop(by) {
    if (!this.world) return;
    const { layers } = this.world;
    const now = layers.indexOf(this.current);
    this.goTo(layers[Math.min(Math.max(now + by, 0), layers.length - 1)]);
  }

  setWalking(on) {
    if (on === this.walk.on || !this.world) return;
    this.orbit.on = !on;
    this.orbit.fingers.clear();
    this.element.classList.toggle("walking", on);
    this.root.querySelector("#walk").setAttribute("aria-pressed", String(on));
    this.pointing.outline(0, null);
    this.stage.widen(on);
    if (on) {
      this.walk.start(this.world.door(this.current ?? this.world.layers[0]));
      this.element.focus({ preventScroll: true });
      const behavior = STILL.matches ? "instant" : "smooth";
      this.element.scrollIntoView({ block: "nearest", behavior });
      this.setOff();
    } else {
      this.walk.stop();
      this.setOff();
      if (this.current) this.goTo(this.current);
    }
    this.stage.wake();
  }

  key(event) {
    const by = { PageDown: 1, PageUp: -1 }[event.key];
    if (by) this.hop(by);
    else if (event.key === "Home") this.overview();
    else if (!this.walk.on && event.code === "KeyW" && !event.ctrlKey && !event.metaKey) {
      this.setWalking(true);
    } else if (!(this.walk.on ? this.walk.key(event, true) : this.orbit.key(event))) return;
    event.preventDefault();
  }

  mark(layer) {
    if (layer === this.current) return;
    if (this.current) this.world.light(this.current, false);
    if (layer) this.world.light(layer, true);
    this.current = layer;
    this.panel.showLayer(layer);
    this.setOff();
  }

  choose(item) {
    this.pointing.outline(1, item);
    this.panel.showItem(item);
    if (item.layer) this.mark(item.layer);
    this.panel.say(saying(item));
  }
}
