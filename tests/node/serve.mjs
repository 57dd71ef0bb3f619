// What both browse.mjs and play.mjs need: page.html in headless Chromium, beside some GLB files.
// Serves node_modules and the files on a port of its own on localhost; nothing else is asked for.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".glb": "model/gltf-binary",
};
const root = fileURLToPath(new URL("..", import.meta.url));

// Prints what `look(page, url)` returns for each file, and what was asked of other servers.
export async function show(executablePath, files, look) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    const model = path.match(/^\/model\/(\d+)\.glb$/);
    const file = model
      ? files[Number(model[1])]
      : join(root, path === "/" ? "node/page.html" : path);
    createReadStream(file)
      .on("error", () => response.writeHead(404).end())
      .on("open", () => response.setHeader("Content-Type", TYPES[extname(file)] ?? "text/plain"))
      .pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;

  const browser = await chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ],
  });
  try {
    const page = await browser.newPage();
    const strangers = [];
    page.on("request", (request) => {
      if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(origin)) {
        strangers.push(request.url());
      }
    });
    page.on("console", (message) => console.error(message.type(), message.text()));
    page.on("pageerror", (error) => console.error(error.message));
    await page.goto(origin);
    await page.waitForFunction(() => window.ready, null, { timeout: 30_000 });
    const seen = {};
    for (const [i, file] of files.entries()) seen[file] = await look(page, `/model/${i}.glb`);
    console.log(JSON.stringify({ seen, strangers }));
  } finally {
    await browser.close();
    server.close();
  }
}
