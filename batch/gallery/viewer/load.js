// A GLB's bytes, over the network with progress, or from file:// out of a script beside it.
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

// Return the parsed glTF; `progress(share)` is called on the way.
export async function load(url, bytes, progress) {
  const buffer = location.protocol === "file:" ? await fromScript(url, bytes, progress)
    : await fromServer(url, bytes, progress);
  return new GLTFLoader().parseAsync(buffer, "");
}

async function fromServer(url, bytes, progress) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const reader = answer.body.getReader();
  const chunks = [];
  let got = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress(Math.min((got += value.length) / bytes, 1));
  }
  return new Blob(chunks).arrayBuffer();
}

const takers = new WeakMap(); // of what a script hands over, by its element

// A page from file:// may not fetch; a classic script may be loaded, and hands over base64.
function fromScript(url, bytes, progress) {
  window.weightwalk.take = (piece) => takers.get(document.currentScript)?.(piece);
  return new Promise((resolve, reject) => {
    const whole = new Uint8Array(bytes);
    let got = 0;
    const script = document.createElement("script");
    takers.set(script, (piece) => {
      const binary = atob(piece);
      if (got + binary.length > bytes) return;
      for (let i = 0; i < binary.length; i++) whole[got + i] = binary.charCodeAt(i);
      progress((got += binary.length) / bytes);
    });
    script.src = `${url}.js`;
    script.onerror = () => reject(new Error("the file beside this page is not there"));
    script.onload = () => {
      script.remove();
      if (got === bytes) resolve(whole.buffer);
      else reject(new Error("the file beside this page is another one"));
    };
    document.head.append(script);
  });
}
