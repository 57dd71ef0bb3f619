// node visit.mjs CHROMIUM SITE OUT: visits the gallery in SITE with a headless Chromium, over http
// and from file://, prints what was seen as JSON and leaves pictures in OUT.
// What goes anywhere else is stopped and told of.
import { createReadStream } from "node:fs";
import { rename } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = createRequire(import.meta.url)("axe-core").source;
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
  ".webp": "image/webp", ".png": "image/png", ".glb": "model/gltf-binary",
};
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
const [executablePath, site, out] = process.argv.slice(2);

const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname)
    .replace(/\/$/, "/index.html");
  createReadStream(join(site, path))
    .on("error", () => response.writeHead(404).end())
    .on("open", () => response.setHeader("Content-Type", TYPES[extname(path)] ?? "text/plain"))
    .pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}/`;
const seen = { strangers: [], said: [], axe: {} };

const launch = (...more) => chromium.launch({ executablePath, args: [
  "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", ...more,
] });
let browser = await launch("--use-angle=swiftshader", "--enable-unsafe-swiftshader");

async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  await context.route(/.*/, (route) => {
    const to = route.request().url();
    if (/^(blob:|data:|file:)/.test(to) || to.startsWith(base)) return route.continue();
    seen.strangers.push(to);
    return route.abort();
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("console", (message) => seen.said.push(`${url}: ${message.type()} ${message.text()}`));
  page.on("pageerror", (error) => seen.said.push(`${url}: ${error.message}`));
  page.on("dialog", (dialog) => {
    seen.said.push(`${url}: a dialog ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url);
  return page;
}

const settled = (page) => page.waitForFunction(() => {
  const viewer = window.weightwalk?.viewer;
  return viewer?.world && document.getElementById("message").hidden && !viewer.stage.asked;
});
const camera = (page) => page.evaluate(() => window.weightwalk.viewer.stage.camera.position.toArray());
const text = (page, selector) => page.locator(selector).innerText();
const picture = (page, name) => page.locator("#stage canvas").screenshot({ path: join(out, name) });

async function check(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  seen.axe[name] = violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

async function cards() {
  const page = await open(base);
  seen.cards = await page.locator(".card h2").allInnerTexts();
  await check(page, "index");
  const dark = await open(base, { colorScheme: "dark" });
  await check(dark, "index, dark");
  const phone = await open(base, PHONE);
  seen.indexWidth = await phone.evaluate(() => document.documentElement.scrollWidth);
  await page.locator(".card a").first().click();
  await settled(page);
  seen.clicked = await text(page, "h1");
}

async function mouse() {
  const page = await open(`${base}bad/`);
  await settled(page);
  seen.opened = [await page.locator("#layers [aria-current]").count(), await text(page, "#readout")];
  await picture(page, "overview.png");
  await check(page, "model");
  seen.layers = await page.locator("#layers button").allInnerTexts();
  seen.facesFirst = await page.evaluate(() => window.weightwalk.viewer.stage.renderer.info.render.triangles);
  await page.locator("#layers button", { hasText: "layer 1" }).click();
  await settled(page);
  await picture(page, "layer.png");
  const box = await page.locator("#stage").boundingBox();
  const spot = await page.evaluate(() => {
    const { world, stage } = window.weightwalk.viewer;
    const item = world.items.find(({ layer, role }) => layer?.label === "layer 1" && role === "q");
    const point = item.box.min.clone().lerp(item.box.max, 0.5).project(stage.camera);
    return [(point.x + 1) / 2, (1 - point.y) / 2];
  });
  await page.mouse.move(box.x + spot[0] * box.width, box.y + spot[1] * box.height);
  await page.waitForTimeout(300);
  seen.hovered = [await text(page, "#readout"), await text(page, "#stats")];
  seen.nearest = await page.evaluate(() => {
    const { world, pointing } = window.weightwalk.viewer;
    const ray = pointing.ray.ray.clone();
    const { box } = world.items.find(({ layer, role }) => layer?.label === "layer 1" && role === "q");
    ray.origin.copy(box.min).lerp(box.max, 0.5).setZ(world.box.max.z + 10);
    ray.direction.set(0, 0, -1);
    return world.pick(ray).item.layer.label;
  });
  const numbers = () => page.locator("#stats dl").evaluateAll((lists) => lists.map((list) =>
    Object.fromEntries([...list.children].reduce((pairs, { textContent }, i) => (
      i % 2 ? pairs.at(-1).push(textContent) : pairs.push([textContent]), pairs), []))));
  seen.numbers = [await text(page, "#stats-of"), await numbers()];
  await page.getByText("400 faces").first().click();
  await page.waitForFunction(() => window.weightwalk.viewer.part === 0);
  await settled(page);
  seen.facesSecond = await page.evaluate(() => window.weightwalk.viewer.stage.renderer.info.render.triangles);
  seen.shownParts = await page.locator("[data-part]:visible")
    .evaluateAll((all) => all.map((one) => one.dataset.part));
  // The same plate is told of, with its other numbers.
  seen.numbers.push(await text(page, "#stats-of"), await numbers());
  const drawn = () => page.evaluate(() => window.weightwalk.viewer.stage.drawn);
  const before = await drawn();
  await page.waitForTimeout(500);
  seen.drawnAtRest = await drawn() - before;
}

// What a link leads to, what keys do before anything has the focus, and one layer without the others.
async function address() {
  const page = await open(`${base}bad/#layer-1/faces-400`);
  await settled(page);
  const now = () => page.evaluate(() => {
    const { part, current, world } = window.weightwalk.viewer;
    return [part, current?.label ?? "", location.hash,
      world.layers.filter(({ group }) => group.visible).length];
  });
  seen.address = [await now()];
  await page.locator("#only").click();
  await settled(page);
  await picture(page, "only.png");
  seen.address.push(await now());
  await page.evaluate(() => document.activeElement.blur());
  for (const key of ["PageUp", "Home"]) {
    await page.keyboard.press(key);
    await settled(page);
    seen.address.push(await now());
  }
  await page.evaluate(() => { location.hash = "#layer-0"; });
  await page.waitForFunction(() => window.weightwalk.viewer.part === 1);
  await settled(page);
  seen.address.push(await now());
  const fresh = await open(`${base}bad/#nowhere`, { viewport: { width: 1280, height: 500 } });
  await settled(fresh);
  await fresh.keyboard.press("PageDown");
  await settled(fresh);
  await fresh.keyboard.press("w");
  await settled(fresh);
  seen.fresh = await fresh.evaluate(() => {
    const { walk, world, current } = window.weightwalk.viewer;
    const { top, bottom } = document.getElementById("stage").getBoundingClientRect();
    const away = walk.place.z - current.box.max.z;
    return [walk.on, current.label, document.activeElement.id, top >= 0 && bottom <= innerHeight,
      away >= 6 && away <= 8.5, world.layers.indexOf(world.layerAt(walk.place.z - 1))];
  });
}

async function keyboard() {
  const page = await open(`${base}bad/`, { colorScheme: "dark" });
  await settled(page);
  await check(page, "model, dark");
  const press = async (key) => {
    await page.keyboard.press(key);
    await settled(page);
  };
  seen.reached = [];
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const { activeElement: one } = document;
      const outline = getComputedStyle(one).outlineStyle !== "none"
        || getComputedStyle(one.nextElementSibling ?? one).outlineStyle !== "none";
      return [one.id || one.closest("[id]")?.id || one.tagName, outline];
    });
    seen.reached.push(at);
    if (at[0] === "stage" && !seen.walked) {
      seen.walked = [await camera(page)];
      await press("ArrowLeft");
      seen.walked.push(await camera(page));
      await press("PageDown");
      await press("PageDown");
      seen.paged = await text(page, "#layers [aria-current]");
      await page.evaluate(() => {
        const { viewer } = window.weightwalk;
        viewer.choose(viewer.world.layers[0].items[0]);
      });
      seen.chosen = await text(page, "#stats-of");
      await page.keyboard.press("w");
      await page.waitForTimeout(300);
      const before = await camera(page);
      await page.keyboard.down("w");
      await page.waitForTimeout(700);
      await page.keyboard.up("w");
      await settled(page);
      seen.walking = [before, await camera(page)];
      await picture(page, "walk.png");
      seen.nothingAhead = await text(page, "#stats-of");
      await page.keyboard.press("Escape");
      await settled(page);
      seen.escaped = await page.evaluate(() => !window.weightwalk.viewer.walk.on);
    }
    if (at[0] === "surfaces" && !seen.entered) {
      await press("Enter");
      seen.entered = [await text(page, "#stats-of"), await text(page, "#stats")];
    }
  }
}

async function time() {
  const page = await open(`${base}run/`);
  await settled(page);
  await check(page, "run");
  const now = async () => [await text(page, "[data-time=output]"),
    await page.evaluate(() => window.weightwalk.viewer.stage.renderer.info.render.triangles)];
  seen.time = [await now()];
  await page.locator("[data-time=slider]").fill("0");
  await settled(page);
  seen.time.push(await now());
  await picture(page, "first.png");
  await page.locator("[data-time=on]").click();
  await settled(page);
  seen.time.push(await now());
  await page.locator("[data-time=play]").click();
  await page.waitForFunction(() => document.querySelector("[data-time=output]").value.includes("step 30"));
  await settled(page);
  seen.time.push(await now());
  await picture(page, "last.png");
  await page.locator("#layers button").first().click();
  await page.locator("#surfaces button").first().click();
  const surface = async () => (await text(page, "#stats")).split(/\s*\n\s*/);
  seen.surface = [await surface()];
  await page.locator("[data-time=slider]").fill("0");
  seen.surface.push(await surface());
  await page.getByText("terrain").first().click();
  await page.waitForFunction(() => window.weightwalk.viewer.world.items.some(({ name }) => name));
  await settled(page);
  seen.terrain = await now();
  await picture(page, "terrain.png");
}

async function phone() {
  const page = await open(`${base}bad/`, PHONE);
  await settled(page);
  await check(page, "model, phone");
  seen.phoneWidth = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.locator("#walk").tap();
  await settled(page);
  const before = await camera(page);
  const { x, y, width, height } = await page.locator("[data-touch=stick]").boundingBox();
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 2, y + 4, { steps: 4 });
  await page.waitForTimeout(600);
  await page.mouse.up();
  await settled(page);
  seen.stick = [before, await camera(page)];
}

async function flow() {
  const page = await open(`${base}flow/`);
  await check(page, "flow");
  const film = page.locator("button[data-film]").first();
  const source = () => page.locator(".flow img").first().getAttribute("src");
  seen.film = [await source()];
  await film.click();
  seen.film.push(await source());
}

async function fromFile() {
  const page = await open(`${pathToFileURL(join(site, "bad", "index.html")).href}#layer-0`);
  await settled(page);
  await page.keyboard.press("PageDown");
  await settled(page);
  seen.fileAddress = new URL(page.url()).hash;
  await picture(page, "file.png");
}

// A file that is gone is told of, and asked for again; the browser's own word for it is no fault.
async function retry() {
  const glb = join(site, "run", "iso", "run.glb");
  await rename(glb, `${glb}.away`);
  const page = await open(`${base}run/`);
  await page.waitForSelector("#retry:visible");
  seen.gone = await text(page, "#message");
  await rename(`${glb}.away`, glb);
  await page.locator("#retry").click();
  await settled(page);
  seen.said = seen.said.filter((line) => !/run\/: error Failed to load resource.*404/.test(line));
}

async function without() {
  await browser.close();
  browser = await launch("--disable-3d-apis");
  const before = seen.said.length;
  const page = await open(`${base}bad/`);
  seen.without = [await text(page, "#message"), await page.locator("main section:not(#viewer)").count()];
  await check(page, "model, no WebGL");
  // three.js says on the console why.
  seen.said = seen.said.slice(0, before).concat(
    seen.said.slice(before).filter((line) => !/WebGL/.test(line)));
}

try {
  for (const visit of [cards, mouse, address, keyboard, time, phone, flow, fromFile, retry, without]) await visit();
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  server.close();
}
