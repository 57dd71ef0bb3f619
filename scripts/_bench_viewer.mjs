// node _bench_viewer.mjs CHROMIUM SITE PAGE GLB [ROUNDS]: how long from the request until a model is
// seen, in the gallery's page and in <model-viewer> with the same file, in turns; and how long a
// frame of ours takes while one turns. In milliseconds, a line of JSON each round. SITE is a
// gallery's folder; PAGE and GLB are in it.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const tests = new URL("../tests/", import.meta.url);
const { chromium } = createRequire(new URL("package.json", tests))("playwright-core");
const [executablePath, site, page, glb, rounds = "3"] = process.argv.slice(2);
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const THEIRS = `<!doctype html><script type="importmap">{"imports":
{"three":"/node_modules/three/build/three.module.js",
"three/addons/":"/node_modules/three/examples/jsm/"}}</script>
<model-viewer id="model" src="/${glb}" style="width:880px;height:568px"></model-viewer>
<script type="module" src="/node_modules/@google/model-viewer/dist/model-viewer.min.js"></script>`;

const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  if (path === "/theirs") return response.setHeader("Content-Type", "text/html").end(THEIRS);
  const folder = path.startsWith("/node_modules/") ? fileURLToPath(tests) : site;
  createReadStream(join(folder, path))
    .on("error", () => response.writeHead(404).end())
    .on("open", () => response.setHeader("Content-Type", TYPES[extname(path)] ?? "text/plain"))
    .pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}/`;

const ours = () => window.weightwalk?.viewer?.world && document.getElementById("message").hidden;
const theirs = () => window.model?.modelIsVisible;

// Milliseconds until it is seen, and what `more` returns then.
async function first(url, seen, more = () => null) {
  const browser = await chromium.launch({ executablePath, args: [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  ] });
  try {
    const tab = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    const start = performance.now();
    await tab.goto(url, { waitUntil: "commit" });
    await tab.waitForFunction(seen, null, { polling: 20, timeout: 120_000 });
    // A picture of the page waits for the frame.
    await tab.screenshot({ clip: { x: 300, y: 300, width: 8, height: 8 } });
    return [performance.now() - start, await tab.evaluate(more)];
  } finally {
    await browser.close();
  }
}

// Turns for three seconds.
async function turn() {
  const { stage, orbit } = window.weightwalk.viewer;
  const [start, drawn] = [performance.now(), stage.drawn];
  while (performance.now() - start < 3000) {
    orbit.change(0.02, 0, 1);
    await new Promise(requestAnimationFrame);
  }
  const frames = stage.drawn - drawn;
  return [(performance.now() - start) / frames, stage.renderer.info.render.triangles];
}

for (let round = 0; round < Number(rounds); round++) {
  const [mine, [frame, faces]] = await first(base + page, ours, turn);
  const [other] = await first(`${base}theirs`, theirs);
  const times = { ours: mine, "model-viewer": other, frame, faces };
  console.log(JSON.stringify(times));
}
server.close();
