// Named checks of a walk through the console: each is told in one line, a failure is counted, and the walk goes on.

const results = [];
const begun = Date.now();

/** Runs one named check. What it returns is told beside its name. */
export async function check(name, run) {
  try {
    const note = await run();
    results.push(true);
    console.log(`ok    ${name}${note ? `: ${note}` : ""}`);
  } catch (error) {
    results.push(false);
    console.log(`FAIL  ${name}: ${String(error.message ?? error).split("\n").slice(0, 12).join("\n      ")}`);
  }
}

export function expect(truth, message) {
  if (!truth) throw new Error(message);
}

/** Sums up, and ends the process: with 1 if a check failed. */
export function finish(walk, out) {
  const failed = results.filter((passed) => !passed).length;
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  console.log(`${walk}: ${results.length - failed} passed, ${failed} failed, ${seconds} s, screenshots in ${out}`);
  process.exit(failed ? 1 : 0);
}
