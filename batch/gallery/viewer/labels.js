// Words on the floor.
import * as THREE from "three";

const TALL = 128; // pixels of a line
const MOST = 300; // words, of which each is a picture in the graphics card's memory

export class Labels {
  constructor() {
    this.made = new Map();
  }

  // Return a word that lies on the floor, read from the front, `height` metres and at most `width`;
  // null where there are too many others.
  flat(word, height, width) {
    const said = word.length > 24 ? `${word.slice(0, 23)}…` : word;
    if (!this.made.has(said)) {
      if (this.made.size >= MOST) return null;
      this.made.set(said, draw(said));
    }
    const { material, aspect } = this.made.get(said);
    const mesh = new THREE.Mesh(PLANE, material);
    const fit = Math.min(height, width / aspect);
    mesh.scale.set(fit * aspect, 1, fit);
    return mesh;
  }
}

const PLANE = new THREE.PlaneGeometry(1, 1).rotateX(-Math.PI / 2);

function draw(word) {
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const font = `600 ${TALL * 0.72}px system-ui, sans-serif`;
  pen.font = font;
  canvas.width = Math.ceil(pen.measureText(word).width) + 16;
  canvas.height = TALL;
  pen.font = font;
  pen.textBaseline = "middle";
  pen.fillStyle = "#fff";
  pen.fillText(word, 8, TALL * 0.54);
  const map = new THREE.CanvasTexture(canvas);
  map.colorSpace = THREE.SRGBColorSpace;
  map.anisotropy = 8;
  const material = new THREE.MeshBasicMaterial({
    map, transparent: true, depthWrite: false, color: 0xb9bac6,
  });
  return { material, aspect: canvas.width / canvas.height };
}
