// Follow Airflow's theme, lead links to Airflow out of its frame, go through rows by keys, and say which drafts wait for a review.
"use strict";
(() => {
  const airflow = document.currentScript.dataset.airflow;
  const root = document.documentElement;
  let host = null;
  try { host = window.parent !== window && window.parent.document ? window.parent : null; } catch { host = null; }

  if (host) {
    const outer = host.document.documentElement;
    const follow = () => {
      const theme = ["dark", "light"].find((name) => outer.classList.contains(name));
      if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    };
    follow();
    new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
  }

  // The frame may not navigate Airflow itself; a link made in Airflow's own document may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-airflow], a[rel~=external]");
    if (!link || !host || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const out = host.document.createElement("a");
    out.href = link.href;
    if (!link.hasAttribute("data-airflow")) { out.target = "_blank"; out.rel = "noopener noreferrer"; }
    out.click();
  });

  document.addEventListener("keydown", (event) => {
    const row = event.target.closest && event.target.closest(".rows tbody tr");
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (!row || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    if (next) { event.preventDefault(); next.querySelector("a").focus(); }
  });

  // What waits is Airflow's to say: it is asked with the reader's own rights, and the page stands without the answer.
  const reviews = async () => {
    const answer = await fetch(`${airflow}/api/v2/dags/review_postmortems/dagRuns/~/hitlDetails?response_received=false&limit=100`, {
      credentials: "same-origin", headers: { accept: "application/json" },
    });
    if (!answer.ok) return;
    const waiting = (await answer.json()).hitl_details.filter((one) => one.task_instance.state === "awaiting_input");
    const count = document.querySelector(".waiting");
    if (waiting.length && count) {
      count.textContent = String(waiting.length);
      count.setAttribute("aria-label", `${waiting.length} waiting`);
    }
    for (const one of waiting) {
      const incident = (one.body || "").split("**")[1];
      const task = one.task_instance;
      const place = incident && document.querySelector(`[data-review="${CSS.escape(incident)}"]`);
      if (!place) continue;
      const link = document.createElement("a");
      link.dataset.airflow = "";
      link.href = `${airflow}/dags/${encodeURIComponent(task.dag_id)}/runs/${encodeURIComponent(task.dag_run_id)}/tasks/${encodeURIComponent(task.task_id)}` +
        `${task.map_index >= 0 ? `/mapped/${task.map_index}` : ""}/required_actions`;
      link.textContent = "draft waits for review";
      place.replaceChildren(link);
    }
  };
  document.addEventListener("DOMContentLoaded", () => { reviews().catch(() => {}); });
})();
