// What stands in the scene: layers in walking order, and in them the items, one for each tensor.
import * as THREE from "three";
import { Labels } from "./labels.js";

const FLOOR = 0x1b1d26, FLOOR_HERE = 0x2a2c3a;
const WORD = 0xb9bac6, WORD_HERE = 0xffc9a8;
const RIM = 1.2; // metres of floor around what stands on it
const FAINT = 0.14; // of plates beside the layer that is looked at
const ROOM = [6, 8.5]; // metres from a visitor to a layer's plates, at least and at most
const WIDE = 80; // metres on both sides of the aisle, beyond which plates would be mere dots

export class World {
  // `told` is what the page knows: items as [key, name, role, shape].
  constructor(gltf, told) {
    this.root = gltf.scene;
    this.clip = gltf.animations[0];
    this.material = new THREE.MeshLambertMaterial({ vertexColors: true });
    this.faint = new THREE.MeshLambertMaterial({
      vertexColors: true, transparent: true, opacity: FAINT, depthWrite: false,
    });
    this.items = told.items.map(([key, name, role, shape]) => (
      { key, name, role, shape, meshes: [], box: new THREE.Box3(), layer: null }));
    this.layers = [];
    this.furniture = new THREE.Group();
    this.gather();
    this.furnish();
  }

  // Find the items' meshes, their boxes and their layers.
  gather() {
    const byKey = new Map(this.items.map((item) => [item.key, item]));
    const scales = fullScales(this.clip);
    this.root.updateMatrixWorld(true);
    for (const group of this.root.children) {
      const layer = { label: printable(group.userData.name), box: new THREE.Box3(), items: [], group, signs: [] };
      group.traverse((mesh) => {
        if (!mesh.isMesh) return;
        this.material.side = this.faint.side = mesh.material.side;
        mesh.material = this.material;
        const { tensor, role } = mesh.userData;
        const item = byKey.get(`${tensor}\n${role}`) ?? byKey.get(`${tensor}\n`);
        const box = boxOf(mesh, scales.get(mesh.name));
        layer.box.union(box);
        if (!item) return;
        item.meshes.push(mesh);
        item.role ||= printable(role);
        item.box.union(box);
        if (!item.layer) layer.items.push(Object.assign(item, { layer }));
      });
      if (!layer.box.isEmpty()) this.layers.push(layer);
    }
    this.layers.sort((a, b) => b.box.max.z - a.box.max.z);
    for (const layer of this.layers) {
      layer.items.sort((a, b) => column(a) - column(b) || b.box.max.y - a.box.max.y);
    }
    this.box = this.layers.reduce((all, layer) => all.union(layer.box), new THREE.Box3());
  }

  // A floor for each layer, with its name in the aisle, and roles before the plates.
  furnish() {
    const plane = new THREE.PlaneGeometry(1, 1).rotateX(-Math.PI / 2);
    const labels = new Labels();
    const { min, max } = this.box;
    for (const layer of this.layers) {
      const front = layer.box.max.z + 3, back = layer.box.min.z - RIM;
      const ground = new THREE.Mesh(plane, new THREE.MeshBasicMaterial({ color: FLOOR }));
      ground.position.set((min.x + max.x) / 2, -0.02, (front + back) / 2);
      ground.scale.set(max.x - min.x + 2 * RIM, 1, front - back);
      this.furniture.add(ground);
      layer.signs.push(layer.ground = ground);
      layer.sign = this.lay(layer, labels.flat(layer.label, 1.25, 4.6), this.aisle(), front - 1);
      // It is lit on its own, also where a role is called as the layer is.
      if (layer.sign) layer.sign.material = layer.sign.material.clone();
    }
    for (const layer of this.layers) {
      for (const item of layer.items) {
        const x = (item.box.min.x + item.box.max.x) / 2;
        if (item.role.includes(".") || !this.tall(item) || Math.abs(x - this.aisle()) <= 3) continue;
        this.lay(layer, labels.flat(item.role, 0.8, 4), x, layer.box.max.z + 2);
      }
    }
    this.root.add(this.furniture);
  }

  // Lay a word of a layer, if there is one, on the floor.
  lay(layer, sign, x, z) {
    if (!sign) return null;
    sign.position.set(x, 0.01, z);
    this.furniture.add(sign);
    layer.signs.push(sign);
    return sign;
  }

  // Where one walks: between what stands left and right of x = 0, or before a single column.
  aisle() {
    return this.box.min.x < 0 && this.box.max.x > 0 ? 0 : (this.box.min.x + this.box.max.x) / 2;
  }

  // What an overview shows: all layers, of which very wide ones go on beyond its edges.
  overview() {
    const [seen, aisle] = [this.box.clone(), this.aisle()];
    seen.min.x = Math.max(seen.min.x, aisle - WIDE);
    seen.max.x = Math.min(seen.max.x, aisle + WIDE);
    return seen;
  }

  // Set a layer's floor and name off from the others.
  light(layer, on) {
    layer.ground.material.color.set(on ? FLOOR_HERE : FLOOR);
    layer.sign?.material.color.set(on ? WORD_HERE : WORD);
  }

  // Let a layer stand out: the others are faint, or not there at all. Without one, all are equal.
  standOut(layer, { alone }) {
    for (const one of this.layers) {
      const other = Boolean(layer) && one !== layer;
      one.group.visible = !(other && alone);
      for (const sign of one.signs) sign.visible = one.group.visible;
      one.group.traverse((mesh) => {
        if (mesh.isMesh) mesh.material = other ? this.faint : this.material;
      });
    }
  }

  // How far it is to a layer's plates from those before it.
  room(layer) {
    const before = this.layers[this.layers.indexOf(layer) - 1];
    return before ? before.box.min.z - layer.box.max.z : Infinity;
  }

  // Where one stands so that a layer's plates are ahead, and those before it behind one's back.
  door(layer) {
    const away = THREE.MathUtils.clamp(this.room(layer) - 0.4, ...ROOM);
    return new THREE.Vector3(this.aisle(), 0, layer.box.max.z + away);
  }

  // How steeply one looks down at a layer over the plates before it, in radians.
  pitch(layer) {
    const before = this.layers[this.layers.indexOf(layer) - 1];
    const slope = before ? before.box.max.y / Math.max(this.room(layer), 0.1) : 0;
    return THREE.MathUtils.clamp(Math.atan(slope), 0.4, 0.95);
  }

  tall(item) {
    return item.box.max.y - item.box.min.y > 0.8;
  }

  // Return the first item whose box the ray meets and that is seen now. Boxes only: quick, and a
  // plate with holes is still the plate under the cursor.
  pick(ray) {
    const point = new THREE.Vector3();
    let best = null, nearest = Infinity;
    for (const item of this.items) {
      if (item.box.isEmpty() || !item.layer?.group.visible) continue;
      if (!item.meshes.some((mesh) => mesh.visible)) continue;
      if (!ray.intersectBox(item.box, point)) continue;
      const distance = item.box.containsPoint(ray.origin) ? 0.5 : point.distanceTo(ray.origin);
      if (distance < nearest) [best, nearest] = [item, distance];
    }
    return best && { item: best, distance: nearest };
  }

  // Return the layer that a visitor at this depth stands before or in.
  layerAt(z) {
    return this.layers.find((layer) => z > layer.box.min.z) ?? this.layers.at(-1);
  }

  dispose() {
    this.root.traverse((thing) => {
      thing.geometry?.dispose();
      thing.material?.map?.dispose();
    });
    this.material.dispose();
    this.faint.dispose();
  }
}

// Words out of a file: control characters and those that turn the reading order are shown as such.
function printable(words) {
  const said = String(words ?? "").slice(0, 60);
  return said.replace(/\p{C}/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// Fields of one column stand on each other; the surfaces' middles differ a little.
function column(item) {
  return Math.round((item.box.min.x + item.box.max.x) / 5.2);
}

// How large each mesh is when it is seen, where an animation shrinks it to nothing at other times.
function fullScales(clip) {
  const tracks = (clip?.tracks ?? []).filter((track) => track.name.endsWith(".scale"));
  return new Map(tracks.map((track) => [track.name.slice(0, -6), Math.max(...track.values)]));
}

function boxOf(mesh, scale = mesh.scale.x) {
  if (!mesh.geometry.boundingBox) mesh.geometry.computeBoundingBox();
  const size = new THREE.Vector3().setScalar(scale);
  const matrix = new THREE.Matrix4().compose(mesh.position, mesh.quaternion, size);
  return mesh.geometry.boundingBox.clone().applyMatrix4(matrix.premultiply(mesh.parent.matrixWorld));
}
