// What lies under the cursor, or ahead of a visitor who walks: outlined, and told of.
import * as THREE from "three";
import { placeOf } from "./panel.js";

const OUTLINE = 0xffb38a;
const FAR = 30; // metres ahead that are told of
const STILL = 5; // pixels that a click may move
const UNDER = 0, CHOSEN = 1;

// A surface in words.
export function saying(item) {
  const shape = item.shape && `, ${item.shape}`;
  return `${placeOf(item)}, ${item.name}${shape}`;
}

export class Pointing {
  constructor(viewer) {
    Object.assign(this, { viewer, stage: viewer.stage, panel: viewer.panel });
    this.frames = [0.4, 0.9].map((opacity) => {
      const frame = new THREE.Box3Helper(new THREE.Box3(), OUTLINE);
      Object.assign(frame.material, { transparent: true, opacity, fog: false });
      frame.visible = false;
      this.stage.scene.add(frame);
      return frame;
    });
    this.ray = new THREE.Raycaster();
    const canvas = this.stage.renderer.domElement;
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("pointerdown", (event) => {
      this.pressed = [event.clientX, event.clientY];
    });
    canvas.addEventListener("click", (event) => this.click(event));
  }

  // Draw a frame around what is under the cursor (0) or chosen (1), or around nothing.
  outline(which, item) {
    const frame = this.frames[which];
    if (frame.item === item) return;
    frame.item = item;
    frame.visible = Boolean(item);
    if (item) frame.box.copy(item.box).expandByScalar(which ? 0.08 : 0.05);
    this.stage.wake();
  }

  clear() {
    this.outline(UNDER, null);
    this.outline(CHOSEN, null);
  }

  // Return what the ray through a point of the picture meets, both from -1 to 1.
  at(x, y) {
    if (!this.viewer.world) return null;
    this.ray.setFromCamera(new THREE.Vector2(x, y), this.stage.camera);
    return this.viewer.world.pick(this.ray.ray);
  }

  under(event) {
    const { left, top, width, height } = this.stage.element.getBoundingClientRect();
    const x = (event.clientX - left) / width * 2 - 1, y = 1 - (event.clientY - top) / height * 2;
    return this.at(x, y)?.item ?? null;
  }

  hover(event) {
    if (this.viewer.walk.on || event.buttons || event.pointerType === "touch") return;
    const item = this.under(event);
    this.outline(UNDER, item);
    if (!item) return;
    this.panel.showItem(item);
    this.panel.say(saying(item));
  }

  // With the cursor gone, the numbers are those of what was chosen.
  leave() {
    if (this.viewer.walk.on) return;
    this.outline(UNDER, null);
    if (this.frames[CHOSEN].item) this.panel.showItem(this.frames[CHOSEN].item);
  }

  click(event) {
    const [x, y] = this.pressed ?? [event.clientX, event.clientY];
    const moved = Math.hypot(event.clientX - x, event.clientY - y) > STILL;
    if (this.viewer.walk.on || moved) return;
    const item = this.under(event);
    if (item) this.viewer.choose(item);
    else this.outline(CHOSEN, null);
  }

  // While walking, tell of what stands ahead.
  ahead() {
    const { walk, world } = this.viewer;
    if (!walk.on || !world) return false;
    this.stage.camera.updateMatrixWorld();
    const layer = world.layerAt(this.stage.camera.position.z - 1);
    this.viewer.mark(layer);
    const met = this.at(0, 0);
    const item = met && met.distance < FAR ? met.item : null;
    this.outline(UNDER, item);
    this.panel.showItem(item);
    this.panel.say(item ? saying(item) : layer.label);
    return false;
  }
}
