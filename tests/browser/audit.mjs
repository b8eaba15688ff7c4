// Accessibility: axe-core with the WCAG 2.2 AA rules and its best practices.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Fails with one line per violation; otherwise says how many rules passed. */
export async function audit(page) {
  await page.evaluate(source);
  const { violations, passes, incomplete } = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: { type: "tag", values: tags } }),
    TAGS,
  );
  if (violations.length) {
    const lines = violations.map(({ id, help, nodes }) => {
      const first = nodes[0];
      return `${id} (${nodes.length}): ${help}: ${first.html.slice(0, 160)} ${first.failureSummary?.split("\n").at(-1) ?? ""}`;
    });
    throw new Error(lines.join("\n"));
  }
  const open = incomplete.length ? `, ${incomplete.map(({ id }) => id).join(" and ")} undecided` : "";
  return `${passes.length} rules passed${open}`;
}
