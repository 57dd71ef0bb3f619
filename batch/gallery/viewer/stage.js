// The canvas: renderer, light and camera. A frame is drawn only when something has changed.
import * as THREE from "three";

export const NIGHT = 0x121319;
const SLOW = 0.07; // seconds a frame from which on moving is drawn coarser

export class Stage {
  // Throws where there is no WebGL.
  constructor(element) {
    this.element = element;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, powerPreference: "high-performance" });
    this.renderer.setClearColor(NIGHT);
    this.renderer.domElement.setAttribute("aria-hidden", "true");
    element.prepend(this.renderer.domElement);
    this.camera = new THREE.PerspectiveCamera(50, 1, 0.1, 1000);
    this.camera.rotation.order = "YXZ";
    this.scene = new THREE.Scene();
    this.scene.fog = new THREE.Fog(NIGHT, 60, 400);
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8a8ca8, 1.9));
    const lamp = new THREE.DirectionalLight(0xffffff, 1.7); // goes with the visitor
    lamp.position.set(0.5, 0.9, 1);
    this.camera.add(lamp, lamp.target);
    lamp.target.position.set(0, 0, -1);
    this.scene.add(this.camera);
    this.tickers = [];
    this.drawn = 0;
    this.pace = 0; // seconds a frame while moving, smoothed
    this.coarse = false;
    this.walking = false;
    new ResizeObserver(() => this.resize()).observe(element);
    this.renderer.domElement.addEventListener("webglcontextrestored", () => this.wake());
    this.resize();
  }

  // Have `tick(seconds)` called before each frame; it says whether it wants another one.
  each(tick) {
    this.tickers.push(tick);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const sharp = Math.min(window.devicePixelRatio || 1, 2);
    this.renderer.setPixelRatio(this.coarse ? sharp * 0.6 : sharp);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    // On a phone that stands upright the corridor is as wide as on a screen that lies.
    const upright = this.camera.aspect < 1;
    this.camera.fov = this.walking ? (upright ? 74 : 60) : upright ? 62 : 45;
    this.camera.updateProjectionMatrix();
    this.wake();
  }

  // One who walks sees what is at both sides as well.
  widen(walking) {
    this.walking = walking;
    this.resize();
  }

  // Say from where to where one sees, in metres, and where the night begins.
  see(near, far, night) {
    const { camera, scene } = this;
    [scene.fog.near, scene.fog.far] = [night, far];
    if (camera.near === near && camera.far === far) return;
    [camera.near, camera.far] = [near, far];
    camera.updateProjectionMatrix();
  }

  // Ask for a frame.
  wake() {
    if (!this.asked) this.asked = requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.asked = 0;
    const passed = this.last === undefined ? 0 : (now - this.last) / 1000;
    let busy = false;
    for (const tick of this.tickers) busy = tick(Math.min(passed, 0.2)) || busy;
    this.adapt(busy, passed);
    this.renderer.render(this.scene, this.camera);
    this.drawn += 1;
    this.last = busy ? now : undefined;
    if (busy) this.wake();
  }

  // While it moves and frames are late, draw fewer pixels; sharp again at rest.
  adapt(busy, passed) {
    if (passed) this.pace = this.pace ? 0.8 * this.pace + 0.2 * passed : passed;
    const coarse = busy && this.pace > SLOW;
    if (coarse !== this.coarse && (coarse || !busy)) {
      this.coarse = coarse;
      this.resize();
    }
  }
}
