// Looking from outside: turn, shift and come nearer by mouse, touch or keys; fly to a box.
import * as THREE from "three";

const TURN = 0.006; // radians a pixel
const SIDES = [[-0.24, 0.6], [-0.5, 0.4]]; // yaw and pitch: of short corridors, and of long ones
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const KEYS = {
  ArrowLeft: [-0.12, 0, 1], ArrowRight: [0.12, 0, 1], ArrowUp: [0, 0.08, 1], ArrowDown: [0, -0.08, 1],
  "+": [0, 0, 0.85], "=": [0, 0, 0.85], "-": [0, 0, 1.18], _: [0, 0, 1.18],
};

export class Orbit {
  constructor(stage) {
    this.stage = stage;
    this.target = new THREE.Vector3();
    this.view = { yaw: -0.35, pitch: 0.5, radius: 50 };
    this.on = true;
    this.fingers = new Map();
    const canvas = stage.renderer.domElement;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.each((seconds) => this.tick(seconds));
  }

  // Put the camera where it sees a box whole: from this side, or from where it can be nearest.
  show(box, { from = SIDES, at_once = false } = {}) {
    this.goal = from.map(([yaw, pitch]) => ({ yaw, pitch, ...this.fit(box, yaw, pitch) }))
      .reduce((best, one) => (one.radius < 0.85 * best.radius ? one : best));
    if (at_once || STILL.matches) {
      this.target.copy(this.goal.target);
      this.view = { ...this.goal };
      this.goal = null;
    }
    this.stage.wake();
  }

  // What to look at, and from how far, so that a box fills the picture, its middle in the middle.
  fit(box, yaw, pitch) {
    const turn = new THREE.Quaternion().setFromEuler(new THREE.Euler(-pitch, yaw, 0, "YXZ"));
    const back = turn.clone().invert();
    const target = box.getCenter(new THREE.Vector3());
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => new THREE.Vector3(
      i & 1 ? box.max.x : box.min.x, i & 2 ? box.max.y : box.min.y, i & 4 ? box.max.z : box.min.z,
    ).sub(target).applyQuaternion(back));
    const up = Math.tan(THREE.MathUtils.degToRad(this.stage.camera.fov / 2)) * 0.9;
    const side = up * this.stage.camera.aspect;
    // The planes of the picture's edges, each pushed outwards until no corner lies beyond it.
    const far = (axis, sign, slope) => Math.max(...corners.map((c) => sign * c[axis] + slope * c.z));
    const [right, left] = [far("x", 1, side), far("x", -1, side)];
    const [top, bottom] = [far("y", 1, up), far("y", -1, up)];
    const radius = Math.max((right + left) / (2 * side), (top + bottom) / (2 * up), 2);
    const shift = new THREE.Vector3((right - left) / 2, (top - bottom) / 2, 0);
    return { target: target.add(shift.applyQuaternion(turn)), radius };
  }

  key(event) {
    const way = KEYS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.shiftKey && event.key.startsWith("Arrow")) this.shift(way[0] * 300, way[1] * 300);
    else this.change(way[0], way[1], way[2]);
    return true;
  }

  change(yaw, pitch, nearer) {
    this.goal = null;
    this.view.yaw += yaw;
    this.view.pitch = THREE.MathUtils.clamp(this.view.pitch + pitch, -0.1, 1.5);
    this.view.radius = THREE.MathUtils.clamp(this.view.radius * nearer, 0.5, 2000);
    this.stage.wake();
  }

  // Move what is looked at, by pixels.
  shift(x, y) {
    this.goal = null;
    const { camera, element } = this.stage;
    const metres = 2 * this.view.radius * Math.tan(THREE.MathUtils.degToRad(camera.fov / 2))
      / element.clientHeight;
    this.target.addScaledVector(new THREE.Vector3(1, 0, 0).applyQuaternion(camera.quaternion), x * metres);
    this.target.addScaledVector(new THREE.Vector3(0, 1, 0).applyQuaternion(camera.quaternion), y * metres);
    this.stage.wake();
  }

  down(event) {
    if (!this.on) return;
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    event.target.setPointerCapture(event.pointerId);
  }

  move(event) {
    const was = this.fingers.get(event.pointerId);
    if (!was || !this.on) return;
    const x = event.clientX - was.x, y = event.clientY - was.y;
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId);
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (others.length) {
      const other = others[0][1];
      const before = Math.hypot(was.x - other.x, was.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      this.shift(-x / 2, y / 2);
      this.change(0, 0, before / Math.max(after, 1));
    } else if (event.buttons & 6 || event.shiftKey) this.shift(-x, y);
    else this.change(-x * TURN, y * TURN, 1);
  }

  wheel(event) {
    if (!this.on) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    this.change(0, 0, Math.exp(THREE.MathUtils.clamp(event.deltaY * lines, -200, 200) * 0.0015));
  }

  tick(seconds) {
    if (!this.on) return false;
    const { view, goal, target } = this;
    if (goal) {
      const part = 1 - Math.exp(-6 * (seconds || 0.016));
      target.lerp(goal.target, part);
      for (const what of ["yaw", "pitch", "radius"]) view[what] += (goal[what] - view[what]) * part;
      const left = target.distanceTo(goal.target) + Math.abs(goal.radius - view.radius);
      if (left < 0.002 * view.radius) this.goal = null;
    }
    const { camera } = this.stage;
    camera.rotation.set(-view.pitch, view.yaw, 0);
    camera.position.set(0, 0, view.radius).applyQuaternion(camera.quaternion).add(target);
    this.stage.see(Math.max(view.radius / 200, 0.1), view.radius * 3 + 150, view.radius * 1.2);
    return Boolean(this.goal);
  }
}
