// node play.mjs CHROMIUM FILE TIMES: what three.js shows of an animated GLB at each time, as JSON.
// TIMES are seconds, as a JSON list.
import { show } from "./serve.mjs";

const [chromium, file, times] = process.argv.slice(2);
await show(chromium, [file], async (page, url) => ({
  three: await page.evaluate(([u, t]) => window.playWithThree(u, t), [url, JSON.parse(times)]),
  modelViewer: await page.evaluate((u) => window.playWithModelViewer(u), url),
}));
