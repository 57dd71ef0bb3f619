// node gallery.mjs CHROMIUM URL PICTURE: walks through the first model of a gallery that is served
// elsewhere; prints what was seen, and what was asked of any other server, as JSON.
import { chromium } from "playwright-core";

const [executablePath, url, picture] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader"],
});
const page = await browser.newPage();
const seen = { strangers: [], said: [] };
page.on("request", (request) => {
  if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(url)) {
    seen.strangers.push(request.url());
  }
});
page.on("console", (message) => seen.said.push(message.text()));
page.on("pageerror", (error) => seen.said.push(error.message));
const settled = () => page.waitForFunction(() => {
  const viewer = window.weightwalk?.viewer;
  return viewer?.world && document.getElementById("message").hidden && !viewer.stage.asked;
});
const camera = () => page.evaluate(() => window.weightwalk.viewer.stage.camera.position.toArray());

await page.goto(url);
seen.cards = await page.locator(".card h2").allInnerTexts();
await page.locator(".card a").first().click();
await settled();
await page.locator("#stage").focus();
await page.keyboard.press("w");
await settled();
seen.before = await camera();
await page.keyboard.down("w");
await page.waitForTimeout(700);
await page.keyboard.up("w");
await settled();
seen.after = await camera();
await page.locator("#stage canvas").screenshot({ path: picture });
console.log(JSON.stringify(seen));
await browser.close();
