// node desktop.mjs CHROMIUM URL USER PASSWORD : a person before the streamed desktop, who does what lines of
// JSON on the standard input say, and answers each with a line.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { chromium } from 'playwright-core';

const [executablePath, url, username, password] = process.argv.slice(2);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'desktop-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  chromiumSandbox: false,
  viewport: { width: 1600, height: 900 },
  // The desktop signs its own certificate, as LinuxServer's does.
  ignoreHTTPSErrors: true,
  httpCredentials: password ? { username, password } : undefined,
  args: ['--no-first-run', '--disable-gpu', '--disable-background-networking'],
});
const page = context.pages()[0] ?? (await context.newPage());
const response = await page.goto(url, { waitUntil: 'domcontentloaded' });
let place = [800, 450];

const actions = {
  async move(x, y) {
    place = [x, y];
    await page.mouse.move(x, y);
  },
  nudge: (dx, dy) => actions.move(place[0] + dx, place[1] + dy),
  click: (button) => page.mouse.click(...place, { button, delay: 60 }),
  wheel: (amount) => page.mouse.wheel(0, amount),
  press: (key) => page.keyboard.press(key, { delay: 50 }),
  type: (text) => page.keyboard.type(text, { delay: 15 }),
  down: (key) => page.keyboard.down(key),
  up: (key) => page.keyboard.up(key),
  screenshot: (file) => page.screenshot({ path: file }),
};

console.log(JSON.stringify({ status: response.status() }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, ...values] = JSON.parse(line);
  try {
    await actions[name](...values);
    console.log('{}');
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await context.close();
fs.rmSync(profile, { recursive: true, force: true });
