// Walking: W A S D and the mouse, or a stick and a finger on a screen that is touched.
import * as THREE from "three";

const EYE = 2.1; // metres
const SPEED = 5; // metres a second
const TURN = 0.0028; // radians a pixel
const KEYS = {
  KeyW: [0, 0, -1], KeyS: [0, 0, 1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0],
  ArrowUp: [0, 0, -1], ArrowDown: [0, 0, 1],
  Space: [0, 1, 0], KeyE: [0, 1, 0], KeyQ: [0, -1, 0],
};
const TURNS = { ArrowLeft: 1, ArrowRight: -1 };

export class Walk {
  constructor(stage, leave) {
    this.stage = stage;
    this.leave = leave;
    this.on = false;
    this.held = new Set();
    this.stick = new THREE.Vector3();
    this.speed = new THREE.Vector3();
    this.canvas = stage.renderer.domElement;
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { this.looking = null; });
    }
    document.addEventListener("pointerlockchange", () => this.lockChanged());
    window.addEventListener("blur", () => this.held.clear());
    stage.each((seconds) => this.tick(seconds));
  }

  // Begin at a place, looking along the corridor.
  start(place) {
    this.on = true;
    this.put(place);
    // The mouse turns the head; where the browser refuses, dragging does.
    if (matchMedia("(pointer: fine)").matches) {
      Promise.resolve(this.canvas.requestPointerLock?.()).catch(() => {});
    }
  }

  put(place, { yaw = 0, pitch = 0.07 } = {}) {
    this.place = place.clone().setY(Math.max(place.y, EYE));
    [this.yaw, this.pitch] = [yaw, pitch];
    this.speed.set(0, 0, 0);
    this.stage.wake();
  }

  stop() {
    this.on = false;
    this.held.clear();
    this.stick.set(0, 0, 0);
    if (document.pointerLockElement === this.canvas) document.exitPointerLock();
  }

  // The browser takes Escape for itself while the mouse is caught.
  lockChanged() {
    if (document.pointerLockElement === this.canvas) this.caught = true;
    else if (this.caught) {
      this.caught = false;
      if (this.on) this.leave();
    }
  }

  key(event, down) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (!(event.code in KEYS) && !(event.code in TURNS) && event.key !== "Shift") return false;
    if (down) this.held.add(event.key === "Shift" ? "Shift" : event.code);
    else this.held.delete(event.key === "Shift" ? "Shift" : event.code);
    this.stage.wake();
    return true;
  }

  down(event) {
    if (!this.on) return;
    this.looking = { id: event.pointerId, x: event.clientX, y: event.clientY };
    event.target.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.on) return;
    let x = event.movementX, y = event.movementY;
    if (document.pointerLockElement !== this.canvas) {
      if (this.looking?.id !== event.pointerId) return;
      [x, y] = [this.looking.x - event.clientX, this.looking.y - event.clientY];
      Object.assign(this.looking, { x: event.clientX, y: event.clientY });
    }
    this.yaw -= x * TURN;
    this.pitch = THREE.MathUtils.clamp(this.pitch - y * TURN, -1.5, 1.5);
    this.stage.wake();
  }

  tick(seconds) {
    if (!this.on) return false;
    const wish = this.stick.clone();
    for (const [code, way] of Object.entries(KEYS)) {
      if (this.held.has(code)) wish.add(new THREE.Vector3(...way));
    }
    wish.clampLength(0, 1).multiplyScalar(this.held.has("Shift") ? 4 * SPEED : SPEED);
    wish.applyAxisAngle(new THREE.Vector3(0, 1, 0), this.yaw);
    this.speed.lerp(wish, 1 - Math.exp(-12 * seconds));
    for (const [code, way] of Object.entries(TURNS)) {
      if (this.held.has(code)) this.yaw += way * 1.6 * seconds;
    }
    this.place.addScaledVector(this.speed, seconds);
    this.place.y = Math.max(this.place.y, 0.4);
    if (!wish.lengthSq() && this.speed.lengthSq() < 0.01) this.speed.set(0, 0, 0);
    const { camera } = this.stage;
    camera.position.copy(this.place);
    camera.rotation.set(this.pitch, this.yaw, 0);
    this.stage.see(0.1, 110, 18);
    return wish.lengthSq() > 0 || this.speed.lengthSq() > 0 || this.held.size > 0;
  }
}
