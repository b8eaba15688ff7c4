// Starts the console. An external file, because the content security policy refuses inline scripts.
import init from "/kvorum.js";

try {
  await init({ module_or_path: "/kvorum_bg.wasm" });
} catch (error) {
  console.error(error);
  const loading = document.getElementById("loading");
  if (loading) loading.textContent = "The console could not start. This browser may be too old for WebAssembly.";
}
