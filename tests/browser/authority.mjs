// Moves a cluster's certificate authority in a real browser, over TLS, and comes in by a client certificate.
//
//   node tests/browser/authority.mjs https://127.0.0.1:2382/setup#CODE PKI_DIR target/browser
//
// Wants a fresh member that makes its own certificates, with `--console-login required`: the link that it has logged, and
// the folder with its administrator's certificate.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { audit } from "./audit.mjs";
import { check, expect, finish } from "./checks.mjs";

const [link, pki, out] = process.argv.slice(2);
if (!link?.includes("/setup#") || !out) {
  console.error("usage: node authority.mjs LINK PKI_DIR OUT_DIR");
  process.exit(2);
}
const base = new URL(link).origin;
mkdirSync(out, { recursive: true });

const browser = await Browser.launch(base);
const { page } = browser;
const heading = (name) => page.getByRole("heading", { level: 1, name });
const field = (name) => page.getByLabel(name, { exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });
const card = (name) => page.locator("section.card").filter({ has: page.getByRole("heading", { level: 2, name }) });
const dialog = page.getByRole("dialog");

/** The page in both themes: accessible, and on a picture of all of it. */
async function look(name, whole = true) {
  const notes = [];
  for (const theme of ["light", "dark"]) {
    await page.evaluate((theme) => (document.documentElement.dataset.theme = theme), theme);
    notes.push(await audit(page));
    await page.screenshot({ path: join(out, `${name}-${theme}.png`), fullPage: whole });
  }
  await page.evaluate(() => (document.documentElement.dataset.theme = "light"));
  return notes.join("; ");
}

await check("the first administrator comes in by TLS", async () => {
  await page.goto(link);
  await heading("Create the administrator").waitFor();
  await field("Name").fill("ada");
  await field("New password").fill("vier gelbe Kähne");
  await field("The same again").fill("vier gelbe Kähne");
  await button("Save and sign in").click();
  await heading("Overview").waitFor();
  await page.locator('.link[data-state="live"]').waitFor();
  const cookie = (await page.context().cookies()).find(({ name }) => name.includes("kvorum"));
  expect(cookie.name === "__Host-kvorum" && cookie.secure && cookie.httpOnly, JSON.stringify(cookie));
});

await check("the security page shows the certificates", async () => {
  await page.goto(`${base}/security`);
  await heading("Security").waitFor();
  const certificates = card("Certificates");
  await certificates.getByRole("row", { name: /default member/ }).waitFor();
  await certificates.getByRole("row", { name: /root administrator/ }).waitFor({ timeout: 30_000 });
  await card("Certificate authority").getByText("Trust domain").waitFor();
  return look("authority");
});

await check("a token is shown once, and can be taken back", async () => {
  const tokens = card("Open join tokens");
  await tokens.getByText("Let somebody in").click();
  await field("Name of the member").fill("node2");
  await button("Make a token for half an hour").click();
  const command = tokens.locator(".made code");
  await command.waitFor();
  const text = await command.innerText();
  expect(/^kvorum join kv1\.\S+@/.test(text), text);
  await tokens.getByRole("row", { name: /voter node2/ }).waitFor();
  const notes = await look("token");
  await button("Done").click();
  const id = text.split(".")[1];
  await button(`Take back the token ${id}`).click();
  await dialog.getByText(`kvorum token revoke ${id}`).waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await button(`Take back the token ${id}`).click();
  await dialog.getByRole("button", { name: "Take it back" }).click();
  await tokens.getByText("No token is open").waitFor();
  expect(!(await page.content()).includes(text), "the token is still on the page");
  return notes;
});

await check("clients and administrators get tokens with a name, and the command that is theirs", async () => {
  const tokens = card("Open join tokens");
  const form = button("Make a token for half an hour");
  if (!(await form.isVisible())) await tokens.getByText("Let somebody in").click();
  const command = tokens.locator(".made code");
  for (const [kind, user, send, row] of [
    ["A client", "app", "Make a token for half an hour", /client app/],
    ["An administrator", "eve", "Make a token for ten minutes", /administrator eve/],
  ]) {
    await field(kind).check();
    await field("Name of the user").fill("");
    expect(await field("Name of the user").evaluate((input) => !input.validity.valid), `${kind} without a name`);
    await field("Name of the user").fill(user);
    await button(send).click();
    await tokens.getByRole("row", { name: row }).waitFor();
    const text = await command.innerText();
    expect(/^kvorum join --out-dir \. kv1\.\S+@/.test(text), text);
    if (kind === "A client") await look("token-client");
    await button("Done").click();
    await command.waitFor({ state: "detached" });
    const id = text.split("kv1.")[1].split(".")[0];
    await button(`Take back the token ${id}`).click();
    await dialog.getByRole("button", { name: "Take it back" }).click();
    await tokens.getByRole("row", { name: row }).waitFor({ state: "detached" });
  }
});

await check("a certificate is revoked after a question, and accepted again", async () => {
  const row = card("Certificates").getByRole("row", { name: /root administrator/ }).first();
  await row.getByRole("button", { name: /^Revoke/ }).click();
  await dialog.getByText("kvorum cert revoke").waitFor();
  const notes = await look("revoke", false);
  await dialog.getByRole("button", { name: "Revoke", exact: true }).click();
  await row.getByText("Revoked").waitFor();
  await look("revoked");
  await page.getByRole("button", { name: /^Accept again: certificate/ }).click();
  await dialog.getByRole("button", { name: "Accept again" }).click();
  await row.getByText("Revoked").waitFor({ state: "detached" });
  return notes;
});

await check("the root changes for whoever types which cluster it is", async () => {
  const authority = card("Certificate authority");
  const before = await authority.locator("dd code").nth(1).getAttribute("title");
  const domain = await authority.locator("dd code").first().innerText();
  await button("Change the root").click();
  const go = dialog.getByRole("button", { name: "Change the root" });
  expect(await go.isDisabled(), "it goes without a word");
  await field("Type them to go on").fill("00000000");
  expect(await go.isDisabled(), "any word will do");
  await field("Type them to go on").fill(domain.slice(0, 8));
  const notes = await look("rotate", false);
  await go.click();
  await authority.getByRole("heading", { name: "The root changes" }).waitFor();
  await look("rotating");
  // Clients may take their time; here there are none.
  await authority.locator('li[data-state="now"]').filter({ hasText: "Clients get" }).waitFor({ timeout: 60_000 });
  await button("Go on without waiting").click();
  await field("Type them to go on").fill(domain.slice(0, 8));
  await dialog.getByRole("button", { name: "Go on" }).click();
  await authority.getByRole("heading", { name: "The root changes" }).waitFor({ state: "detached", timeout: 60_000 });
  const after = await authority.locator("dd code").nth(1).getAttribute("title");
  expect(after && after !== before, `the root is still ${before}`);
  return notes;
});

await check("all of it is among the events", async () => {
  await page.reload();
  await heading("Security").waitFor();
  const events = card("What happened");
  for (const what of ["join token made", "join token revoked", "certificate revoked", "change of the root begun"]) {
    await events.getByText(what).first().waitFor();
  }
});

await check("a narrow window needs no sideways scrolling", async () => {
  await page.setViewportSize({ width: 400, height: 800 });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  await page.screenshot({ path: join(out, "authority-narrow.png"), fullPage: true });
  expect(over <= 0, `it is ${over} px too wide`);
  await page.setViewportSize({ width: 1440, height: 900 });
});

await check("an administrator's certificate opens the console without a login", async () => {
  const context = await browser.chromium.newContext({
    ignoreHTTPSErrors: true,
    clientCertificates: [{ origin: base, certPath: join(pki, "admin.crt"), keyPath: join(pki, "admin.key") }],
  });
  const other = await context.newPage();
  await other.goto(base);
  await other.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await other.goto(`${base}/security`);
  await other.getByRole("row", { name: /root by certificate/ }).waitFor();
  // Who signs out is not let in again behind their back.
  await other.getByRole("button", { name: "Sign out", exact: true }).click();
  await other.getByRole("button", { name: "Continue as root by certificate" }).waitFor();
  await context.close();
});

await check("the browser had nothing to complain about", async () => {
  const complaints = [...browser.complaints, ...(await browser.violations())];
  expect(complaints.length === 0, complaints.join("\n"));
});

await browser.close();
finish("authority", out);
