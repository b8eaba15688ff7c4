// Drives the console of a running member in a real browser, as a person would, and fails on anything that is wrong.
//
//   node tests/browser/tour.mjs http://127.0.0.1:2382 target/browser [--key app/config/checkout]
//
// Wants `npm ci` in this folder and a Chromium (CHROMIUM, default /usr/bin/chromium). The member should hold some keys
// (seed.sh writes some). Leaves screenshots in the output folder.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { audit } from "./audit.mjs";
import { check, expect, finish } from "./checks.mjs";

const [base, out, ...flags] = process.argv.slice(2);
if (!base || !out) {
  console.error("usage: node tour.mjs BASE_URL OUT_DIR [--key KEY]");
  process.exit(2);
}
const wantedKey = flags[0] === "--key" ? flags[1] : undefined;
mkdirSync(out, { recursive: true });

const browser = await Browser.launch(base);
const { page } = browser;
const heading = (name) => page.getByRole("heading", { level: 1, name });
const text = (selector) => page.locator(selector).first().innerText();

await check("the first page shows live figures", async () => {
  await page.goto(base, { waitUntil: "commit" });
  await heading("Overview").waitFor();
  await page.locator('.link[data-state="live"]').waitFor();
  expect(/\d/.test(await text(".tile .figure")), "the revision is no number");
  // The page is live if the charts move: a new sample each second.
  const path = () => page.locator(".plot .stroke").first().getAttribute("d");
  const before = await path();
  await page.waitForFunction(
    (before) => document.querySelector(".plot .stroke")?.getAttribute("d") !== before,
    before,
    { timeout: 10_000 },
  );
  return (await text(".verdict")).replace(/\s+/g, " ");
});

await check("the overview shows what the API says", async () => {
  const overview = await (await page.request.get(`${base}/admin/v1/overview`)).json();
  const shown = await page.locator(".overview").innerText();
  for (const word of [overview.identity.member_id, overview.identity.cluster_id, overview.identity.version]) {
    expect(word && shown.includes(word), `${JSON.stringify(word)} is not on the page`);
  }
});

await check("the keyboard leads everywhere", async () => {
  await page.keyboard.press("g");
  await page.keyboard.press("k");
  await heading("Keys").waitFor();
  expect(await heading("Keys").evaluate((it) => it === document.activeElement), "the heading has no focus");
  await page.keyboard.press("/");
  expect(await page.locator("#prefix").evaluate((it) => it === document.activeElement), "/ does not reach the box");
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await heading("About").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("o");
  await heading("Overview").waitFor();
});

let keysAddress = `${base}/keys`;
await check("a key is found by the keyboard alone, and Esc closes it", async () => {
  const prefix = wantedKey ? wantedKey.slice(0, wantedKey.lastIndexOf("/") + 1) : "";
  await page.keyboard.press("g");
  await page.keyboard.press("k");
  await heading("Keys").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type(prefix);
  await page.keyboard.press("Enter");
  if (prefix) await page.waitForURL(/prefix=/);
  await page.locator(".listing tbody tr").first().waitFor();
  for (let depth = 0; depth < 8 && !(await page.locator(".listing tbody tr:not(.folder)").count()); depth++) {
    const before = page.url();
    await page.locator(".listing tbody tr.folder .row").first().press("Enter");
    await page.waitForURL((url) => String(url) !== before);
    await page.locator(".listing:not(.stale) tbody tr").first().waitFor();
  }
  const rows = page.locator(".listing tbody tr:not(.folder) .row");
  const row = wantedKey ? page.locator(`.listing .row[title="${wantedKey}"]`) : rows.first();
  await row.press("Enter");
  await page.waitForURL(/key(64)?=/);
  await page.locator(".panel .strip").waitFor();
  await page.locator(".timeline li").first().waitFor();
  keysAddress = page.url();
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached" });
  return keysAddress.slice(base.length);
});

await check("reload and back keep what is shown", async () => {
  await page.goto(keysAddress);
  await page.locator(".panel .strip").waitFor();
  const shown = await text(".panel h2");
  await page.reload();
  await page.locator(".panel .strip").waitFor();
  expect((await text(".panel h2")) === shown, "another key after reload");
  await page.getByRole("link", { name: "Close" }).click();
  await page.locator(".panel").waitFor({ state: "detached" });
  await page.goBack();
  await page.locator(".panel .strip").waitFor();
});

await check("a value is shown in every form it has", async () => {
  const forms = page.getByRole("group", { name: "Shown as" }).getByRole("link");
  const names = await forms.allInnerTexts();
  for (const name of names) {
    await page.getByRole("group", { name: "Shown as" }).getByRole("link", { name }).click();
    await page.waitForURL(new RegExp(`as=${name.toLowerCase()}`));
    expect((await page.locator(".value pre").count()) + (await page.locator(".value .absent").count()) === 1, name);
  }
  return names.join(", ");
});

await check("an old version can be read, and the newest again", async () => {
  await page.locator(".timeline li[data-kind=put] .row").last().click();
  await page.waitForURL(/at=/);
  await page.locator(".banner").waitFor();
  await page.getByRole("link", { name: "To the newest" }).click();
  await page.locator(".banner").waitFor({ state: "detached" });
});

await check("an empty prefix says how to write its first key", async () => {
  await page.goto(`${base}/keys?prefix=no/such/place/`);
  await page.getByText("etcdctl put no/such/place/greeting hello").waitFor();
});

await check("a revision that cannot be read says why", async () => {
  await browser.expectingErrors(async () => {
    await page.goto(`${base}/keys?rev=900000000000`);
    await page.getByRole("alert").getByText("future revision").waitFor();
  });
});

for (const theme of ["light", "dark"]) {
  await page.goto(base);
  await page.getByRole("button", { name: theme === "light" ? "Light theme" : "Dark theme" }).click();
  for (const [name, address] of [
    ["overview", base],
    ["keys", keysAddress],
    ["folders", `${base}/keys`],
    ["about", `${base}/about`],
  ]) {
    await check(`${name}, ${theme}: accessible`, async () => {
      await page.goto(address);
      await page.locator("h1").waitFor();
      await page.locator('.link[data-state="live"]').waitFor();
      if (name === "keys") await page.locator(".timeline li").first().waitFor();
      if (name === "folders") await page.locator(".listing tbody tr").first().waitFor();
      await page.waitForFunction(() => !document.querySelector(".skeleton, .listing.stale"));
      const note = await audit(page);
      await page.screenshot({ path: join(out, `${name}-${theme}.png`) });
      return note;
    });
  }
  await check(`shortcuts, ${theme}: accessible`, async () => {
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    return await audit(page);
  });
}

await check("a narrow window needs no sideways scrolling", async () => {
  await page.setViewportSize({ width: 400, height: 800 });
  for (const address of [base, keysAddress, `${base}/keys`, `${base}/about`]) {
    await page.goto(address);
    await page.locator("h1").waitFor();
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(over <= 0, `${address} is ${over} px too wide`);
  }
});

await check("walking to and fro leaves nothing behind", async () => {
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto(base);
  const walk = async (times) => {
    for (let round = 0; round < times; round++) {
      await page.locator('.nav-page[href="/keys"]').click();
      await heading("Keys").waitFor();
      await page.locator(".listing tbody tr").first().waitFor();
      await page.locator('.nav-page[href="/"]').click();
      await page.locator(".plot .stroke").first().waitFor();
    }
    return page.evaluate(() => document.querySelectorAll("*").length);
  };
  const before = await walk(3);
  const after = await walk(20);
  expect(after - before < 40, `${before} elements became ${after}`);
  return `${before} elements, then ${after}`;
});

await check("the browser had nothing to complain about", async () => {
  const violations = await browser.violations();
  const complaints = [...browser.complaints, ...violations];
  expect(complaints.length === 0, complaints.join("\n"));
});

await browser.close();
finish("browser", out);
