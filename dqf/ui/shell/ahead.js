// Loads the code of charts, tables and form fields once a page stands and nobody waits for it: the first page that
// shows a chart would otherwise fetch and start 4.7 MB of plotly while somebody looks at it.
(() => {
  const chunks = document.currentScript.dataset.chunks.split(" ");
  if (navigator.connection?.saveData) return;
  const whenIdle = window.requestIdleCallback ?? (work => setTimeout(work, 200));
  const stands = () =>
    document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]') &&
    !document.querySelector('[data-testid="stSkeleton"]');
  const next = () => {
    if (!chunks.length) return;
    if (!stands()) return void setTimeout(next, 200);
    whenIdle(() => import(chunks.shift()).catch(() => {}).finally(() => setTimeout(next, 20)));
  };
  setTimeout(next, 300);
})();
