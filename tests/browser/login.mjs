// Signs in and out of a member's console in a real browser, from the first link on, and tries what other pages may try.
//
//   node tests/browser/login.mjs http://127.0.0.1:2382/setup#CODE target/browser
//
// Wants a fresh member with `--console-login required`, and the link that it has logged.

import { createServer } from "node:http";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { audit } from "./audit.mjs";
import { check, expect, finish } from "./checks.mjs";

const [link, out] = process.argv.slice(2);
if (!link?.includes("/setup#") || !out) {
  console.error("usage: node login.mjs LINK OUT_DIR");
  process.exit(2);
}
const base = new URL(link).origin;
mkdirSync(out, { recursive: true });

const browser = await Browser.launch(base);
const { page } = browser;
const context = page.context();
const heading = (name) => page.getByRole("heading", { level: 1, name });
const field = (name) => page.getByLabel(name, { exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });
const FIRST = "vier gelbe Kähne";
const SECOND = "fünf rote Fähren";
let password = FIRST;

/** The page in both themes: accessible, and on a picture. */
async function look(name) {
  const notes = [];
  for (const theme of ["Light", "Dark"]) {
    await button(`${theme} theme`).click();
    notes.push(await audit(page));
    await page.screenshot({ path: join(out, `${name}-${theme.toLowerCase()}.png`) });
  }
  await button("Light theme").click();
  return notes.join("; ");
}

async function signIn() {
  await heading("Sign in").waitFor();
  await field("Name").fill("ada");
  await field("Password").fill(password);
  await button("Sign in").click();
}

const sessionCookie = async () => (await context.cookies(base)).find(({ name }) => name.includes("kvorum"));

await check("without an account the page says how to begin", async () => {
  await page.goto(base);
  await heading("Welcome to kvorum").waitFor();
  await page.getByText("kvorum admin login-link").waitFor();
  return look("welcome");
});

await check("nothing but the login answers before", async () => {
  const session = await page.request.get(`${base}/admin/v1/session`);
  expect((await session.json()).state === "signed_out", "somebody is signed in");
  for (const path of ["overview", "keys", "events", "audit", "security", "nothing"]) {
    const answer = await page.request.get(`${base}/admin/v1/${path}`);
    expect(answer.status() === 401, `${path} answers ${answer.status()}`);
  }
});

await check("a pasted link opens the set-up", async () => {
  await field("Link or code").fill(link);
  await button("Go on").click();
  await heading("Create the administrator").waitFor();
  expect(!page.url().includes("#"), "the code stays in the address");
  return look("setup");
});

await check("passwords that differ or are easy are refused, and the link stays", async () => {
  await field("Name").fill("ada");
  await field("New password").fill(FIRST);
  await field("The same again").fill(SECOND);
  await button("Save and sign in").click();
  await page.getByRole("alert").getByText("not the same").waitFor();
  await browser.expectingErrors(async () => {
    for (const [easy, word] of [
      ["short", "too short"],
      ["Password1234!", "first that are guessed"],
    ]) {
      await field("New password").fill(easy);
      await field("The same again").fill(easy);
      await button("Save and sign in").click();
      await page.getByRole("alert").getByText(word).waitFor();
    }
  });
  await page.screenshot({ path: join(out, "setup-refused.png") });
});

await check("the first administrator is made and signed in", async () => {
  await field("New password").fill(FIRST);
  await field("The same again").fill(FIRST);
  await button("Save and sign in").click();
  await heading("Overview").waitFor();
  await page.locator('.link[data-state="live"]').waitFor();
  const cookie = await sessionCookie();
  expect(cookie.httpOnly && cookie.sameSite === "Strict" && cookie.path === "/", JSON.stringify(cookie));
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  expect(!kept.includes(cookie.value), "scripts can read the session");
  return cookie.name;
});

await check("the security page shows who is there and what happened", async () => {
  await page.keyboard.press("g");
  await page.keyboard.press("s");
  await heading("Security").waitFor();
  await page.getByText("This one").waitFor();
  await page.getByRole("cell", { name: /set-up link used/ }).waitFor();
  return look("security");
});

await check("another password needs the current one", async () => {
  await page.getByText("Change the password").first().click();
  await field("Current password").fill("not the password");
  await field("New password").fill(SECOND);
  await field("The same again").fill(SECOND);
  await browser.expectingErrors(async () => {
    await button("Change the password").click();
    await page.getByRole("alert").getByText("current password is wrong").waitFor();
  });
  const before = (await sessionCookie()).value;
  await field("Current password").fill(FIRST);
  await button("Change the password").click();
  await page.getByText("The password is changed").waitFor();
  password = SECOND;
  expect((await sessionCookie()).value !== before, "the session kept its id");
  return look("password");
});

await check("signing out leaves nothing open", async () => {
  const before = await sessionCookie();
  await button("Sign out").click();
  await heading("Sign in").waitFor();
  expect(!(await sessionCookie()), "the cookie stays");
  const answer = await page.request.get(`${base}/admin/v1/overview`, {
    headers: { cookie: `${before.name}=${before.value}` },
  });
  expect(answer.status() === 401, "the old session still reads");
  return look("login");
});

await check("a wrong password says so, and the keyboard alone signs in", async () => {
  await browser.expectingErrors(async () => {
    await field("Name").fill("ada");
    await field("Password").fill(FIRST);
    await page.keyboard.press("Enter");
    await page.getByRole("alert").getByText("name or the password is wrong").waitFor();
  });
  await page.screenshot({ path: join(out, "login-refused.png") });
  await field("Password").focus();
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await heading("Security").waitFor();
});

await check("a session that ends elsewhere asks again, and goes on at the same place", async () => {
  await page.goto(`${base}/keys?prefix=app/`);
  await heading("Keys").waitFor();
  await page.locator('.link[data-state="live"]').waitFor();
  await browser.expectingErrors(async () => {
    const own = (await sessionCookie()).value;
    // Somebody signs out with the same session: this page only sees that its stream ends.
    const answer = await page.request.post(`${base}/admin/v1/logout`, {
      headers: { origin: base, "x-kvorum": "1", "content-type": "application/json" },
      data: "{}",
    });
    expect(answer.ok(), `signing out answers ${answer.status()} for ${own.length} digits`);
    await page.getByText("Your session has ended").waitFor({ timeout: 20_000 });
    await look("expired");
    await signIn();
    await heading("Keys").waitFor();
    expect(page.url().endsWith("/keys?prefix=app/"), page.url());
  });
});

await check("a used link says why it is of no use", async () => {
  await browser.expectingErrors(async () => {
    await page.goto(link);
    await heading("This link cannot be used").waitFor();
    expect(!page.url().includes("#"), "the code stays in the address");
    await look("used-link");
  });
});

await check("another page on this machine can neither read nor change", async () => {
  // Another port is another origin and the same site, so the browser sends the cookie along.
  const server = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<form method="post" enctype="text/plain" action="${base}/admin/v1/logout" target="frame">
      <input name='{"x":"' value='"}'></form><iframe name="frame"></iframe>`);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const other = await context.newPage();
  await other.goto(`http://127.0.0.1:${server.address().port}/`);
  const tried = await other.evaluate(async (base) => {
    const attempt = async (path, options) => {
      try {
        const answer = await fetch(base + path, { credentials: "include", ...options });
        return `${path} ${answer.type} ${answer.status}`;
      } catch {
        return "refused";
      }
    };
    const post = { method: "POST", body: "{}" };
    const answers = [
      await attempt("/admin/v1/overview", {}),
      await attempt("/admin/v1/overview", { mode: "no-cors" }),
      await attempt("/admin/v1/logout", { ...post, headers: { "content-type": "text/plain" } }),
      await attempt("/admin/v1/logout", { ...post, mode: "no-cors" }),
      await attempt("/admin/v1/logout", {
        ...post,
        headers: { "content-type": "application/json", "x-kvorum": "1" },
      }),
    ];
    document.forms[0].submit();
    return answers;
  }, base);
  await other.waitForTimeout(300);
  await other.close();
  server.close();
  expect(tried.every((answer) => answer === "refused" || answer.includes("opaque")), tried.join(", "));
  const session = await page.request.get(`${base}/admin/v1/session`);
  expect((await session.json()).state === "signed_in", "another page has signed us out");
  return tried.join(", ");
});

await check("the page obeys its policy: no inline script runs, and nobody frames it", async () => {
  const { headers } = await page.request.get(base).then((answer) => ({ headers: answer.headers() }));
  const policy = headers["content-security-policy"];
  for (const part of ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"]) {
    expect(policy.includes(part), `${part} is missing in ${policy}`);
  }
  expect(!policy.includes("unsafe-inline"), policy);
});

await check("a narrow window needs no sideways scrolling", async () => {
  await page.setViewportSize({ width: 400, height: 800 });
  for (const [address, title] of [
    [`${base}/security`, "Security"],
    [`${base}/about`, "About"],
  ]) {
    await page.goto(address);
    await heading(title).waitFor();
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(over <= 0, `${address} is ${over} px too wide`);
  }
  await page.screenshot({ path: join(out, "security-narrow.png") });
  await page.goto(base);
  await button("Sign out").click();
  await heading("Sign in").waitFor();
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(over <= 0, `the login is ${over} px too wide`);
  await page.screenshot({ path: join(out, "login-narrow.png") });
});

await check("the browser had nothing to complain about", async () => {
  const complaints = [...browser.complaints, ...(await browser.violations())];
  expect(complaints.length === 0, complaints.join("\n"));
});

await browser.close();
finish("login", out);
