// Sets the chosen theme before the first paint; the app keeps it from then on.
try {
  const theme = localStorage.getItem("kvorum.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing shows the system's theme.
}
