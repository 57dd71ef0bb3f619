// The time line of a training run: play, pause, go to a step.
import * as THREE from "three";

export class Timeline {
  // `element` is the page's part; `changed(step)` is called when another step is seen.
  constructor(stage, element, changed) {
    this.stage = stage;
    this.element = element;
    this.changed = changed;
    [this.play, this.slider, this.output] = ["play", "slider", "output"].map(
      (name) => element.querySelector(`[data-time=${name}]`));
    this.play.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => {
      this.pause();
      this.go(Number(this.slider.value));
    });
    for (const [name, by] of [["back", -1], ["on", 1]]) {
      element.querySelector(`[data-time=${name}]`).addEventListener("click", () => this.hop(by));
    }
    stage.each((seconds) => this.tick(seconds));
  }

  // Take over the animation of a world; it begins at its last step.
  set(world, told) {
    this.pause();
    this.steps = told.steps;
    this.clip = world.clip;
    this.element.hidden = !this.clip || !this.steps.length;
    this.mixer = null;
    this.step = 0;
    if (this.element.hidden) return;
    this.world = world;
    this.mixer = new THREE.AnimationMixer(world.root);
    this.action = this.mixer.clipAction(this.clip);
    this.action.play();
    this.action.paused = true; // its time is set by hand
    this.end = this.steps.at(-1).end;
    this.fps = (this.steps[0].last - this.steps[0].first + 1) / (this.steps[0].end - this.steps[0].begin);
    this.slider.max = this.end;
    this.slider.step = 1 / this.fps;
    const last = this.steps.at(-1);
    this.go((last.begin + last.end) / 2);
  }

  go(time) {
    this.time = Math.min(Math.max(time, 0), this.end);
    this.action.time = Math.min(this.time, this.clip.duration - 1e-4);
    this.mixer.update(0);
    for (const item of this.world.items) {
      for (const mesh of item.meshes) mesh.visible = mesh.scale.x > 0;
    }
    const found = this.steps.findIndex((step) => this.time < step.end);
    const step = found < 0 ? this.steps.length - 1 : found;
    const { label, first, last } = this.steps[step];
    const frame = Math.min(Math.floor(this.time * this.fps + 1e-6) + this.steps[0].first, last);
    const said = `${label}, frame ${Math.max(frame, first)} of ${this.steps.at(-1).last}`;
    this.slider.value = this.time;
    this.slider.setAttribute("aria-valuetext", said);
    this.output.textContent = said;
    if (step !== this.step) this.changed(this.step = step);
    this.stage.wake();
  }

  hop(by) {
    this.pause();
    const { begin, end } = this.steps[Math.min(Math.max(this.step + by, 0), this.steps.length - 1)];
    this.go((begin + end) / 2);
  }

  toggle() {
    if (this.playing) return this.pause();
    this.playing = true;
    if (this.time > this.steps.at(-1).begin) this.go(0);
    this.say();
    this.stage.wake();
  }

  pause() {
    this.playing = false;
    this.say();
  }

  say() {
    this.play.textContent = this.playing ? "Pause" : "Play";
  }

  tick(seconds) {
    if (!this.playing) return false;
    this.go(this.time + seconds);
    if (this.time >= this.end) this.pause();
    return this.playing;
  }
}
