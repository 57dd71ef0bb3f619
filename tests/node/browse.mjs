// node browse.mjs CHROMIUM FILE...: what three.js and <model-viewer> make of each GLB, as JSON.
import { show } from "./serve.mjs";

const [chromium, ...files] = process.argv.slice(2);
await show(chromium, files, async (page, url) => ({
  three: await page.evaluate((u) => window.readWithThree(u), url),
  modelViewer: await page.evaluate((u) => window.readWithModelViewer(u), url),
}));
