// A Chromium with a fresh profile that remembers every complaint: console errors, failed requests, CSP violations.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--font-render-hinting=none",
];

export class Browser {
  complaints = [];
  #violations = [];
  #quiet = false;

  static async launch(base) {
    const browser = new Browser();
    browser.chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: FLAGS,
    });
    const context = await browser.chromium.newContext({
      viewport: { width: 1440, height: 900 },
      deviceScaleFactor: 2,
      reducedMotion: "reduce",
      colorScheme: "light",
      // The authority of a cluster is in no browser's list.
      ignoreHTTPSErrors: base.startsWith("https:"),
    });
    context.setDefaultTimeout(15_000);
    await context.exposeFunction("reportViolation", (violation) => browser.#violations.push(violation));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.reportViolation(`CSP: ${event.violatedDirective} refused ${event.blockedURI}`);
      });
    });
    browser.page = await context.newPage();
    browser.#listen(base);
    return browser;
  }

  /** Runs something that is meant to make the server refuse a request. */
  async expectingErrors(run) {
    this.#quiet = true;
    try {
      await run();
    } finally {
      this.#quiet = false;
    }
  }

  async violations() {
    return this.#violations;
  }

  async close() {
    await this.chromium.close();
  }

  #listen(base) {
    const complain = (what) => this.#quiet || this.complaints.push(what);
    this.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complain(`console: ${message.text()}`);
    });
    this.page.on("pageerror", (error) => complain(`page: ${error.message}`));
    this.page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(base) && !url.startsWith("data:")) complain(`request to elsewhere: ${url}`);
    });
    this.page.on("requestfailed", (request) => {
      // Leaving a page ends its event stream and whatever it was still asking.
      const reason = request.failure()?.errorText;
      if (reason !== "net::ERR_ABORTED") complain(`request: ${request.url()} ${reason}`);
    });
  }
}
